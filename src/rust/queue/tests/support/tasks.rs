//! A loop as R would run it: it pushes chunks and checks every value that comes back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rustbatch_protocol::{BlobRef, Cause, ChunkName, Outcome, Payload, Report};
use rustbatch_queue::{Client, Error, Event, Job, JobSpec, Leased, Notice, WorkerQueue};
use tokio::sync::mpsc;

use super::name;

/// The argument of a task: `size` bytes that no compression shortens and no other task has.
pub fn argument(task: u64, size: usize) -> Vec<u8> {
    let mut state = task.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// What the tasks of `leased` make of their arguments: each byte inverted.
pub fn values(leased: &Leased, arguments: &[u8]) -> Vec<u8> {
    let size = arguments.len() / leased.whole.n as usize;
    let skip = (leased.name.first - leased.whole.first) as usize * size;
    let mine = &arguments[skip..skip + leased.name.n as usize * size];
    mine.iter().map(|byte| !byte).collect()
}

/// The outcome of a chunk that `queue`'s worker ran, or saw crash.
pub fn outcome(queue: &WorkerQueue, leased: &Leased, values: Option<Vec<u8>>) -> Outcome {
    let crash = || Report::Crashed(Cause { signal: Some(11), ..Cause::default() });
    Outcome {
        worker: queue.id().clone(),
        attempt: leased.attempt,
        elapsed_us: 1,
        report: values.map_or_else(crash, |bytes| Report::Values(Payload::Inline(bytes))),
        output: Vec::new(),
    }
}

/// What an event was.
pub enum Step {
    Outcome(Outcome),
    Failed(Error),
    Other,
}

/// An open job and the tasks that have come back.
pub struct Loop {
    pub job: Job,
    pub context: BlobRef,
    events: mpsc::UnboundedReceiver<Event>,
    size: usize,
    /// The tasks that came, and whether with a value (or else crashed).
    pub came: BTreeMap<u64, bool>,
    /// What running tasks have said.
    pub said: Vec<Vec<u8>>,
    /// What the user has been told.
    pub notices: Vec<Notice>,
    /// The last report that was not one of values.
    pub last_report: Option<Report>,
}

impl Loop {
    /// A job whose tasks have arguments of eight bytes.
    pub async fn open(client: &Client) -> Self {
        Self::open_with(client, 8).await
    }

    /// A job whose tasks have arguments of `size` bytes.
    pub async fn open_with(client: &Client, size: usize) -> Self {
        let bytes = Bytes::from_static(b"the context");
        let context = BlobRef::of(client.seal(), &bytes);
        client.export(context, &bytes).await.unwrap();
        let spec = JobSpec {
            context,
            blobs: HashMap::from([(context.hash, bytes)]),
            beside: Vec::new(),
            fresh: Vec::new(),
            seed: None,
            tasks: None,
        };
        let (sender, plain) = std::sync::mpsc::channel();
        let job = Job::open(client, spec, sender).unwrap();
        // R's thread waits on a plain channel; here it only hands on.
        let (hand_on, events) = mpsc::unbounded_channel();
        std::thread::spawn(move || plain.into_iter().all(|event| hand_on.send(event).is_ok()));
        Self {
            job,
            context,
            events,
            size,
            came: BTreeMap::new(),
            said: Vec::new(),
            notices: Vec::new(),
            last_report: None,
        }
    }

    pub fn push(&self, first: u64, n: u32) {
        let tasks = name(first, n).tasks();
        let arguments = tasks.flat_map(|task| argument(task, self.size)).collect();
        self.job.push(name(first, n), arguments).unwrap();
    }

    /// Takes events in up to the next outcome: each of its tasks for the first time, with the right
    /// value.
    pub async fn receive(&mut self) -> Outcome {
        loop {
            match self.step().await {
                Step::Outcome(outcome) => return outcome,
                Step::Failed(error) => panic!("the job failed: {error}"),
                Step::Other => {}
            }
        }
    }

    /// Takes events in up to the failure that ends the job.
    pub async fn failure(&mut self) -> Error {
        loop {
            if let Step::Failed(error) = self.step().await {
                return error;
            }
        }
    }

    /// Takes one event in.
    pub async fn step(&mut self) -> Step {
        match self.events.recv().await.expect("the job is open") {
            Event::Outcome { name, lacking, outcome, bytes } => {
                let came = matches!(outcome.report, Report::Values(_));
                for task in lacking {
                    assert!(!came || self.is_right(task, name, &bytes), "task {task} is wrong");
                    assert_eq!(self.came.insert(task, came), None, "task {task} came twice");
                }
                if !came {
                    self.last_report = Some(outcome.report.clone());
                }
                return Step::Outcome(outcome);
            }
            Event::Signal { bytes } => self.said.push(bytes),
            Event::Notice(notice) => self.notices.push(notice),
            Event::Need { .. } => panic!("this job has all that it names"),
            Event::Failed(error) => return Step::Failed(error),
        }
        Step::Other
    }

    /// Waits for a task to say something.
    pub async fn hear(&mut self) {
        match self.events.recv().await.expect("the job is open") {
            Event::Signal { bytes } => self.said.push(bytes),
            other => panic!("not a signal: {other:?}"),
        }
    }

    /// Whether `bytes`, which came for the chunk `name`, hold the value of `task`.
    fn is_right(&self, task: u64, name: ChunkName, bytes: &[u8]) -> bool {
        let at = (task - name.first) as usize * self.size;
        let wanted: Vec<u8> = argument(task, self.size).iter().map(|byte| !byte).collect();
        bytes[at..at + self.size] == wanted
    }

    /// Receives until `n` tasks have come.
    pub async fn collect(&mut self, n: usize) {
        while self.came.len() < n {
            self.receive().await;
        }
    }

    /// Exactly the tasks 1 to `n` came, all but `crashed` with a value, and nothing is under way.
    pub fn assert_came(&mut self, n: u64, crashed: &[u64]) {
        let wanted: BTreeMap<u64, bool> = (1..=n).map(|t| (t, !crashed.contains(&t))).collect();
        assert_eq!(self.came, wanted);
        assert!(self.events.try_recv().is_err(), "something came twice");
    }
}
