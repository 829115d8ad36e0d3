//! The life of a node's process in this world: it boots, serves, and ends in one of many ways. What it may fail for is
//! counted by the disk: a node that fails without a reason is a finding.

use std::collections::BTreeMap;

use ottla_log::Disk;

use super::{Local, Process, SWEEP_MS, World};
use crate::cluster::Rules;
use crate::invariants::ledger::Loss;
use crate::marks::mark;
use crate::node::{BootError, CHECKPOINTS, Node, Said};
use crate::verdict::{Verdict, Violation};

impl World {
    pub(super) fn boot(&mut self, at: usize) -> Verdict {
        let (now_ms, mutation) = (self.cluster.now_ms(), self.cluster.mutation);
        let machine = &mut self.cluster.machines[at];
        if machine.process.is_some() {
            return Ok(());
        }
        machine.begin();
        let (id, life) = (machine.id, machine.life);
        let disk: std::sync::Arc<dyn Disk> = machine.disk.clone();
        let dice = self.cluster.dice.split();
        let mut said = Vec::new();
        let config = self.configs[at].clone();
        let booted = Node::boot(disk, config, &self.plan, now_ms, dice, mutation, &mut said);
        let node = match booted {
            Ok(node) => node,
            Err(BootError(why)) => return self.not_booted(at, &why),
        };
        let partitions = node.partitions.len();
        self.cluster.note_at(at, || format!("up, life {life}, {partitions} partitions"));
        let process = Process { node, serving: BTreeMap::new(), stopping: false };
        self.cluster.machines[at].process = Some(process);
        self.cluster.restarts += 1;
        self.published(at)?;
        if let Some(process) = &self.cluster.machines[at].process {
            self.judge.audit(id, &process.node)?;
        }
        self.carry_out(at, said)?;
        self.begin_services(at)?;
        self.cluster.work(at, SWEEP_MS, Local::Sweep);
        self.cluster.work(at, self.plan.retention_every_ms, Local::Retention);
        for which in CHECKPOINTS {
            self.cluster.work(at, self.plan.checkpoint_every_ms, Local::Checkpoint(which));
        }
        Ok(())
    }

    // Whoever starts it tries again, and after a failed sync does not trust the page cache.
    fn not_booted(&mut self, at: usize, why: &str) -> Verdict {
        self.cluster.note_at(at, || format!("did not boot: {why}"));
        mark("a start failed for the disk");
        self.for_a_reason(at, "a node starts again", why)?;
        self.end(at, Loss::Process);
        Ok(())
    }

    fn for_a_reason(&self, at: usize, invariant: &'static str, why: &str) -> Verdict {
        match self.cluster.machines[at].disk_has_failed() {
            true => Ok(()),
            false => Err(Violation::new(invariant, why)),
        }
    }

    pub(super) fn offline(&mut self, at: usize, why: &str) -> Verdict {
        self.cluster.note_at(at, || format!("a partition is offline: {why}"));
        mark("a partition went offline");
        self.for_a_reason(at, "a partition fails for a reason", why)?;
        let delay_ms = self.cluster.dice.between(20, 2_000);
        self.cluster.work(at, delay_ms, Local::Operator);
        Ok(())
    }

    pub(super) fn died(&mut self, at: usize, why: &str) -> Verdict {
        self.cluster.note_at(at, || format!("the controller ends the process: {why}"));
        mark("the controller ended its process");
        self.for_a_reason(at, "a controller fails for a reason", why)?;
        self.end(at, Loss::Process);
        Ok(())
    }

    pub(super) fn operate(&mut self, at: usize) -> Verdict {
        if self.node(at).is_some() && self.cluster.dice.percent(50) {
            self.begin_stop(at);
        } else {
            self.end(at, Loss::Process);
        }
        Ok(())
    }

    /// A clean stop takes no more requests and waits for those that it has.
    pub(super) fn begin_stop(&mut self, at: usize) {
        let deadline_ms = self.cluster.now_ms() + STOP_PATIENCE_MS;
        let running = self.cluster.machines[at].process.as_mut();
        if let Some(process) = running.filter(|process| !process.stopping) {
            process.stopping = true;
            self.cluster.note_at(at, || "told to stop".into());
            self.cluster.work(at, 1, Local::Stop { deadline_ms });
        }
    }

    pub(super) fn stop(&mut self, at: usize, deadline_ms: i64) -> Verdict {
        let now_ms = self.cluster.now_ms();
        let mut said = Vec::new();
        if let Some(process) = &mut self.cluster.machines[at].process {
            process.node.resign_shards(now_ms, &mut said);
        }
        self.carry_out(at, said)?;
        let running = &mut self.cluster.machines[at].process;
        let busy = |process: &mut Process| !process.serving.is_empty() || !process.node.has_published();
        if now_ms < deadline_ms && running.as_mut().is_some_and(busy) {
            self.cluster.work(at, 5, Local::Stop { deadline_ms });
            return Ok(());
        }
        let Some(process) = running.take() else { return Ok(()) };
        let mut said = Vec::new();
        process.node.stop(now_ms, &mut said);
        // What it says last is heard, replies only: the rest ends with it.
        for each in said.into_iter().filter(|said| matches!(said, Said::Produced { .. })) {
            self.one(at, each)?;
        }
        self.end(at, Loss::Process);
        Ok(())
    }
}

/// Then those who are still served are cut off.
const STOP_PATIENCE_MS: i64 = 10_000;
