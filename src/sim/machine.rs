//! A machine: its disk, the process on it, if one runs, and what that process may fail for. It must never know what the
//! process does.

use std::sync::Arc;

use ottla_log::disk::MemoryDisk;
use ottla_model::NodeId;

use crate::bus::Place;
use crate::disk::SimDisk;
use crate::invariants::ledger::Loss;
use crate::marks::mark_if;
use crate::mutation::Mutation;

/// One machine; a `P` runs on it, or nothing.
pub(crate) struct Machine<P> {
    pub id: NodeId,
    pub memory: MemoryDisk,
    pub disk: Arc<SimDisk>,
    pub process: Option<P>,
    /// Counts the processes and the times between them. Whatever belongs to a process carries its life.
    pub life: u64,
    /// The machine stands still until then (SIGSTOP, a long pause): its events wait.
    pub paused_until_ms: i64,
    /// How the process will end once the disk's fuse has burnt down.
    fuse: Option<Loss>,
    /// What had failed on the disk before this process.
    failures_before: u64,
    failed_syncs_before: u64,
}

impl<P> Machine<P> {
    pub fn new(id: NodeId, memory: MemoryDisk, mutation: Option<Mutation>, traced: bool) -> Machine<P> {
        let disk = Arc::new(SimDisk::new(memory.clone(), mutation, traced));
        let (process, fuse) = (None, None);
        let (life, paused_until_ms, failures_before, failed_syncs_before) = Default::default();
        Machine {
            id,
            memory,
            disk,
            process,
            life,
            paused_until_ms,
            fuse,
            failures_before,
            failed_syncs_before,
        }
    }

    pub fn place(&self) -> Place {
        self.id.0 as Place
    }

    /// A process is about to start.
    pub fn begin(&mut self) {
        self.life += 1;
        self.failures_before = self.disk.failures();
        self.failed_syncs_before = self.disk.failed_syncs();
    }

    /// Whether something has failed on the disk since the process began: the process has a reason to fail.
    pub fn disk_has_failed(&self) -> bool {
        self.disk.failures() > self.failures_before
    }

    /// The process will end inside one of its next changes to the disk; if that is a write, a part of it is made.
    pub fn light(&mut self, loss: Loss, changes: u64, torn_eighths: u64) {
        self.disk.light(changes, torn_eighths);
        self.fuse = Some(loss);
    }

    pub fn fuse(&self) -> Option<Loss> {
        self.fuse
    }

    /// The process is gone, and what that loss takes with it. Which loss: after a failed sync nobody trusts the page cache,
    /// and the machine is started anew (fsyncgate).
    pub fn end(&mut self, loss: Loss) -> Loss {
        let untrusted = self.disk.failed_syncs() > self.failed_syncs_before;
        mark_if(untrusted, "a failed sync took the page cache along");
        let loss = if untrusted { Loss::Power } else { loss };
        self.process = None;
        match loss {
            Loss::Power => self.memory.crash(),
            Loss::Nothing | Loss::Process => self.memory.kill(),
        }
        self.fuse = None;
        self.disk.put_out();
        self.paused_until_ms = 0;
        // Events of the process find nobody, and connections are those of no process.
        self.life += 1;
        loss
    }

    /// From now on nothing goes wrong by itself.
    pub fn calm(&mut self) {
        self.fuse = None;
        self.disk.put_out();
        self.memory.heal();
        self.memory.set_capacity(None);
        self.paused_until_ms = 0;
    }
}
