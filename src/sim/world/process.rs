//! The life of the node's process in this world: it boots, serves, and ends in one of many ways. What it may fail for is
//! counted by the disk: a node that fails without a reason is a finding.

use ottla_log::Disk;

use super::{Event, SWEEP_MS, World};
use crate::invariants::ledger::Loss;
use crate::invariants::{Verdict, Violation};
use crate::node::{BootError, CHECKPOINTS, Node, Said};

impl World {
    pub(super) fn boot(&mut self) -> Verdict {
        if self.node.is_some() {
            return Ok(());
        }
        let now_ms = self.queue.now_ms();
        self.life += 1;
        self.stopping = false;
        self.serving.clear();
        self.failures_at_boot = self.disk.failures();
        self.failed_syncs_at_boot = self.disk.failed_syncs();
        let disk: std::sync::Arc<dyn Disk> = self.disk.clone();
        let dice = self.dice.split();
        let mut said = Vec::new();
        let booted = Node::boot(disk, self.config.clone(), now_ms, dice, self.mutation, &mut said);
        let node = match booted {
            Ok(node) => node,
            Err(BootError(why)) => return self.not_booted(&why),
        };
        self.trace
            .note(now_ms, || format!("up for the {}. time, {} partitions", self.life, node.partitions.len()));
        self.node = Some(node);
        self.restarts += 1;
        self.published()?;
        if let Some(node) = &self.node {
            self.judge.audit(node)?;
        }
        self.carry_out(said)?;
        let life = self.life;
        self.queue.after(SWEEP_MS, Event::Sweep { life });
        self.queue.after(self.plan.retention_every_ms, Event::Retention { life });
        for which in CHECKPOINTS {
            self.queue.after(self.plan.checkpoint_every_ms, Event::Checkpoint { life, which });
        }
        Ok(())
    }

    // Whoever starts it tries again, and after a failed sync does not trust the page cache.
    fn not_booted(&mut self, why: &str) -> Verdict {
        let now_ms = self.queue.now_ms();
        self.trace.note(now_ms, || format!("did not boot: {why}"));
        if self.disk.failures() == self.failures_at_boot {
            return Err(Violation::new("a node starts again", why));
        }
        self.end(Loss::Process);
        Ok(())
    }

    /// The process is gone. After a failed sync nobody trusts the page cache: the machine is started anew (fsyncgate).
    pub(super) fn end(&mut self, loss: Loss) {
        let untrusted = self.disk.failed_syncs() > self.failed_syncs_at_boot;
        let loss = if untrusted { Loss::Power } else { loss };
        let now_ms = self.queue.now_ms();
        self.trace.note(now_ms, || format!("the process ends: {loss:?}"));
        self.judge.ended(loss);
        self.node = None;
        self.serving.clear();
        match loss {
            Loss::Power => self.memory.crash(),
            Loss::Nothing | Loss::Process => self.memory.kill(),
        }
        self.fuse = None;
        self.disk.put_out();
        // Until it is up again, its connections are those of no process.
        self.life += 1;
        self.queue.after(self.dice.between(5, 300), Event::Boot);
    }

    pub(super) fn offline(&mut self, why: &str) -> Verdict {
        let now_ms = self.queue.now_ms();
        self.trace.note(now_ms, || format!("a partition is offline: {why}"));
        if self.disk.failures() == self.failures_at_boot {
            return Err(Violation::new("a partition fails for a reason", why));
        }
        let life = self.life;
        self.queue.after(self.dice.between(20, 2_000), Event::Operator { life });
        Ok(())
    }

    pub(super) fn died(&mut self, why: &str) -> Verdict {
        let now_ms = self.queue.now_ms();
        self.trace.note(now_ms, || format!("the controller ends the process: {why}"));
        if self.disk.failures() == self.failures_at_boot {
            return Err(Violation::new("a controller fails for a reason", why));
        }
        self.end(Loss::Process);
        Ok(())
    }

    pub(super) fn operate(&mut self) -> Verdict {
        if self.node.is_some() && self.dice.percent(50) {
            return self.begin_stop();
        }
        self.end(Loss::Process);
        Ok(())
    }

    /// A clean stop takes no more requests and waits for those that it has.
    pub(super) fn begin_stop(&mut self) -> Verdict {
        let (life, now_ms) = (self.life, self.queue.now_ms());
        if self.node.is_some() && !self.stopping {
            self.stopping = true;
            self.trace.note(now_ms, || "told to stop".into());
            self.queue.after(1, Event::Stop { life, deadline_ms: now_ms + STOP_PATIENCE_MS });
        }
        Ok(())
    }

    pub(super) fn stop(&mut self, deadline_ms: i64) -> Verdict {
        let (life, now_ms) = (self.life, self.queue.now_ms());
        let busy = !self.serving.is_empty() || self.node.as_ref().is_some_and(|node| !node.has_published());
        if busy && now_ms < deadline_ms {
            self.queue.after(5, Event::Stop { life, deadline_ms });
            return Ok(());
        }
        let Some(node) = self.node.take() else { return Ok(()) };
        let mut said = Vec::new();
        node.stop(now_ms, &mut said);
        // What it says last is heard, replies only: the rest ends with it.
        for each in said.into_iter().filter(|said| matches!(said, Said::Produced { .. })) {
            self.one(each)?;
        }
        self.end(Loss::Process);
        Ok(())
    }
}

/// Then those who are still served are cut off.
const STOP_PATIENCE_MS: i64 = 10_000;
