//! What there is at the provider in memory, and what it is told to do wrong.

// Every test file uses its own share of it.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use rustbatch_protocol::bootstrap::Address;
use rustbatch_protocol::{ClusterId, WorkerId};
use rustbatch_provision::provider::{Instance, InstanceId, Role, State, Token};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// What somebody else has at the same provider.
pub const STRANGER: &str = "somebody else's database";

pub struct World {
    pub parts: BTreeMap<ClusterId, BTreeSet<String>>,
    pub records: BTreeMap<ClusterId, Zeroizing<Vec<u8>>>,
    pub made: Vec<Made>,
    pub strangers: Vec<String>,
    /// The points that were passed: each call, before and after what it does.
    pub points: Vec<String>,
    /// The point that fails.
    pub fault: Option<usize>,
    /// The point that waits for its permit, once it has been reached.
    pub gate: Option<(usize, Arc<Semaphore>, Arc<Semaphore>)>,
    /// The next calls that are refused for the moment.
    pub busy: usize,
    /// How many instances there may be.
    pub capacity: usize,
    /// How many looks an instance takes until it runs, and until it is listed.
    pub slow: u32,
    pub hidden: u32,
    /// Instances that stop at once, by role.
    pub fatal: Option<Role>,
    /// How many servers more stop before they run, for a reason that may pass.
    pub stillborn: u32,
    /// Whether clusters have cost what they may.
    pub overspent: bool,
    /// What is terminated is listed as stopped from then on.
    pub remembers: bool,
    /// For how many looks what is terminated is still listed as running.
    pub lingers: u32,
    /// Nobody joins.
    pub mute: bool,
    /// The queue does not answer.
    pub deaf: bool,
    /// Nobody gets through to the server; and what there is to say of the way to it.
    pub shut: bool,
    pub hint: Option<String>,
    /// Parts that can't be removed.
    pub stuck: bool,
    pub most: Option<u32>,
    pub waiting: u64,
    pub held: BTreeMap<WorkerId, u64>,
    pub drained: Vec<WorkerId>,
    pub buried: Vec<WorkerId>,
    /// Of what they died.
    pub whys: Vec<String>,
    /// When clusters were made, where it was not long ago; and whether that is known.
    pub created: BTreeMap<ClusterId, Option<SystemTime>>,
    /// What all instances have written, and how often that was read.
    pub lines: Vec<String>,
    pub reads: usize,
    /// How many clients have come; what a cluster's server knows: who keeps it, and its size.
    pub clients: usize,
    pub keepers: BTreeMap<ClusterId, usize>,
    pub sizes: BTreeMap<ClusterId, (u32, u32)>,
}

#[derive(Clone)]
pub struct Made {
    pub cluster: ClusterId,
    pub instance: Instance,
    pub token: Token,
    /// Where it was told that the server is.
    pub server: Option<Address>,
    /// For how many seconds it was told to live.
    pub life: Option<u64>,
    pub looks: u32,
    /// Once it is terminated, for how many looks more it runs.
    pub ends: Option<u32>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            parts: BTreeMap::new(),
            records: BTreeMap::new(),
            made: Vec::new(),
            strangers: vec![STRANGER.into()],
            points: Vec::new(),
            fault: None,
            gate: None,
            busy: 0,
            capacity: usize::MAX,
            slow: 0,
            hidden: 0,
            fatal: None,
            stillborn: 0,
            overspent: false,
            remembers: false,
            lingers: 0,
            mute: false,
            deaf: false,
            shut: false,
            hint: None,
            stuck: false,
            most: None,
            waiting: 0,
            held: BTreeMap::new(),
            drained: Vec::new(),
            buried: Vec::new(),
            whys: Vec::new(),
            created: BTreeMap::new(),
            lines: ["one", "two", "three"].map(str::to_owned).into(),
            reads: 0,
            clients: 0,
            keepers: BTreeMap::new(),
            sizes: BTreeMap::new(),
        }
    }
}

impl World {
    /// The instances of this role that have not stopped.
    pub fn alive(&self, role: Role) -> Vec<Instance> {
        let all = self.made.iter().map(|made| made.instance.clone());
        all.filter(|i| i.role == role && !matches!(i.state, State::Stopped { .. })).collect()
    }

    pub fn stop(&mut self, id: &InstanceId, why: &str) {
        for made in &mut self.made {
            if made.instance.id == *id {
                made.instance.state = State::Stopped { why: why.into() };
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        let nothing = self.parts.is_empty() && self.records.is_empty() && self.made.is_empty();
        nothing && self.strangers == [STRANGER]
    }

    /// What is terminated ends, when its time has come.
    pub fn end(&mut self) {
        let over = |made: &Made| made.ends == Some(0);
        if self.remembers {
            for made in self.made.iter_mut().filter(|made| over(made)) {
                made.instance.state = State::Stopped { why: "it was ended".into() };
            }
        } else {
            self.made.retain(|made| !over(made));
        }
    }

    pub fn look(&mut self, cluster: &ClusterId) -> Vec<Instance> {
        let World { made, slow, hidden, fatal, stillborn, drained, held, .. } = self;
        let mut listed = Vec::new();
        for Made { instance, looks, ends, .. } in made.iter_mut().filter(|m| m.cluster == *cluster)
        {
            *looks += 1;
            let starts = matches!(instance.state, State::Starting { .. });
            if starts && instance.role == Role::Server && *stillborn > 0 {
                *stillborn -= 1;
                instance.state = State::Stopped { why: "the role is not known yet".into() };
            } else if starts && *fatal == Some(instance.role) {
                instance.state = State::Stopped { why: format!("no {} today", instance.role) };
            } else if starts && *looks > *slow {
                instance.state = State::Running;
            }
            let idle = |w: &WorkerId| drained.contains(w) && held.get(w).is_none_or(|n| *n == 0);
            if instance.worker.as_ref().is_some_and(idle) {
                instance.state = State::Stopped { why: "it has drained".into() };
            }
            if *looks > *hidden {
                listed.push(instance.clone());
            }
            *ends = ends.map(|looks| looks.saturating_sub(1));
        }
        self.end();
        listed
    }
}
