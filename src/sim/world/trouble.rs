//! Trouble: kills, lost power, failing and full disks, as the seed's plan allows. It must never be more than a disk, a
//! machine or an operator could do.

use std::path::Path;

use ottla_log::Disk;
use ottla_log::disk::{Fault, Operation};

use super::{Global, World};
use crate::cluster::Rules;
use crate::invariants::ledger::Loss;
use crate::plan::{LOG_DIRS, Trouble};
use crate::verdict::Verdict;

impl World {
    pub(super) fn trouble(&mut self) -> Verdict {
        let cluster = &mut self.cluster;
        if cluster.finishing {
            return Ok(());
        }
        let every = self.plan.trouble_every_ms;
        let pause_ms = cluster.dice.between(every / 4, every * 2);
        cluster.global(pause_ms, Global::Trouble);
        let trouble = *cluster.dice.pick(&self.plan.troubles);
        let next = 1 + cluster.dice.below(12);
        let at = cluster.anybody();
        cluster.note_at(at, || format!("trouble: {trouble:?}"));
        let (up, memory) = (cluster.machines[at].process.is_some(), cluster.machines[at].memory.clone());
        match trouble {
            Trouble::Kill if up => self.end(at, Loss::Process),
            Trouble::LosePower if up => self.end(at, Loss::Power),
            Trouble::LoseAllPower => {
                (0..self.cluster.machines.len()).for_each(|at| self.end(at, Loss::Power));
            }
            Trouble::KillInside => cluster.end_inside(at, Loss::Process),
            Trouble::LosePowerInside => cluster.end_inside(at, Loss::Power),
            Trouble::StopCleanly => self.begin_stop(at),
            Trouble::FailWrite => memory.fail_nth(Operation::Write, next, Fault::Broken),
            Trouble::FailSync => memory.fail_nth(Operation::Sync, next, Fault::Broken),
            Trouble::FailNames => {
                let names = [
                    Operation::Create,
                    Operation::Truncate,
                    Operation::Rename,
                    Operation::Remove,
                    Operation::SyncDir,
                ];
                memory.fail_nth(*cluster.dice.pick(&names), 1 + next / 4, Fault::Broken);
            }
            Trouble::FillDisk => self.fill(at),
            Trouble::WriteBack => memory.write_back(),
            Trouble::Pause | Trouble::CutOneWay | Trouble::Isolate | Trouble::Heal => {
                cluster.disturb(at, trouble);
            }
            Trouble::Kill | Trouble::LosePower => {}
        }
        Ok(())
    }

    fn fill(&mut self, at: usize) {
        let (memory, dice) = (&self.cluster.machines[at].memory, &mut self.cluster.dice);
        let room = *dice.pick(&[0, 500, 5_000]);
        memory.set_capacity(Some(LARGE));
        let used = LARGE - memory.free_bytes(Path::new(LOG_DIRS[0])).unwrap_or(LARGE);
        memory.set_capacity(Some(used + room));
        let delay_ms = dice.between(10, 1_500);
        self.cluster.global(delay_ms, Global::Room(at));
    }
}

const LARGE: u64 = 1 << 40;
