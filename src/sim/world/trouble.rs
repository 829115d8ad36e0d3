//! Trouble: kills, lost power, failing and full disks, as the seed's plan allows. It must never be more than a disk, a
//! machine or an operator could do.

use std::path::Path;

use ottla_log::Disk;
use ottla_log::disk::{Fault, Operation};

use super::{Event, World};
use crate::invariants::Verdict;
use crate::invariants::ledger::Loss;
use crate::node::DATA;
use crate::plan::Trouble;

impl World {
    pub(super) fn trouble(&mut self) -> Verdict {
        if self.finishing {
            return Ok(());
        }
        let every = self.plan.trouble_every_ms;
        self.queue.after(self.dice.between(every / 4, every * 2), Event::Trouble);
        let trouble = *self.dice.pick(&self.plan.troubles);
        let now_ms = self.queue.now_ms();
        self.trace.note(now_ms, || format!("trouble: {trouble:?}"));
        let next = 1 + self.dice.below(12);
        match trouble {
            Trouble::Kill if self.node.is_some() => self.end(Loss::Process),
            Trouble::LosePower if self.node.is_some() => self.end(Loss::Power),
            Trouble::KillInside => self.end_inside(Loss::Process),
            Trouble::LosePowerInside => self.end_inside(Loss::Power),
            Trouble::StopCleanly => return self.begin_stop(),
            Trouble::FailWrite => self.memory.fail_nth(Operation::Write, next, Fault::Broken),
            Trouble::FailSync => self.memory.fail_nth(Operation::Sync, next, Fault::Broken),
            Trouble::FailNames => {
                let names = [
                    Operation::Create,
                    Operation::Truncate,
                    Operation::Rename,
                    Operation::Remove,
                    Operation::SyncDir,
                ];
                self.memory.fail_nth(*self.dice.pick(&names), 1 + next / 4, Fault::Broken);
            }
            Trouble::FillDisk => self.fill(),
            Trouble::WriteBack => self.memory.write_back(),
            Trouble::Kill | Trouble::LosePower => {}
        }
        Ok(())
    }

    fn end_inside(&mut self, loss: Loss) {
        if self.fuse.is_none() {
            let operations = *self.dice.pick(&[3, 30, 100]);
            self.disk.light(self.dice.below(operations), self.dice.below(9));
            self.fuse = Some(loss);
        }
    }

    fn fill(&mut self) {
        let room = *self.dice.pick(&[0, 500, 5_000]);
        self.memory.set_capacity(Some(LARGE));
        let used = LARGE - self.memory.free_bytes(Path::new(DATA)).unwrap_or(LARGE);
        self.memory.set_capacity(Some(used + room));
        self.queue.after(self.dice.between(10, 1_500), Event::Room);
    }

    /// From now on nothing goes wrong by itself.
    pub(super) fn calm(&mut self) {
        self.fuse = None;
        self.disk.put_out();
        self.memory.heal();
        self.memory.set_capacity(None);
    }
}

const LARGE: u64 = 1 << 40;
