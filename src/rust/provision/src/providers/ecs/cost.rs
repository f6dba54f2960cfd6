//! What a cluster costs, and where that ends.
//!
//! A task costs from the pull of its image to its end, a minute at least.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types::Task;
use rustbatch_protocol::ClusterId;

use super::Fargate;
use super::instance::id;
use super::price::{FREE_DISK, Rates, is_known};
use super::size::Size;
use crate::Error;
use crate::provider::{Bootstrap, Cost, Plan, Role, Token, Unit};

/// What each task has cost and whether it goes on: by its id.
pub(super) type Ledger = BTreeMap<String, Entry>;

/// What a launch may start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    n: u32,
    /// How long each of them may live, where that is limited.
    life_seconds: Option<u64>,
}

/// One task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    dollars: f64,
    per_hour: f64,
}

impl Fargate {
    /// What a cluster costs. Cancel-safe.
    ///
    /// # Errors
    /// Where its tasks can't be listed.
    pub async fn cost(&self, cluster: &ClusterId) -> Result<Cost, Error> {
        self.tasks(cluster).await?;
        Ok(self.known_cost(cluster))
    }

    /// What a cluster costs, as of the last look at its tasks. Asks nobody.
    #[must_use]
    pub fn known_cost(&self, cluster: &ClusterId) -> Cost {
        let ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = ledgers.get(cluster).into_iter().flat_map(BTreeMap::values);
        let add = |sum: Cost, entry: &Entry| Cost {
            per_hour: sum.per_hour + entry.per_hour,
            so_far: sum.so_far + entry.dollars,
            ..sum
        };
        entries.fold(Cost { limit: self.ecs.max_cost, ..Cost::default() }, add)
    }

    /// Why a cluster may cost no more, as of the last look at its tasks. What is launched has a life that
    /// ends with the money, but how many there would be was not known.
    pub(super) fn overspent_budget(&self, cluster: &ClusterId) -> Option<String> {
        let Cost { so_far, limit, .. } = self.known_cost(cluster);
        let most = limit.filter(|most| so_far >= *most)?;
        // It may be less than a cent.
        let places = if so_far < 0.01 { 4 } else { 2 };
        Some(format!("it has cost {so_far:.places$} dollars, and `maxCost` is {most}"))
    }

    /// What a task has cost, and costs.
    pub(super) fn spent_on(&self, task: &Task) -> (String, Entry) {
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
        let size = Size { cpu: number(task.cpu()), memory: number(task.memory()) };
        let disk =
            task.ephemeral_storage().map_or(FREE_DISK, |disk| disk.size_in_gib().unsigned_abs());
        let rate = self.rates().task(size, disk);
        let from = task.pull_started_at().or_else(|| task.created_at()).map(time);
        let until = task.stopped_at().map(time);
        let hours = from.map_or(0.0, |from| hours(from, until.unwrap_or_else(SystemTime::now)));
        let per_hour = if until.is_some() { 0.0 } else { rate };
        (id(task).to_owned(), Entry { dollars: rate * hours, per_hour })
    }

    pub(super) fn ledger(&self, cluster: &ClusterId, entries: Vec<(String, Entry)>) {
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = ledgers.entry(cluster.clone()).or_default();
        // What ECS has forgotten has ended.
        ledger.values_mut().for_each(|entry| entry.per_hour = 0.0);
        ledger.extend(entries);
    }

    /// What is known of the price before anything is started: how many workers it allows.
    pub(super) fn price(&self, plan: &mut Plan, server: Size, worker: Size) -> Result<(), Error> {
        let base = if self.ecs.serves { self.rate(server, Role::Server) } else { 0.0 };
        let each = self.rate(worker, Role::Worker);
        let planned = base + f64::from(self.ecs.workers) * each;
        plan.dollars_per_hour = Some(planned);
        let of = match (self.ecs.price_per_cpu, self.aws.region()) {
            (None, region) if !is_known(region) => format!(
                ", by the prices of us-east-1 and 30 % more: `pricePerCpu` and `pricePerGib` name \
                 those of {region}"
            ),
            _ => String::new(),
        };
        plan.notes.push(format!(
            "The cluster costs about {planned:.2} dollars for an hour: {base:.3} for the server, \
             {each:.3} for a worker{of}."
        ));
        // A task costs a minute at least.
        let least = (base + each) / 60.0;
        if let Some(most) = self.ecs.max_cost.filter(|most| *most < least) {
            let reason = format!(
                "a server and a worker cost {least:.4} dollars at least, and `maxCost` is {most}"
            );
            return Err(over("maxCost", reason));
        }
        let Some(most) = self.ecs.max_cost_per_hour else { return Ok(()) };
        let workers = ((most - base) / each + 1e-9).floor();
        if workers < 1.0 {
            let both = base + each;
            return Err(over(
                "maxCostPerHour",
                format!(
                    "a server and a worker cost {both:.3} dollars for an hour, and `maxCostPerHour` is {most}"
                ),
            ));
        }
        plan.allow(workers, &format!("`maxCostPerHour`, {most},"));
        Ok(())
    }

