//! One look at a cluster that stands, and what has to be done for it.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use rustbatch_protocol::WorkerId;
use rustbatch_queue::{Busy, Keeping, Load};

use super::budget::{Grant, TIMES, WITHIN};
use super::fleet::{Fleet, Member, again};
use super::{Access, Door, Register, Standing};
use crate::Error;
use crate::provider::{Instance, InstanceId, Provider, Role, State};

/// How long a client that says nothing is still the one that keeps the cluster.
const KEEPING: Duration = Duration::from_secs(30);

impl<P: Provider, D: Door> Fleet<P, D> {
    /// See [`super::Up::pass`].
    pub async fn pass(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(why) = &self.lost {
            return Err(Error::Lost(why.clone()));
        }
        if self.paused {
            // Another client may have started it, or taken it down.
            let listed = self.listed().await?;
            return self.catch_up(&listed, now).await.map(drop);
        }
        // Its instances end by themselves, and none takes their place.
        if let Some(why) = self.life_is_over(now) {
            return self.end(why);
        }
        let listed = self.listed().await?;
        if let Some(why) = self.provider.overspent(&self.cluster) {
            self.terminate(&listed.into_keys().collect::<Vec<_>>()).await?;
            return self.end(why);
        }
        if let Some(why) = self.server_lost(&listed, now) {
            return self.without_server(why, &listed, now).await;
        }
        self.serverless_since = None;
        let register = self.register()?;
        let asked = async { Ok((register.keep(KEEPING).await?, register.load().await?)) };
        let (Keeping { mine, size }, load) = match self.heard(asked).await {
            Ok(answer) => answer,
            Err(error) => return self.unheard(error, &listed, now).await,
        };
        (self.silent_since, self.heard) = (None, (now, SystemTime::now()));
        if let Some((least, most)) = size.filter(|size| *size != (self.wish.least, self.wish.most))
        {
            self.resize(least, most);
        }
        self.adopt(&listed, now);
        self.note(&listed, &load, now);
        self.expected = self.demand(&load, now);
        self.mine = mine;
        if !mine {
            self.forget(&listed, now);
            return Ok(());
        }
        self.clear(&listed, &load, now).await?;
        let (here, needed) = (self.staying(), self.needed(&load));
        if here < needed {
            self.grow(needed - here, now).await
        } else {
            self.shrink(here - needed, &load).await
        }
    }

    /// How many members do not leave.
    pub fn staying(&self) -> u32 {
        let staying = self.members.values().filter(|member| !member.leaving).count();
        u32::try_from(staying).unwrap_or(u32::MAX)
    }

    /// Instances that carry our tag and that nobody knows were launched by a call whose answer was
    /// lost, unless they were ended: some run on for a while.
    pub fn adopt(&mut self, listed: &HashMap<InstanceId, Instance>, now: Instant) {
        self.ended.retain(|id| listed.get(id).is_some_and(|i| !i.state.has_stopped()));
        for (id, instance) in listed {
            let known = self.members.contains_key(id) || self.ended.contains(id);
            if instance.role == Role::Worker && !instance.state.has_stopped() && !known {
                self.members.insert(id.clone(), Member::new(instance.worker.clone(), now));
                self.owed = self.owed.saturating_sub(1);
            }
        }
    }

