//! Workers are launched: those that are wanted, but for those that have ended because nobody needed
//! them, until somebody does.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rustbatch_protocol::WorkerId;
use rustbatch_protocol::bootstrap::{VERSION, WorkerBootstrap};
use rustbatch_queue::Load;

use super::Door;
use super::fleet::{Fleet, Member, again};
use crate::Error;
use crate::provider::{Bootstrap, Instance, InstanceId, Launched, Provider, Token, Unit};

impl<P: Provider, D: Door> Fleet<P, D> {
    /// Whether a member that has ended did so because it had no work for as long as it may.
    pub fn was_idle(&self, member: &Member, now: Instant) -> bool {
        let limited = self.site.as_ref().is_some_and(|site| !site.server.lifeline);
        let idle = now.saturating_duration_since(member.idle);
        // It has counted from a little earlier than that was seen.
        limited && member.seen.is_some() && idle >= self.policy.idle / 10 * 9
    }

    /// Forgets members that have ended, where it is another client that replaces them.
    pub fn forget(&mut self, listed: &HashMap<InstanceId, Instance>, now: Instant) {
        let runs = |id: &InstanceId| listed.get(id).is_some_and(|i| !i.state.has_stopped());
        let all = std::mem::take(&mut self.members).into_iter();
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = all.partition(|(id, _)| runs(id));
        self.members = stay;
        let idle = gone.values().filter(|member| self.was_idle(member, now)).count();
        self.resting += u32::try_from(idle).unwrap_or(u32::MAX);
    }

    /// How many workers there shall be now: as many as are expected, but for those that rest as long as
    /// nothing waits.
    pub fn needed(&mut self, load: &Load) -> u32 {
        let room = self.expected.saturating_sub(self.staying());
        self.resting = self.resting.min(room);
        if load.waiting > 0 && self.resting > 0 {
            self.resting = 0;
            self.say("workers had ended for want of work: starting them again".into());
        }
        self.expected - self.resting
    }

    /// Launches workers, and knows them from then on. What comes short is owed.
    ///
    /// # Errors
    /// Those of [`Provider::launch`]; then all are owed.
    pub async fn hire(&mut self, n: u32, now: Instant) -> Result<(), Error> {
        match self.launch_workers(n, now).await {
            Ok(Launched { instances, short }) => {
                let came = u32::try_from(instances.len()).unwrap_or(n);
                for Instance { id, worker, .. } in instances {
                    self.members.insert(id, Member::new(worker, now));
                }
                self.owed = n.saturating_sub(came);
                if let Some(why) = short {
                    self.say(format!("{came} of {n} workers were started: {why}"));
                    self.why = why;
                }
                Ok(())
            }
            Err(error) => {
                self.owed = n;
                self.why = error.to_string();
                Err(error)
            }
        }
    }

    async fn launch_workers(&self, n: u32, now: Instant) -> Result<Launched, Error> {
        let (Some(site), Some(ways)) = (&self.site, &self.ways) else {
            return Err(Error::Internal("no server".into()));
        };
        // Those that end with this process need no limit.
        let limit = |limit: Duration| (!site.server.lifeline).then_some(limit.as_secs());
        let bootstrap = WorkerBootstrap {
            version: VERSION.to_owned(),
            cluster: self.cluster.clone(),
            key: self.key.to_hex(),
            worker: WorkerId::random()?,
            server: ways.workers.clone(),
            slots: self.wish.slots,
            r: self.wish.r.clone(),
            lifeline: site.server.lifeline,
            idle_seconds: limit(self.policy.idle),
            life_seconds: limit(self.life_left(now)),
            setup: self.wish.setup.clone(),
        };
        let unit = Unit {
            cpu: self.wish.cpu,
            memory: self.wish.memory,
            slots: self.wish.slots,
            image: self.wish.image.clone(),
            environment: self.wish.environment.clone(),
            bootstrap: Bootstrap::Worker(Box::new(bootstrap)),
        };
        let token = Token::random()?;
        again(&self.policy, || self.provider.launch(site, &unit, n, &token)).await
    }
}