    /// The unit with a life that ends when the money does, and how many of `n` may be started. A launch
    /// that is tried again may start what it might before: it may have done so.
    pub(super) async fn within_budget(
        &self,
        cluster: &ClusterId,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<(Unit, u32), Error> {
        if self.ecs.max_cost.is_none() && self.ecs.max_cost_per_hour.is_none() {
            return Ok((unit.clone(), n));
        }
        let grants = || self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        let before = grants().get(token.as_str()).copied();
        let granted = match before {
            Some(granted) => granted,
            None => self.grant(cluster, unit, n).await?,
        };
        grants().insert(token.as_str().to_owned(), granted);
        let mut unit = unit.clone();
        let life = match &mut unit.bootstrap {
            Bootstrap::Server(told) => &mut told.life_seconds,
            Bootstrap::Worker(told) => &mut told.life_seconds,
        };
        if let Some(seconds) = granted.life_seconds {
            *life = Some(life.map_or(seconds, |life| life.min(seconds)));
        }
        Ok((unit, granted.n))
    }

    /// What there is money for.
    async fn grant(&self, cluster: &ClusterId, unit: &Unit, n: u32) -> Result<Grant, Error> {
        let mut n = n;
        let cost = self.cost(cluster).await?;
        let each = self.rate(self.size(unit)?, unit.role());
        if let Some(most) = self.ecs.max_cost_per_hour {
            let room = ((most - cost.per_hour) / each + 1e-9).floor().max(0.0);
            n = n.min(room.min(f64::from(u32::MAX)) as u32);
            if n == 0 {
                return Err(over(
                    "maxCostPerHour",
                    format!("it would cost more than {most} dollars for an hour"),
                ));
            }
        }
        let Some(most) = self.ecs.max_cost else { return Ok(Grant { n, life_seconds: None }) };
        // All ends with the server, so its life is the time in which it and all planned workers spend
        // what is left.
        let planned = match unit.role() {
            Role::Server => {
                let size = Size::fitting(self.ecs.cpu, self.ecs.memory)?;
                each + f64::from(self.ecs.workers) * self.rate(size, Role::Worker)
            }
            Role::Worker => f64::from(n) * each,
        };
        let hours = (most - cost.so_far) / (cost.per_hour + planned);
        if hours <= 0.0 {
            let spent = cost.so_far;
            return Err(over(
                "maxCost",
                format!("it has cost {spent:.4} dollars, and `maxCost` is {most}"),
            ));
        }
        Ok(Grant { n, life_seconds: Some((hours * 3600.0).ceil() as u64) })
    }

    /// What a task costs for an hour.
    fn rate(&self, size: Size, role: Role) -> f64 {
        let disk = self.ecs.disk.filter(|_| role == Role::Worker);
        self.rates().task(size, disk.unwrap_or(FREE_DISK))
    }

    fn rates(&self) -> Rates {
        Rates::of(&self.ecs, self.aws.region())
    }
}

fn over(limit: &str, reason: String) -> Error {
    Error::Budget { reason, way: format!("Raise `{limit}`, or ask for less.") }
}

fn time(when: &DateTime) -> SystemTime {
    SystemTime::try_from(*when).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// From the pull of the image to the end, at least a minute.
fn hours(from: SystemTime, until: SystemTime) -> f64 {
    let ran = until.duration_since(from).unwrap_or_default();
    ran.max(Duration::from_secs(60)).as_secs_f64() / 3600.0
}
