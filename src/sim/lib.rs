//! The simulator: machines with their disks, their clients and all their trouble, from a seed. The lanes, the controller and
//! the quorum are the broker's own; what is made up is the shell around them, the clock and the world. There are three worlds:
//! one node with everything on it ([`Scene::Node`]; [`Scene::Services`], in which that node also runs what works on its
//! partitions; [`Scene::Transactions`], in which its clients write in transactions), the replicas of one partition on several
//! machines ([`Scene::Replicas`]; [`Scene::Coordinator`], in which it is a shard of the group coordinator), and the controllers
//! of a quorum with the brokers that live under them ([`Scene::Quorum`]). All are rules ([`cluster::Rules`]) over one [`cluster::Cluster`] of machines.
//!
//! A run that breaks an invariant prints what the seed drew, the last events, and the command that shows it again. By hand:
//!
//! * `SIM_SEEDS=7..8 cargo test -p ottla-sim` runs one seed, `SIM_STEPS=20000` makes it longer,
//! * `SIM_TRACE=5000` shows what each seed draws, and more of what led to a failure, changes on disk included,
//! * `SIM_SEEDS=0..100000 cargo test --release -p ottla-sim -- soak` runs many, for hours.
//!
//! It must never draw chance, time or order from anywhere but the seed.

mod bus;
#[cfg(test)]
mod caught;
mod clients;
mod cluster;
mod dice;
mod disk;
mod invariants;
mod machine;
mod marks;
mod mutation;
mod node;
mod plan;
mod queue;
mod quorum;
mod replicas;
mod shard;
#[cfg(test)]
mod stories;
mod trace;
mod verdict;
mod world;

pub use mutation::Mutation;

use std::collections::BTreeMap;
use std::fmt;

use crate::verdict::Violation;
use cluster::Rules;
use trace::EPOCH_MS;

/// Which world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// One node: topics, clients, retention, every kind of trouble with a disk.
    Node,
    /// The same node, and what works on its partitions besides clients: groups with their coordinator, the cleaner of compacted
    /// topics, moves between log directories.
    Services,
    /// The same node as a coordinator of transactions: producers with transactional ids, loops that consume, transform and
    /// produce, and readers of what is committed.
    Transactions,
    /// Replicas of one partition: messages, elections, machines that come and go.
    Replicas,
    /// The same partition as a shard of the group coordinator: it moves with its leader.
    Coordinator,
    /// The metadata quorum: controllers that agree, voters that come and go; and brokers that register, are heard of and fenced.
    Quorum,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub scene: Scene,
    pub seed: u64,
    /// Events with trouble; how many more it takes until everybody is done depends.
    pub steps: u64,
    pub mutation: Option<Mutation>,
}

/// What a run came to, to see that it was worth running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    pub restarts: u64,
    pub acknowledged: usize,
    pub seen: usize,
    pub simulated_ms: i64,
    /// The rare states that were reached, and in how many runs.
    pub marks: BTreeMap<&'static str, u64>,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, one: Summary) {
        self.events += one.events;
        self.restarts += one.restarts;
        self.acknowledged += one.acknowledged;
        self.seen += one.seen;
        self.simulated_ms += one.simulated_ms;
        one.marks.into_iter().for_each(|(mark, runs)| *self.marks.entry(mark).or_default() += runs);
    }
}

/// A broken invariant, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    pub run: Run,
    pub invariant: &'static str,
    pub what: String,
    /// The last events.
    pub trace: String,
}

impl Run {
    /// The same run each time.
    pub fn go(self) -> Result<Summary, Box<Failure>> {
        // Most runs are fine: only one that is not is run again with a trace.
        self.attempt(0).or_else(|_| self.attempt(trace_lines()))
    }

    /// What the seed draws before the run begins, in one line.
    pub fn options(self) -> String {
        match self.scene {
            Scene::Node | Scene::Services | Scene::Transactions => {
                world::World::new(self.scene, self.seed, None, 0).cluster().plan.clone()
            }
            Scene::Replicas => replicas::Replicas::new(self.seed, None, 0).cluster().plan.clone(),
            Scene::Coordinator => replicas::Replicas::coordinating(self.seed, None, 0).cluster().plan.clone(),
            Scene::Quorum => quorum::Quorums::new(self.seed, None, 0).cluster().plan.clone(),
        }
    }

    fn attempt(self, trace_lines: usize) -> Result<Summary, Box<Failure>> {
        match self.scene {
            Scene::Node | Scene::Services | Scene::Transactions => {
                self.play(world::World::new(self.scene, self.seed, self.mutation, trace_lines))
            }
            Scene::Replicas => self.play(replicas::Replicas::new(self.seed, self.mutation, trace_lines)),
            Scene::Coordinator => {
                self.play(replicas::Replicas::coordinating(self.seed, self.mutation, trace_lines))
            }
            Scene::Quorum => self.play(quorum::Quorums::new(self.seed, self.mutation, trace_lines)),
        }
    }

    fn play(self, mut world: impl Rules) -> Result<Summary, Box<Failure>> {
        marks::take();
        let verdict = world.run(self.steps);
        let (acknowledged, seen) = world.judged();
        let cluster = world.cluster();
        if let Err(Violation { invariant, what }) = verdict {
            return Err(Box::new(Failure { run: self, invariant, what, trace: cluster.trace.to_string() }));
        }
        let simulated_ms = cluster.now_ms() - EPOCH_MS;
        let (events, restarts) = (cluster.steps, cluster.restarts);
        let marks = marks::take().into_iter().map(|mark| (mark, 1)).collect();
        Ok(Summary { events, restarts, acknowledged, seen, simulated_ms, marks })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { scene, seed, steps, mutation } = self.run;
        writeln!(f, "{}: {}", self.invariant, self.what)?;
        writeln!(f, "the seed drew {}", self.run.options())?;
        writeln!(f, "the last events:\n{}", self.trace)?;
        if let Some(mutation) = mutation {
            writeln!(f, "with {mutation:?} put back, as its test does; without it:")?;
        }
        let test = match scene {
            Scene::Node => "seeds_hold",
            Scene::Services => "seeds_of_services_hold",
            Scene::Transactions => "seeds_of_transactions_hold",
            Scene::Replicas => "seeds_of_replicas_hold",
            Scene::Coordinator => "seeds_of_the_coordinator_hold",
            Scene::Quorum => "seeds_of_the_quorum_hold",
        };
        writeln!(f, "SIM_SEEDS={seed}..{} SIM_STEPS={steps} cargo test -p ottla-sim -- {test}", seed + 1)
    }
}

/// Of the last events, those that are shown: `SIM_TRACE` many, where that is set.
fn trace_lines() -> usize {
    std::env::var("SIM_TRACE").ok().and_then(|lines| lines.parse().ok()).unwrap_or(TRACE_LINES)
}

const TRACE_LINES: usize = 80;