    /// Ends and forgets the members that are dead, and those that have drained.
    async fn clear(
        &mut self,
        listed: &HashMap<InstanceId, Instance>,
        load: &Load,
        now: Instant,
    ) -> Result<(), Error> {
        let mut gone = Vec::new();
        for (id, member) in &self.members {
            let there = |name: &WorkerId| load.workers.iter().any(|busy| busy.worker == *name);
            let drained = member.leaving && !member.worker.as_ref().is_some_and(there);
            let death = self.death(id, member, listed, now);
            if drained || death.is_some() {
                gone.push((id.clone(), death));
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = gone.iter().map(|(id, _)| id.clone()).collect();
        self.terminate(&ids).await?;
        let register = self.register()?;
        for (id, why) in gone {
            let Some(member) = self.members.remove(&id) else { continue };
            let idle = self.was_idle(&member, now);
            if let Some(worker) = member.worker {
                // Where that fails, its lease runs out.
                let why = why.as_deref().unwrap_or_default();
                let _ = self.heard(register.bury(&worker, why)).await;
            }
            let Some(why) = why.filter(|_| !member.leaving) else { continue };
            if idle {
                self.resting += 1;
                self.say("a worker has ended for want of work".into());
            } else {
                self.owed += 1;
                self.say(format!("a worker was lost: {why}"));
                self.why = why;
            }
        }
        Ok(())
    }

    /// How many workers there shall be: as many as work, and as what waits would keep busy. Fewer
    /// than there are only when that has been so for a while.
    fn demand(&mut self, load: &Load, now: Instant) -> u32 {
        let (least, most) = (self.wish.least, self.wish.most.max(self.wish.least));
        if least == most {
            return least;
        }
        let busy = load.workers.iter().filter(|busy| busy.held > 0).count() as u64;
        let more = load.waiting.div_ceil(u64::from(self.wish.slots.max(1)));
        let wanted = u32::try_from(busy + more).unwrap_or(u32::MAX).clamp(least, most);
        let here = self.staying();
        if wanted >= here {
            self.quiet = None;
            return wanted;
        }
        let quiet = *self.quiet.get_or_insert(now);
        let long = now.saturating_duration_since(quiet) >= self.policy.linger;
        if long { wanted } else { here.clamp(least, most) }
    }

    /// Launches `n` workers; in place of those that died only within the budget.
    async fn grow(&mut self, n: u32, now: Instant) -> Result<(), Error> {
        if self.owed > 0 {
            match self.budget.ask(now) {
                Grant::Now => {}
                Grant::Wait => return Ok(()),
                // Those that are left may be enough, and the minute passes.
                Grant::Spent if self.staying() > 0 => return Ok(()),
                Grant::Spent => return self.give_up(),
            }
        }
        self.hire(n, now).await
    }

    fn give_up(&mut self) -> Result<(), Error> {
        let often = format!("{TIMES} times within {} s", WITHIN.as_secs());
        self.end(format!("{}\n* It had been started again {often}.", self.why))
    }

    /// From now on nothing is replaced.
    pub fn end(&mut self, why: String) -> Result<(), Error> {
        self.say(format!("the cluster is lost: {why}"));
        self.lost = Some(why.clone());
        self.tell(Standing::Lost(why.clone()));
        Err(Error::Lost(why))
    }

    /// Lets `n` workers go: first those that have not joined, which do nothing, then the idle ones,
    /// then any. Who has joined drains first.
    async fn shrink(&mut self, n: u32, load: &Load) -> Result<(), Error> {
        if n == 0 {
            return Ok(());
        }
        let held = |member: &Member| {
            let of = |busy: &&Busy| Some(&busy.worker) == member.worker.as_ref();
            load.workers.iter().find(of).map_or(0, |busy| busy.held)
        };
        let staying = self.members.iter().filter(|(_, member)| !member.leaving);
        let mut order: Vec<_> =
            staying.map(|(id, m)| (m.seen.is_some(), held(m), id.clone())).collect();
        order.sort();
        order.truncate(n as usize);
        let (drain, end): (Vec<_>, Vec<_>) = order.into_iter().partition(|(joined, ..)| *joined);
        let end: Vec<_> = end.into_iter().map(|(_, _, id)| id).collect();
        if !end.is_empty() {
            self.terminate(&end).await?;
            self.members.retain(|id, _| !end.contains(id));
        }
        let drain: Vec<_> = drain.into_iter().map(|(_, _, id)| id).collect();
        let name = |id| self.members.get(id).and_then(|member| member.worker.clone());
        let workers: Vec<_> = drain.iter().filter_map(name).collect();
        if !workers.is_empty() {
            let register = self.register()?;
            self.heard(register.drain(&workers)).await?;
        }
        for id in drain {
            if let Some(member) = self.members.get_mut(&id) {
                member.leaving = true;
            }
        }
        Ok(())
    }

    /// The queue does not answer. A server that does not for too long is as good as lost, whatever its
    /// provider says of it.
    async fn unheard(
        &mut self,
        error: Error,
        listed: &HashMap<InstanceId, Instance>,
        now: Instant,
    ) -> Result<(), Error> {
        let since = *self.silent_since.get_or_insert(now);
        let limit = self.policy.silent / 2;
        match &self.server {
            Some((id, _)) if now.saturating_duration_since(since) >= limit => {
                let why = format!("the server {id} has not answered for {} s", limit.as_secs());
                self.silent_since = None;
                self.without_server(why, listed, now).await
            }
            Some((id, _)) => {
                // The way may have to be opened anew, where this machine has another address by now.
                let _ = self.provider.endpoint(&self.cluster, id).await;
                Err(error)
            }
            None => Err(error),
        }
    }

    /// The server is lost. Who keeps the cluster launches another one; the others wait for that, and do
    /// it when nobody does.
    async fn without_server(
        &mut self,
        why: String,
        listed: &HashMap<InstanceId, Instance>,
        now: Instant,
    ) -> Result<(), Error> {
        if self.catch_up(listed, now).await? {
            return Ok(());
        }
        let serverless_since = *self.serverless_since.get_or_insert(now);
        if self.mine || now.saturating_duration_since(serverless_since) >= self.policy.silent {
            self.new_server(why, now).await?;
        }
        Ok(())
    }

    /// Why the server is lost; nothing where it is not ours, or runs.
    fn server_lost(&self, listed: &HashMap<InstanceId, Instance>, now: Instant) -> Option<String> {
        if self.wish.redis.is_some() {
            return None;
        }
        let Some((id, launched)) = &self.server else {
            return Some(self.why.clone());
        };
        match listed.get(id).map(|instance| &instance.state) {
            Some(State::Stopped { why }) => Some(why.clone()),
            None if now.saturating_duration_since(*launched) >= self.policy.unlisted => {
                Some(format!("the server {id} is gone"))
            }
            // It has been replaced.
            None if listed.values().any(|i| self.serves_now(i)) => {
                Some(format!("the server {id} is gone"))
            }
            _ => None,
        }
    }

    /// Launches a server in place of a lost one, and workers that know its address. Those of the old
    /// one are ended: they can't find the new one.
    async fn new_server(&mut self, why: String, now: Instant) -> Result<(), Error> {
        self.say(format!("the server was lost: {why}"));
        self.why = why;
        self.tell(Standing::Replacing);
        match self.budget.ask(now) {
            Grant::Now => {}
            Grant::Wait => return Ok(()),
            Grant::Spent => return self.give_up(),
        }
        let old: Vec<_> = self.listed().await?.into_keys().collect();
        self.terminate(&old).await?;
        self.members.clear();
        (self.server, self.ways) = (None, None);
        let access = match self.prepare_and_open_server(now).await {
            Ok(access) => access,
            Err(error) => {
                // The next look ends what was begun, and tries again.
                self.server = None;
                self.why = error.to_string();
                return match error {
                    Error::Budget { .. } => self.end(error.to_string()),
                    error => Err(error),
                };
            }
        };
        if let Some(tell) = &self.access {
            tell.send_replace(access);
        }
        self.mine = true;
        self.remember().await?;
        self.hire(self.expected, now).await
    }

    /// As [`Fleet::open_server`], where another client may have removed what was around the instances:
    /// this one may have slept for so long that the cluster had ended.
    async fn prepare_and_open_server(&mut self, now: Instant) -> Result<Access, Error> {
        self.site = Some(again(&self.policy, || self.provider.prepare(&self.cluster)).await?);
        self.open_server(now).await
    }

    /// Whether it is a server that has not stopped, and was not ended.
    fn serves_now(&self, instance: &Instance) -> bool {
        let Instance { id, role, state, .. } = instance;
        *role == Role::Server && !state.has_stopped() && !self.ended.contains(id)
    }
}
