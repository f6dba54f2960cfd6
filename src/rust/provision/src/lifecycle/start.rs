//! A start, as a transaction: check, prepare, server, workers; what it began is taken down when a
//! step fails or nobody wants it any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::ears::Ears;
use super::fleet::{Fleet, Ways, again};
use super::server::Secrets;
use super::{Access, Door, Policy, Register, Standing, Up, remains};
use crate::Error;
use crate::acl::User;
use crate::provider::{
    Instance, InstanceId, Launched, Plan, Provider, Report, Site, State, Token, Unit,
};

/// How often more than other calls the launch of a server is tried: with the usual pauses for a minute
/// in all.
const PATIENCE: usize = 2;

/// After how many of the usual pauses a server is launched again that did not come to run, where the
/// reason may pass.
const AGAIN: [u32; 2] = [10, 30];

/// Starts the cluster of `fleet`, of which there is nothing yet.
///
/// Not cancel-safe: what was begun would stay.
///
/// # Errors
/// Of the first step that failed; then the rest has been taken down.
pub(super) async fn run<P: Provider, D: Door>(mut fleet: Fleet<P, D>) -> Result<Up<P, D>, Error> {
    let plan = check(&fleet).await?;
    for note in plan.notes {
        fleet.say(note);
    }
    if let Some((most, by)) = plan.most_workers.filter(|(most, _)| *most < fleet.wish.least) {
        let what = format!("start {} workers", fleet.wish.least);
        let reason = format!("{by} allows {most}");
        return Err(Error::Refused { what, reason, way: format!("Ask for {most} or fewer.") });
    }
    match steps(&mut fleet).await {
        Ok(access) => {
            let (tell, access) = watch::channel(access);
            fleet.access = Some(tell);
            Ok(Up::new(fleet, access, false))
        }
        Err(error) => Err(undo(fleet, error).await),
    }
}

/// What is known before; says what it is waited for, where nobody answers.
async fn check<P: Provider, D: Door>(fleet: &Fleet<P, D>) -> Result<Plan, Error> {
    let once = || async {
        let plan = fleet.provider.check().await;
        if let Err(error @ Error::Busy { .. }) = &plan {
            fleet.progress.say(error.to_string());
        }
        plan
    };
    again(&fleet.policy, once).await
}

async fn steps<P: Provider, D: Door>(fleet: &mut Fleet<P, D>) -> Result<Access, Error> {
    let site = again(&fleet.policy, || fleet.provider.prepare(&fleet.cluster)).await?;
    // Where clusters end with their process, nothing is left of them.
    if !site.server.lifeline {
        let (policy, progress) = (fleet.policy.clone(), fleet.progress.clone());
        remains::clear(Arc::clone(&fleet.provider), policy, fleet.cluster.clone(), progress);
    }
    fleet.site = Some(site);
    let now = Instant::now();
    fleet.begin_life(now);
    let access = fleet.open_server(now).await?;
    fleet.remember().await?;
    fleet.hire(fleet.wish.least, Instant::now()).await?;
    fleet.muster().await?;
    Ok(access)
}

/// Takes down what was begun, and says what could not be.
async fn undo<P: Provider, D: Door>(mut fleet: Fleet<P, D>, error: Error) -> Error {
    fleet.close();
    let left = match again(&fleet.policy, || fleet.provider.destroy(&fleet.cluster)).await {
        Ok(Report { left, .. }) => {
            left.into_iter().map(|(what, why)| format!("{what} ({why})")).collect()
        }
        Err(failed) => vec![failed.to_string()],
    };
    if left.is_empty() {
        return error;
    }
    Error::Left { error: Box::new(error), left: left.join("; ") }
}

