//! The client's map of what it has published and not received. It keeps promise P1: from an outcome
//! only the tasks that are still lacking are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rustbatch_protocol::{BlobHash, BlobRef, ChunkName};

/// Arguments that do not fit the message: where they are, and themselves, for a Redis that loses
/// them.
#[derive(Debug)]
pub struct Stored {
    /// Where they are.
    pub blob: BlobRef,
    /// What R serialized.
    pub bytes: Bytes,
}

/// A chunk that has been published and not wholly received.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its name.
    pub name: ChunkName,
    /// The chunk whose sealed payload this one's tasks are in, when it is what is left of a split.
    pub parent: Option<ChunkName>,
    /// The sealed payload (the parent's, when there is one).
    pub payload: Bytes,
    /// The arguments, where they did not fit the message; shared by split siblings.
    pub arguments: Option<Arc<Stored>>,
}

impl Sent {
    /// The chunk that the payload and the arguments are of.
    pub fn whole(&self) -> ChunkName {
        self.parent.unwrap_or(self.name)
    }

    /// One task of this chunk as a chunk of its own.
    fn alone(&self, task: u64) -> Self {
        Self { name: ChunkName { first: task, n: 1 }, parent: Some(self.whole()), ..self.clone() }
    }
}

/// The chunks that are open as far as the client knows. Their ranges do not overlap.
#[derive(Debug, Default)]
pub struct Ledger {
    open: BTreeMap<u64, Sent>,
    tasks: u64,
}

/// What an outcome brought.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// The tasks that were lacking, in order.
    pub tasks: Vec<u64>,
    /// Blobs of arguments that no open chunk needs any more.
    pub spent: Vec<BlobRef>,
}

impl Ledger {
    /// Notes a chunk as published.
    pub fn insert(&mut self, sent: Sent) {
        self.tasks += u64::from(sent.name.n);
        self.open.insert(sent.name.first, sent);
    }

    /// How many tasks are lacking.
    pub fn tasks(&self) -> u64 {
        self.tasks
    }

    /// The open chunks, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.open.values()
    }

    /// The open chunk of this name.
    pub fn get(&self, name: ChunkName) -> Option<&Sent> {
        self.open.get(&name.first).filter(|sent| sent.name == name)
    }

    /// Whether a task of `name` is lacking.
    pub fn lacks(&self, name: ChunkName) -> bool {
        let before = self.open.range(..name.tasks().end).next_back();
        before.is_some_and(|(_, sent)| sent.name.tasks().end > name.first)
    }

    /// The arguments with this hash.
    pub fn arguments(&self, hash: BlobHash) -> Option<&Stored> {
        self.open.values().find_map(|sent| {
            let stored = sent.arguments.as_deref()?;
            (stored.blob.hash == hash).then_some(stored)
        })
    }

    /// Redis has split the chunk `name`: its tasks are now open as chunks of one.
    pub fn split(&mut self, name: ChunkName) {
        if name.n == 1 || self.open.get(&name.first).is_none_or(|sent| sent.name != name) {
            return;
        }
        if let Some(sent) = self.open.remove(&name.first) {
            self.open.extend(name.tasks().map(|task| (task, sent.alone(task))));
        }
    }

    /// Takes the tasks of `name` that are lacking. What is left of a chunk of which only some tasks
    /// came is kept as chunks of one, as the split in Redis has it.
    pub fn take(&mut self, name: ChunkName) -> Taken {
        let range = name.tasks();
        let touched: Vec<u64> = self
            .open
            .range(..range.end)
            .rev()
            .take_while(|(_, sent)| sent.name.tasks().end > range.start)
            .map(|(&first, _)| first)
            .collect();
        let mut taken = Taken::default();
        for first in touched.into_iter().rev() {
            let Some(sent) = self.open.remove(&first) else {
                continue;
            };
            for task in sent.name.tasks() {
                if range.contains(&task) {
                    taken.tasks.push(task);
                } else {
                    self.open.insert(task, sent.alone(task));
                }
            }
            let last = sent.arguments.and_then(Arc::into_inner);
            taken.spent.extend(last.map(|stored| stored.blob));
        }
        self.tasks -= taken.tasks.len() as u64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(first: u64, n: u32) -> Sent {
        Sent {
            name: ChunkName { first, n },
            parent: None,
            payload: Bytes::from_static(b"x"),
            arguments: None,
        }
    }

    fn name(first: u64, n: u32) -> ChunkName {
        ChunkName { first, n }
    }

    #[test]
    fn a_task_is_taken_once_whatever_the_chunks() {
        let mut ledger = Ledger::default();
        for first in [1, 11, 21] {
            ledger.insert(sent(first, 10));
        }
        assert_eq!(ledger.take(name(11, 10)).tasks, (11..21).collect::<Vec<_>>());
        assert_eq!(ledger.take(name(11, 10)).tasks, Vec::<u64>::new());
        assert_eq!(ledger.take(name(23, 1)).tasks, vec![23]);
        assert_eq!(ledger.take(name(23, 1)).tasks, Vec::<u64>::new());
        assert_eq!(ledger.tasks(), 19);
        let children: Vec<_> = ledger.iter().skip(1).map(|s| (s.name, s.parent)).collect();
        assert_eq!(children.len(), 9);
        assert!(children.iter().all(|(name, parent)| name.n == 1 && *parent == Some(name_21())));
        // The parent's own outcome, of an attempt before the split, brings what is still lacking.
        let rest: Vec<u64> = (21..31).filter(|&task| task != 23).collect();
        assert_eq!(ledger.take(name(21, 10)).tasks, rest);
        assert_eq!(ledger.take(name(1, 30)).tasks, (1..11).collect::<Vec<_>>());
        assert_eq!(ledger.tasks(), 0);
        assert_eq!(ledger.take(name(1, 30)).tasks, Vec::<u64>::new());
    }

    fn name_21() -> ChunkName {
        name(21, 10)
    }

    #[test]
    fn a_split_keeps_every_task() {
        let mut ledger = Ledger::default();
        ledger.insert(sent(1, 3));
        ledger.split(name(1, 3));
        assert_eq!(
            ledger.iter().map(|s| s.name).collect::<Vec<_>>(),
            [1, 2, 3].map(|i| name(i, 1))
        );
        assert_eq!((ledger.tasks(), ledger.take(name(1, 3)).tasks), (3, vec![1, 2, 3]));
    }

    #[test]
    fn a_blob_is_spent_with_its_last_task() -> Result<(), rustbatch_protocol::Error> {
        let key = rustbatch_protocol::ClusterKey::random()?;
        let seal = rustbatch_protocol::Seal::new("test".parse()?, key)?;
        let blob = BlobRef::of(&seal, b"x");
        let mut ledger = Ledger::default();
        ledger.insert(Sent {
            arguments: Some(Arc::new(Stored { blob, bytes: Bytes::from_static(b"x") })),
            ..sent(1, 3)
        });
        assert_eq!(ledger.take(name(2, 1)).spent, vec![]);
        assert_eq!(ledger.take(name(1, 1)).spent, vec![]);
        assert_eq!(ledger.take(name(3, 1)).spent, vec![blob]);
        Ok(())
    }
}
