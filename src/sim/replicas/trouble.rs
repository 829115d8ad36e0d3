//! What a seed draws for replicas, and what goes wrong between and under them. It must never be more than a machine, a
//! network or a power grid could do.

use std::path::Path;

use ottla_log::Disk;
use ottla_log::disk::{Fault, Operation};
use ottla_node::coordinator::Linger;

use super::coordinating::Coordinating;
use super::home::DIR;
use super::{Global, Local, Replicas};
use crate::cluster::{Cluster, Rules};
use crate::dice::Dice;
use crate::invariants::ledger::Loss;
use crate::plan::Trouble;

/// One run's shape.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub machines: usize,
    pub producers: usize,
    pub min_insync_replicas: i32,
    /// `flush.messages=1`: the power may go anywhere, any time.
    pub flushes_each: bool,
    pub segment_bytes: i32,
    pub troubles: Vec<Trouble>,
    pub trouble_every_ms: i64,
    pub flush_ms_max: i64,
    pub fetch_ms_max: i64,
    pub produce_ms_max: i64,
    /// Producers send with sequences.
    pub idempotent: bool,
    pub consumers: usize,
    pub checkpoint_every_ms: i64,
    pub deletes_records: bool,
    /// Machines that have no replica in the beginning. The partition moves, if there are any.
    pub spares: usize,
    /// Disks are full, now and then.
    pub fills: bool,
    /// Followers fetch in sessions (KIP-227): what nothing happens to is not asked for again.
    pub sessions: bool,
    /// Members of groups, and who else commits offsets, if the partition is a shard of the group coordinator.
    pub committers: usize,
    /// Of all of them.
    pub groups: u64,
    pub linger: Linger,
    /// How much of its log the coordinator loads at a time.
    pub load_bytes: usize,
}

impl Plan {
    pub fn draw(dice: &mut Dice) -> Plan {
        let mut troubles = Trouble::draw_together(dice);
        let machines = *dice.pick(&[2, 3, 3, 3, 5]);
        let plan = Plan {
            machines,
            producers: dice.between(1, 4) as usize,
            min_insync_replicas: dice.between(1, (machines as i64 + 1) / 2) as i32,
            flushes_each: dice.percent(40),
            segment_bytes: *dice.pick(&[300, 2_000, 1 << 20]),
            troubles: Vec::new(),
            trouble_every_ms: *dice.pick(&[100, 500, 2_000]),
            flush_ms_max: *dice.pick(&[1, 20, 200]),
            fetch_ms_max: *dice.pick(&[0, 5, 50]),
            produce_ms_max: *dice.pick(&[0, 10, 200]),
            idempotent: dice.percent(50),
            consumers: dice.between(0, 2) as usize,
            checkpoint_every_ms: *dice.pick(&[50, 500, 5_000]),
            deletes_records: dice.percent(30),
            spares: 0,
            fills: false,
            sessions: false,
            committers: 0,
            groups: 1,
            linger: Linger::Ms(0),
            load_bytes: 1 << 20,
        };
        troubles.extend([Trouble::StopCleanly, Trouble::FailWrite].into_iter().filter(|_| dice.percent(25)));
        let spares = if machines > 2 && dice.percent(30) { dice.between(1, machines as i64 - 2) } else { 0 };
        let replicas = machines as i32 - spares as i32;
        let min_insync_replicas = plan.min_insync_replicas.min((replicas + 1) / 2);
        Plan { troubles, spares: spares as usize, min_insync_replicas, ..plan }
    }

    /// The same for a partition that nobody writes to but the coordinator.
    pub fn for_coordinator(self, dice: &mut Dice) -> Plan {
        Plan {
            producers: 0,
            idempotent: false,
            deletes_records: false,
            // What a group has to write fits.
            segment_bytes: self.segment_bytes.max(4_000),
            committers: dice.between(1, 6) as usize,
            groups: dice.between(1, 3) as u64,
            linger: *dice.pick(&[Linger::Ms(0), Linger::Ms(10), Linger::Adaptive]),
            load_bytes: *dice.pick(&[1, 300, 1 << 20]),
            ..self
        }
    }