impl<P: Provider, D: Door> Fleet<P, D> {
    /// Sees to it that there is a server, and connects to it: launches one, or takes the one that is
    /// wished for.
    ///
    /// # Errors
    /// Of the step that failed.
    pub async fn open_server(&mut self, now: Instant) -> Result<Access, Error> {
        self.breathe(Duration::ZERO).await?;
        let site = self.site.clone().ok_or_else(|| Error::Internal("no site".into()))?;
        let (client, workers, tunnel, hint) = match self.wish.redis.clone() {
            Some(server) => (server.clone(), server, None, None),
            None => {
                let left = self.life_left(now);
                let policy = Policy { life: left, ..self.policy.clone() };
                let secrets = Secrets::new(&self.cluster, &site.server, &policy)?;
                let id = self.running_server(&site, &secrets).await?;
                let provider = &self.provider;
                let end = again(&self.policy, || provider.endpoint(&self.cluster, &id)).await?;
                let client = secrets.reached(User::Client, &end.client)?;
                let workers = secrets.reached(User::Worker, &end.workers)?;
                (client, workers, end.tunnel, end.hint)
            }
        };
        let ours = self.wish.redis.is_none();
        // One that ran a moment ago may be gone again, which only another look shows.
        let open = self.door.open(&self.cluster, &self.key, &client, ours);
        let late = |_| {
            let seconds = self.policy.server.as_secs();
            Err(Error::TimedOut { what: "the server", seconds, said: String::new() })
        };
        let opened = tokio::time::timeout(self.policy.server, open).await.unwrap_or_else(late);
        let register = opened.map_err(|error| error.hinted(hint))?;
        let (cluster, key, server) = (self.cluster.clone(), self.key.clone(), client.clone());
        self.ways = Some(Ways { register: register.into(), client, workers, _tunnel: tunnel });
        Ok(Access { cluster, key, server, standing: Standing::Up })
    }

    /// Launches a server and waits until it runs; launches it again where why it did not may pass.
    async fn running_server(
        &mut self,
        site: &Site,
        secrets: &Secrets,
    ) -> Result<InstanceId, Error> {
        let mut pauses = AGAIN.into_iter();
        loop {
            let id = self.launch_server(site, secrets).await?;
            let why = match self.await_server(&id).await {
                Ok(()) => return Ok(id),
                Err(Error::NotStarted(why)) if self.provider.may_pass(&why) => why,
                Err(error) => return Err(error),
            };
            let Some(pauses) = pauses.next() else { return Err(Error::NotStarted(why)) };
            let line = why.lines().next().unwrap_or_default();
            self.say(format!("the server is started again: {line}"));
            self.terminate(&[id]).await?;
            self.breathe(self.policy.pause * pauses).await?;
        }
    }

    async fn launch_server(&mut self, site: &Site, secrets: &Secrets) -> Result<InstanceId, Error> {
        let unit = Unit {
            cpu: None,
            memory: None,
            slots: 0,
            image: self.wish.image.clone(),
            environment: std::collections::BTreeMap::new(),
            bootstrap: secrets.bootstrap(),
        };
        let token = Token::random()?;
        // What was made around it just now may not be known everywhere for a minute.
        let patient = Policy { tries: self.policy.tries + PATIENCE, ..self.policy.clone() };
        let until = Instant::now() + self.policy.server;
        let once = || async {
            match self.provider.launch(site, &unit, 1, &token).await {
                Err(Error::Busy { reason, .. }) if Instant::now() >= until => {
                    Err(Error::NotStarted(reason))
                }
                Err(error @ Error::Busy { .. }) => {
                    let text = error.to_string();
                    self.progress.say(format!("the server: {}", text.lines().next().unwrap_or("")));
                    Err(error)
                }
                launched => launched,
            }
        };
        let launched = again(&patient, once).await?;
        let Launched { instances, short } = launched;
        match instances.into_iter().next() {
            Some(Instance { id, .. }) => {
                self.server = Some((id.clone(), Instant::now()));
                Ok(id)
            }
            None => Err(Error::NotStarted(short.unwrap_or_else(|| "there is no server".into()))),
        }
    }

    /// Waits until the server runs, and says what it does meanwhile.
    async fn await_server(&mut self, id: &InstanceId) -> Result<(), Error> {
        let started = Instant::now();
        let Policy { server: within, look, unlisted, .. } = self.policy;
        loop {
            let doing = match self.listed().await?.remove(id).map(|instance| instance.state) {
                Some(State::Running) => return Ok(()),
                Some(State::Stopped { why }) => return Err(Error::NotStarted(why)),
                Some(State::Starting { doing }) => doing,
                None if started.elapsed() >= unlisted => {
                    return Err(Error::NotStarted(format!("the server {id} is gone")));
                }
                None => "not known yet".into(),
            };
            if started.elapsed() >= within {
                let seconds = within.as_secs();
                return Err(Error::TimedOut { what: "the server", seconds, said: doing });
            }
            // What it wrote is for an error.
            let now = doing.lines().next().unwrap_or_default();
            self.say(format!("the server: {now}"));
            self.breathe(look).await?;
        }
    }

