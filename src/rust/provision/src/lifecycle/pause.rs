//! Server and workers stopped on purpose, and started again: what costs something while nobody works.

use std::time::Instant;

use super::fleet::Fleet;
use super::{Access, Door, Register, Standing};
use crate::Error;
use crate::provider::{Provider, Role, State};

impl<P: Provider, D: Door> Fleet<P, D> {
    /// See [`super::Up::stop_server`].
    pub async fn pause(&mut self) -> Result<(), Error> {
        if self.wish.redis.is_some() {
            return Err(Error::Refused {
                what: "stop the server".into(),
                reason: "it was not started by rustBatch".into(),
                way: "To let the workers go, use `resizeCluster(cluster, min = 0, max = 0)`."
                    .into(),
            });
        }
        let before = (self.paused, self.server.take());
        self.paused = true;
        // First, so that others who hold the cluster know that it is meant so. Who finds it from now on
        // starts it again.
        if let Err(error) = self.remember().await {
            (self.paused, self.server) = before;
            return Err(error);
        }
        self.be_paused();
        self.end_all().await
    }

    async fn end_all(&mut self) -> Result<(), Error> {
        let all: Vec<_> = self.listed().await?.into_keys().collect();
        self.terminate(&all).await
    }

    /// Nothing of the cluster is looked after until somebody starts it again.
    pub fn be_paused(&mut self) {
        (self.paused, self.server) = (true, None);
        self.members.clear();
        self.tell(Standing::Paused);
    }

    /// See [`super::Up::start_server`].
    pub async fn resume(&mut self) -> Result<(), Error> {
        if !self.paused {
            return Ok(());
        }
        // Another client may have done it.
        let listed = self.listed().await?;
        if self.catch_up(&listed, Instant::now()).await? && !self.paused {
            return Ok(());
        }
        let access = self.start_stopped().await?;
        if let Some(tell) = &self.access {
            tell.send_replace(access);
        }
        Ok(())
    }

    /// Starts server and workers of a cluster whose surroundings are there, and waits for the workers.
    ///
    /// # Errors
    /// As a start; then they are stopped again.
    pub async fn start_stopped(&mut self) -> Result<Access, Error> {
        let started = self.try_start_stopped().await;
        if started.is_err() {
            // What was begun is no use; the error says more than those of these would.
            self.be_paused();
            let _ = self.remember().await;
            let _ = self.end_all().await;
        }
        started
    }

    async fn try_start_stopped(&mut self) -> Result<Access, Error> {
        // What did not run need not end.
        let now = Instant::now();
        self.begin_life(now);
        let access = self.open_server(now).await?;
        (self.paused, self.mine, self.lost) = (false, true, None);
        self.remember().await?;
        self.expected = self.wish.least;
        self.hire(self.wish.least, Instant::now()).await?;
        self.muster().await?;
        Ok(access)
    }

    /// See [`super::Up::serves`].
    pub async fn serves(&self) -> Result<bool, Error> {
        if self.paused {
            // It may still be ending.
            return Ok(false);
        }
        if self.wish.redis.is_some() {
            return Ok(self.register()?.load().await.is_ok());
        }
        let runs = |role, state: &State| role == Role::Server && *state == State::Running;
        Ok(self.listed().await?.values().any(|instance| runs(instance.role, &instance.state)))
    }
}
