//! What works on a node's partitions, in this world: it begins with the process, and what it did is looked at.

use super::{PATIENCE_MS, World};
use crate::cluster::Rules;
use crate::invariants::ledger::Loss;
use crate::invariants::whole;
use crate::node::Key;
use crate::verdict::{Verdict, Violation};

impl World {
    pub(super) fn begin_services(&mut self, at: usize) -> Verdict {
        let now_ms = self.cluster.now_ms();
        let machine = &mut self.cluster.machines[at];
        let failed = machine.disk_has_failed();
        let (Some(plan), Some(process)) = (&self.plan.services, &mut machine.process) else { return Ok(()) };
        if !failed {
            whole::check(&process.node)?;
        }
        let mut said = Vec::new();
        process.node.begin_services(plan, now_ms, &mut said);
        self.carry_out(at, said)
    }

    pub(super) fn rearranged(&mut self, at: usize, key: Key) -> Verdict {
        let (id, now_ms) = (self.cluster.machines[at].id, self.cluster.now_ms());
        self.cluster.note_at(at, || format!("the files of partition {} are others", key.1));
        match &self.cluster.machines[at].process {
            Some(process) => self.judge.rearranged(id, &process.node, key, now_ms),
            None => Ok(()),
        }
    }

    /// What was begun is finished, also what the next process finds begun.
    pub(super) fn finish_services(&mut self) -> Verdict {
        if !self.plan.moves() {
            return Ok(());
        }
        let machines = 0..self.cluster.machines.len();
        for _ in 0..2 {
            machines.clone().for_each(|at| self.end(at, Loss::Process));
            let deadline_ms = self.cluster.now_ms() + PATIENCE_MS;
            while !machines.clone().all(|at| self.node(at).is_some_and(|node| node.rests())) {
                if self.cluster.now_ms() > deadline_ms {
                    return Err(Violation::new("everybody is done some day", "partitions are still moved"));
                }
                self.next()?;
            }
        }
        machines.filter_map(|at| self.node(at)).try_for_each(whole::no_copies)
    }
}