    /// Waits until the first worker has joined, or all have, and says what they do meanwhile.
    pub async fn muster(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let Policy { all, join, look, .. } = self.policy;
        let mut ears = Ears::new(started);
        loop {
            let listed = self.listed().await?;
            let load = self.register()?.load().await?;
            self.note(&listed, &load, Instant::now());
            let joined = self.members.values().filter(|member| member.seen.is_some()).count();
            if joined >= if all { self.wish.least as usize } else { 1 } {
                return Ok(());
            }
            self.check_start(&listed, joined)?;
            if started.elapsed() >= join {
                let each = self.doing(&listed, Some(&ears));
                return Err(Error::NotJoined { seconds: join.as_secs(), joined, each });
            }
            let doing = self.doing(&listed, None);
            self.say(summary(joined, self.members.len(), &doing));
            ears.listen(self, &listed).await;
            self.breathe(look).await?;
        }
    }

    /// Whether a start can still succeed: the server runs, and so many workers may still join.
    fn check_start(
        &mut self,
        listed: &HashMap<InstanceId, Instance>,
        joined: usize,
    ) -> Result<(), Error> {
        let state = |id| listed.get(id).map(|instance: &Instance| &instance.state);
        // Without its server a worker ends, too: the cause is named first.
        if let Some((server, _)) = &self.server
            && let Some(State::Stopped { why }) = state(server)
        {
            return Err(Error::NotStarted(why.clone()));
        }
        let (mut whys, mut alive) = (Vec::new(), 0);
        let now = Instant::now();
        for (id, member) in self.members.iter().filter(|(_, member)| member.seen.is_none()) {
            match self.death(id, member, listed, now) {
                // That is the time-out's to say.
                Some(_) if now - member.launched >= self.policy.join => alive += 1,
                Some(why) => whys.push(why),
                None => alive += 1,
            }
        }
        if !self.why.is_empty() {
            whys.push(self.why.clone());
        }
        let needed = if self.policy.all { self.wish.least as usize } else { 1 };
        if joined + alive >= needed {
            return Ok(());
        }
        whys.sort();
        whys.dedup();
        Err(Error::NotStarted(whys.join("\n* ")))
    }

    /// What each worker that has not joined does, with the last line that was heard of it.
    fn doing(&self, listed: &HashMap<InstanceId, Instance>, ears: Option<&Ears>) -> Vec<String> {
        let waiting = self.members.iter().filter(|(_, member)| member.seen.is_none());
        let each = waiting.map(|(id, _)| {
            let doing = match listed.get(id).map(|instance| &instance.state) {
                Some(State::Starting { doing }) => doing.clone(),
                Some(State::Running) => {
                    let heard =
                        ears.and_then(|ears| ears.heard(id)).map(|line| format!(": {line}"));
                    format!("started, and not joined yet{}", heard.unwrap_or_default())
                }
                Some(State::Stopped { why }) => why.clone(),
                None => "not known yet".into(),
            };
            format!("{id}: {doing}")
        });
        each.collect()
    }
}

/// One line for many workers: the same things are counted.
fn summary(joined: usize, all: usize, doing: &[String]) -> String {
    let mut counted = std::collections::BTreeMap::<&str, usize>::new();
    for line in doing {
        *counted.entry(line.split_once(": ").map_or("", |(_, doing)| doing)).or_default() += 1;
    }
    let counted: Vec<_> = counted.into_iter().map(|(doing, n)| format!("{n} {doing}")).collect();
    format!("{joined} of {all} workers have joined, {}", counted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_do_the_same_are_counted() {
        let doing = ["a: pulling", "b: starting", "c: pulling"].map(str::to_owned);
        assert_eq!(summary(1, 4, &doing), "1 of 4 workers have joined, 2 pulling, 1 starting");
    }
}
