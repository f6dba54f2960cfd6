//! The instances of a cluster, as the lifecycle knows them, and what it does with them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use backon::{ExponentialBuilder, Retryable};
use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{ClusterId, ClusterKey, WorkerId};
use rustbatch_queue::{Busy, Load};
use tokio::sync::watch;

use super::budget::Budget;
use super::{Access, Door, Numbers, Policy, Progress, Standing, Wish};
use crate::Error;
use crate::provider::{Instance, InstanceId, Provider, Site, State};

/// How long the queue may take to answer, where a call of it would wait for longer.
const ANSWER: Duration = Duration::from_secs(5);

/// An instance with a worker.
#[derive(Debug)]
pub(super) struct Member {
    /// The name of its lease.
    pub worker: Option<WorkerId>,
    /// When it was launched.
    pub launched: Instant,
    /// When its lease was last seen.
    pub seen: Option<Instant>,
    /// Since when it has held no work, as far as it was seen.
    pub idle: Instant,
    /// Whether it drains.
    pub leaving: bool,
}

impl Member {
    /// One that was launched, or found, at `now`.
    pub fn new(worker: Option<WorkerId>, now: Instant) -> Self {
        Self { worker, launched: now, seen: None, idle: now, leaving: false }
    }
}

/// How the cluster is reached.
pub(super) struct Ways<R> {
    pub register: Arc<R>,
    /// The server, as clients reach it.
    pub client: Server,
    /// The server, as workers reach it.
    pub workers: Server,
    /// Held as long as the server is used.
    pub _tunnel: Option<Box<dyn std::any::Any + Send + Sync>>,
}

/// All that there is of a cluster.
pub(super) struct Fleet<P: Provider, D: Door> {
    pub provider: Arc<P>,
    pub door: D,
    pub wish: Wish,
    pub policy: Policy,
    pub progress: Progress,
    pub cluster: ClusterId,
    pub key: ClusterKey,
    pub site: Option<Site>,
    /// The server of ours, and when it was launched.
    pub server: Option<(InstanceId, Instant)>,
    pub ways: Option<Ways<D::Register>>,
    /// Tells who uses the cluster of a new server.
    pub access: Option<watch::Sender<Access>>,
    pub members: BTreeMap<InstanceId, Member>,
    /// Those that were ended, and that may still be listed as if they ran.
    pub ended: HashSet<InstanceId>,
    /// How many of those that died or did not come have not been replaced.
    pub owed: u32,
    /// How many ended because they had no work, and are not wanted before something waits.
    pub resting: u32,
    pub budget: Budget,
    /// Why the last one died or did not come.
    pub why: String,
    /// Since when there are more workers than are needed.
    pub quiet: Option<Instant>,
    /// How many there shall be, as of the last look.
    pub expected: u32,
    /// Whether it is this client that keeps the cluster up.
    pub mine: bool,
    /// Since when the queue has not answered.
    pub silent_since: Option<Instant>,
    /// Since when there is no server, and another client may be launching one.
    pub serverless_since: Option<Instant>,
    /// When the queue answered last; also by the clock of the wall, which goes on while a machine sleeps.
    pub heard: (Instant, SystemTime),
    /// Whether a record of the cluster is kept.
    pub remembered: bool,
    /// Whether server and workers have been stopped on purpose.
    pub paused: bool,
    /// When its life is over, in seconds since 1970; nothing where it ends with this process.
    pub until: Option<u64>,
    /// Why nothing is replaced any more.
    pub lost: Option<String>,
    /// Closed when the start is not wanted any more.
    pub unwanted: watch::Receiver<()>,
    /// Tells who holds the cluster how many workers there are, and why it can't be kept up.
    pub known: watch::Sender<Numbers>,
    pub trouble: watch::Sender<Option<String>>,
    said: String,
}

/// Makes a call of the provider again as long as it is busy.
pub(super) async fn again<T, F>(policy: &Policy, call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(policy.pause)
        .with_max_times(policy.tries)
        .with_jitter();
    call.retry(pauses).when(|error| matches!(error, Error::Busy { .. })).await
}