    pub fn coordinating(&self, dice: &mut Dice) -> Option<Coordinating> {
        (self.committers > 0).then(|| Coordinating::new(self.linger, self.load_bytes, dice.split()))
    }

    /// What admins and consumers do first.
    pub fn admins_and_consumers(&self, cluster: &mut Cluster<Replicas>) {
        (0..self.consumers).for_each(|consumer| cluster.global(200, Global::Consume(consumer)));
        if self.deletes_records {
            cluster.global(500, Global::Delete);
        }
        if self.spares > 0 {
            cluster.global(500, Global::Reassign);
        }
    }
}

#[cfg(test)]
impl Plan {
    /// Of so many machines, of which a majority has to be in sync. Nothing goes wrong, and nobody produces.
    pub fn quiet(machines: usize) -> Plan {
        Plan {
            machines,
            producers: 0,
            min_insync_replicas: machines as i32 / 2 + 1,
            flushes_each: false,
            segment_bytes: 1 << 20,
            troubles: Vec::new(),
            trouble_every_ms: 1_000,
            flush_ms_max: 1,
            fetch_ms_max: 1,
            produce_ms_max: 1,
            idempotent: false,
            consumers: 0,
            checkpoint_every_ms: 100,
            deletes_records: false,
            spares: 0,
            fills: false,
            sessions: false,
            committers: 0,
            groups: 1,
            linger: Linger::Ms(0),
            load_bytes: 1 << 20,
        }
    }
}

/// More than any disk here holds.
const LARGE: u64 = 1 << 40;

impl Replicas {
    pub(super) fn trouble(&mut self) {
        let cluster = &mut self.cluster;
        if cluster.finishing {
            return;
        }
        let every = self.plan.trouble_every_ms;
        let pause_ms = cluster.dice.between(every / 4, every * 2);
        cluster.global(pause_ms, Global::Trouble);
        if self.plan.fills && cluster.dice.percent(30) {
            return self.fill();
        }
        let trouble = *cluster.dice.pick(&self.plan.troubles);
        let at = cluster.anybody();
        cluster.note_at(at, || format!("trouble: {trouble:?}"));
        let up = cluster.machines[at].process.is_some();
        match trouble {
            Trouble::Kill if up => self.end(at, Loss::Process),
            Trouble::KillInside => cluster.end_inside(at, Loss::Process),
            Trouble::LosePower if up => self.lose_power(at),
            Trouble::LoseAllPower if self.plan.flushes_each => {
                (0..self.cluster.machines.len()).for_each(|at| self.end(at, Loss::Power));
            }
            Trouble::StopCleanly => cluster.work(at, 0, Local::Stop),
            Trouble::FailWrite => {
                let next = 1 + cluster.dice.below(12);
                cluster.machines[at].memory.fail_nth(Operation::Write, next, Fault::Broken);
            }
            Trouble::Kill | Trouble::LosePower | Trouble::LoseAllPower => {}
            other => cluster.disturb(at, other),
        }
    }

    // A disk has little room or none, or has room again.
    fn fill(&mut self) {
        let cluster = &mut self.cluster;
        let at = cluster.anybody();
        let memory = &cluster.machines[at].memory;
        memory.set_capacity(None);
        if !self.full.remove(&at) {
            self.full.insert(at);
            memory.set_capacity(Some(LARGE));
            let used = LARGE - memory.free_bytes(Path::new(DIR)).unwrap_or(LARGE);
            memory.set_capacity(Some(used + *cluster.dice.pick(&[0, 100, 1_000])));
        }
        let full = &self.full;
        cluster.note_at(at, || format!("trouble: full are {full:?}"));
    }

    // Without flushes what is acknowledged outlives one loss of power, no more: the others have it in memory.
    fn lose_power(&mut self, at: usize) {
        let view = self.registry.view();
        let all_in_sync = view.target.is_none() && view.isr.len() == view.replicas.len();
        let is_replica = view.replicas.contains(&self.cluster.machines[at].id);
        if self.plan.flushes_each || !is_replica {
            self.end(at, Loss::Power);
        } else if all_in_sync && self.may_lack.is_empty() {
            self.may_lack.insert(self.cluster.machines[at].id);
            self.end(at, Loss::Power);
        }
    }
}
