//! What the user is told while calls wait: each trouble once, however many links meet it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::event::Notice;

/// What the links of one client are waiting for.
#[derive(Debug, Clone)]
pub struct Troubles(watch::Sender<Option<Notice>>);

impl Default for Troubles {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Troubles {
    /// Hands each trouble on, from the present one, until `take` wants no more. Cancel-safe.
    pub async fn listen(&self, mut take: impl FnMut(Notice) -> bool) {
        let mut troubles = self.0.subscribe();
        loop {
            let trouble = troubles.borrow_and_update().clone();
            if trouble.is_some_and(|trouble| !take(trouble)) || troubles.changed().await.is_err() {
                return;
            }
        }
    }
}

/// One link's part in it.
#[derive(Debug)]
pub struct Witness {
    troubles: Troubles,
    /// Whether this link is in trouble. Another's success says nothing: one that only reads has none.
    mine: AtomicBool,
}

impl Witness {
    /// A link that tells `troubles`.
    pub fn new(troubles: Troubles) -> Self {
        Self { troubles, mine: AtomicBool::new(false) }
    }

    /// The link must wait.
    pub fn begin(&self, notice: Notice) {
        if !self.mine.swap(true, Ordering::AcqRel) {
            self.troubles.0.send_if_modified(|now| {
                let first = now.is_none();
                now.get_or_insert(notice);
                first
            });
        }
    }

    /// The link goes on.
    pub fn end(&self) {
        if self.mine.load(Ordering::Acquire) && self.mine.swap(false, Ordering::AcqRel) {
            self.troubles.0.send_if_modified(|now| now.take().is_some());
        }
    }
}