impl<P: Provider, D: Door> Fleet<P, D> {
    /// One of which there is nothing yet.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn new(
        provider: Arc<P>,
        door: D,
        wish: Wish,
        policy: Policy,
        progress: Progress,
        cluster: ClusterId,
        unwanted: watch::Receiver<()>,
    ) -> Result<Self, Error> {
        Ok(Self {
            provider,
            door,
            budget: Budget::new(policy.pause),
            expected: wish.least,
            wish,
            policy,
            progress,
            cluster,
            key: ClusterKey::random()?,
            site: None,
            server: None,
            ways: None,
            access: None,
            members: BTreeMap::new(),
            ended: HashSet::new(),
            owed: 0,
            resting: 0,
            why: String::new(),
            quiet: None,
            mine: true,
            silent_since: None,
            serverless_since: None,
            heard: (Instant::now(), SystemTime::now()),
            remembered: false,
            paused: false,
            until: None,
            lost: None,
            unwanted,
            known: watch::Sender::default(),
            trouble: watch::Sender::default(),
            said: String::new(),
        })
    }

    /// The connection to the queue.
    ///
    /// # Errors
    /// [`Error::Internal`] where there is none.
    pub fn register(&self) -> Result<Arc<D::Register>, Error> {
        let ways = self.ways.as_ref().ok_or_else(|| Error::Internal("no queue".into()))?;
        Ok(Arc::clone(&ways.register))
    }

    /// Gives up the connection and the tunnel.
    pub fn close(&mut self) {
        self.ways = None;
    }

    /// Says a line, once.
    pub fn say(&mut self, line: String) {
        if !line.is_empty() && line != self.said {
            self.progress.say(line.clone());
            self.said = line;
        }
    }

    /// Waits a little. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Cancelled`] as soon as the start is not wanted any more.
    pub async fn breathe(&mut self, time: Duration) -> Result<(), Error> {
        tokio::select! {
            biased;
            _ = self.unwanted.changed() => Err(Error::Cancelled),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// What the queue answers. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Busy`] where it says nothing for a while: its server may be gone, which only another look
    /// shows. [`Error::Cancelled`] as soon as the cluster is not wanted any more.
    pub async fn heard<T>(
        &mut self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = || {
            let reason = format!("no answer within {} s", ANSWER.as_secs());
            Err(Error::Busy { what: "ask the queue".into(), reason })
        };
        tokio::select! {
            biased;
            _ = self.unwanted.changed() => Err(Error::Cancelled),
            answer = tokio::time::timeout(ANSWER, answer) => answer.unwrap_or_else(|_| late()),
        }
    }

    /// How long it may be until the next look: not long while somebody is waited for.
    pub fn rest(&self) -> Duration {
        let joined = self.members.values().filter(|member| member.seen.is_some()).count();
        let up = |access: &watch::Sender<Access>| access.borrow().standing == Standing::Up;
        let whole = self.access.as_ref().is_some_and(up);
        let stands = whole && self.owed == 0 && joined == self.members.len();
        if stands || self.paused || self.lost.is_some() {
            self.policy.rest
        } else {
            self.policy.look
        }
    }

    /// Tells who holds the cluster what a look has found that only they can mend, or that leaves it
    /// without a worker.
    pub fn troubled(&self, done: &Result<(), Error>) {
        let trouble = match done {
            Ok(()) => None,
            Err(error @ (Error::Credentials { .. } | Error::Refused { .. })) => {
                Some(error.to_string())
            }
            // It may pass, but nobody works meanwhile.
            Err(error @ Error::Busy { .. }) if self.owed > 0 && self.staying() == 0 => {
                Some(error.to_string())
            }
            // It passes, or ends the cluster.
            Err(_) => return,
        };
        self.trouble.send_if_modified(|known| {
            let new = *known != trouble;
            *known = trouble;
            new
        });
    }

    /// Tells who uses the cluster how it stands.
    pub fn tell(&self, standing: Standing) {
        if let Some(access) = &self.access {
            access.send_modify(|access| access.standing = standing);
        }
    }

    /// What the provider knows. Cancel-safe.
    pub async fn listed(&self) -> Result<HashMap<InstanceId, Instance>, Error> {
        let all = again(&self.policy, || self.provider.instances(&self.cluster)).await?;
        Ok(all.into_iter().map(|instance| (instance.id.clone(), instance)).collect())
    }

    /// Ends instances, and knows from then on that they end, however long they are listed.
    ///
    /// # Errors
    /// Those of [`Provider::terminate`].
    pub async fn terminate(&mut self, ids: &[InstanceId]) -> Result<(), Error> {
        self.ended.extend(ids.iter().cloned());
        again(&self.policy, || self.provider.terminate(&self.cluster, ids)).await
    }

    /// Notes what is known of each member: its worker's name, and when it was last seen.
    pub fn note(&mut self, listed: &HashMap<InstanceId, Instance>, load: &Load, now: Instant) {
        for (id, member) in &mut self.members {
            if let Some(Instance { worker: Some(worker), .. }) = listed.get(id) {
                member.worker = Some(worker.clone());
            }
            let is = |busy: &&Busy| Some(&busy.worker) == member.worker.as_ref();
            if let Some(busy) = load.workers.iter().find(is) {
                if busy.held > 0 || member.seen.is_none() {
                    member.idle = now;
                }
                member.seen = Some(now);
            }
        }
    }

    /// Why a member will not work any more, or `None` while it may.
    pub fn death(
        &self,
        id: &InstanceId,
        member: &Member,
        listed: &HashMap<InstanceId, Instance>,
        now: Instant,
    ) -> Option<String> {
        let since = |then| now.saturating_duration_since(then);
        match listed.get(id).map(|instance| &instance.state) {
            Some(State::Stopped { why }) => return Some(why.clone()),
            None if since(member.launched) >= self.policy.unlisted => {
                return Some(format!("instance {id} is gone"));
            }
            _ => {}
        }
        match member.seen {
            Some(seen) if since(seen) >= self.policy.silent => {
                let seconds = self.policy.silent.as_secs();
                Some(format!("the worker of instance {id} has been silent for {seconds} s"))
            }
            None if since(member.launched) >= self.policy.join => {
                let seconds = self.policy.join.as_secs();
                Some(format!("the worker of instance {id} did not join within {seconds} s"))
            }
            _ => None,
        }
    }

    /// From now on there shall be so many workers.
    pub fn resize(&mut self, least: u32, most: u32) {
        (self.wish.least, self.wish.most) = (least, most.max(least));
        self.expected = self.expected.clamp(self.wish.least, self.wish.most);
        self.quiet = None;
        self.resting = 0;
        // Nobody waits for what is not wanted any more.
        self.owed = self.owed.min(self.expected);
    }

    /// Tells how many workers there are.
    pub fn publish(&self) {
        self.known.send_replace(self.numbers());
    }

    /// How many workers there are, as of the last look.
    fn numbers(&self) -> Numbers {
        let count = |is: &dyn Fn(&Member) -> bool| {
            u32::try_from(self.members.values().filter(|m| is(m)).count()).unwrap_or(u32::MAX)
        };
        Numbers {
            expected: self.expected,
            initializing: count(&|m| m.seen.is_none() && !m.leaving),
            running: count(&|m| m.seen.is_some() && !m.leaving),
        }
    }
}
