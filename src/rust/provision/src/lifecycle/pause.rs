//! Server and workers stopped on purpose, and started again: what costs something while nobody works.

use std::time::Instant;

use super::fleet::{Fleet, again};
use super::{Door, Register, Standing};
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
        self.paused = true;
        let all: Vec<_> = self.listed().await?.into_keys().collect();
        again(&self.policy, || self.provider.terminate(&self.cluster, &all)).await?;
        self.members.clear();
        self.server = None;
        self.tell(Standing::Paused);
        Ok(())
    }

    /// See [`super::Up::start_server`].
    pub async fn resume(&mut self) -> Result<(), Error> {
        if !self.paused {
            return Ok(());
        }
        let started = self.rise().await;
        if started.is_err() {
            // What was begun is no use; the error says more than that of this would.
            let _ = self.pause().await;
        }
        started
    }

    async fn rise(&mut self) -> Result<(), Error> {
        let access = self.raise().await?;
        self.remember().await?;
        self.expected = self.wish.least;
        self.hire(self.wish.least, Instant::now()).await?;
        self.muster().await?;
        if let Some(tell) = &self.access {
            tell.send_replace(access);
        }
        (self.paused, self.mine) = (false, true);
        Ok(())
    }

    /// See [`super::Up::serves`].
    pub async fn serves(&self) -> Result<bool, Error> {
        if self.wish.redis.is_some() {
            return Ok(self.register()?.load().await.is_ok());
        }
        let runs = |role, state: &State| role == Role::Server && *state == State::Running;
        Ok(self.listed().await?.values().any(|instance| runs(instance.role, &instance.state)))
    }
}
