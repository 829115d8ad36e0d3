//! Transactions in this world: tasks wait for the processor, requests come late, and in the end every transaction has one.

use ottla_core::txn::Reply;

use super::{Local, PATIENCE_MS, World};
use crate::clients::Request;
use crate::cluster::Rules;
use crate::invariants::stable;
use crate::node::{Ask, Node, Step, Waits};
use crate::verdict::Verdict;

impl World {
    /// The processor, or the pool of threads, is busy with others.
    pub(super) fn task_waits(&mut self, at: usize, step: Step, waits: Waits) {
        let Some(plan) = &self.plan.transactional else { return };
        let dice = &mut self.cluster.dice;
        let delay_ms = match waits {
            Waits::Ms(ms) => ms,
            Waits::ForLong => dice.between(0, 1_000),
            Waits::ForATask if dice.percent(plan.stalled_percent) => dice.between(0, plan.stalled_ms),
            Waits::ForATask => dice.between(0, 2),
        };
        self.cluster.work(at, delay_ms, Local::Transact(step));
    }

    /// How much later than others a request comes: a client that has lost patience goes on over another connection.
    pub(super) fn lateness_ms(&mut self, request: &Request) -> i64 {
        let Some(plan) = &self.plan.transactional else { return 0 };
        let may_be_late = matches!(request, Request::Write(..)) && plan.late_percent > 0;
        if may_be_late && self.cluster.dice.percent(plan.late_percent) {
            return self.cluster.dice.between(0, plan.late_ms);
        }
        0
    }

    pub(super) fn transaction_answered(&mut self, at: usize, ask: Ask, reply: &Reply) -> Verdict {
        self.cluster.note_at(at, || format!("client {} request {}: {reply:?}", ask.client, ask.request));
        let given = self.judge.transactions.answered(ask.request, reply)?;
        if let (Some((id, producer)), Some(process)) = (given, &mut self.cluster.machines[at].process) {
            process.node.note_given(&id, producer);
        }
        Ok(())
    }

    /// Nothing is open any more, everywhere, and everything is as it was said to be.
    pub(super) fn finish_transactions(&mut self) -> Verdict {
        if self.plan.transactional.is_none() {
            return Ok(());
        }
        let deadline_ms = self.cluster.now_ms() + PATIENCE_MS;
        let machines = 0..self.cluster.machines.len();
        while !machines.clone().all(|at| self.node(at).is_some_and(stable::is_stable)) {
            if self.cluster.now_ms() > deadline_ms {
                let nodes: Vec<&Node> = machines.filter_map(|at| self.node(at)).collect();
                return Err(stable::stuck(&nodes));
            }
            self.next()?;
        }
        for at in machines {
            let Some(process) = &self.cluster.machines[at].process else { continue };
            self.judge.transactions.finish(&process.node)?;
        }
        Ok(())
    }
}
