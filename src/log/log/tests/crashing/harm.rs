//! Faults from outside the log: disk errors while it runs and while it opens, and side files that are missing or damaged
//! before it opens.

use super::super::*;
use super::life::{End, Life};
use crate::disk::{Fault, OpenHow, Operation};

impl Life {
    /// Makes one operation of the disk fail at some later time.
    pub fn plan_a_fault(&mut self) {
        // The loss from a failed sync shows only at a later loss of power (fsyncgate). If this life ends in a kill, the
        // next one cannot know that a sync has failed, so in such a life no sync fails.
        let operations = match self.end {
            End::Either => &OPERATIONS[..OPERATIONS.len() - 2],
            _ => &OPERATIONS[..],
        };
        let operation = operations[self.below(operations.len() as u64) as usize];
        let writes = matches!(operation, Operation::Write | Operation::Create | Operation::Rename);
        self.full = writes && self.below(2) == 0;
        let fault = if self.full { Fault::Full } else { Fault::Broken };
        let nth = 1 + self.below(if operation == Operation::Read || operation == Operation::Write {
            30
        } else {
            4
        });
        self.memory.fail_nth(operation, nth, fault);
        self.armed = true;
    }

    /// Some side files are removed, cut short, zeroed or overwritten. They can all be rebuilt from the log, with two
    /// exceptions: a missing index of aborted transactions looks like a log without any; and after a loss of power that
    /// brought retired segments back, the epochs are needed to tell which ones were retired.
    pub fn harm_side_files(&mut self, killed: bool) {
        for name in self.left_files() {
            let Some((_, kind)) = name.rsplit_once('.') else {
                if name == "leader-epoch-checkpoint" && killed && self.below(4) == 0 {
                    self.remove(&name);
                }
                continue;
            };
            let path = self.world.dir.join(&name);
            let is_checked = matches!(kind, "index" | "snapshot");
            match self.below(12) {
                0 if is_checked || kind == "timeindex" => self.remove(&name),
                1 if is_checked => self.overwrite(&path, |bytes, at| bytes.truncate(at)),
                2 if is_checked => self.overwrite(&path, |bytes, at| bytes[at..].fill(0)),
                3 if is_checked => self.overwrite(&path, |bytes, at| {
                    bytes[at..].iter_mut().for_each(|byte| *byte ^= 0x5a);
                }),
                // A part of an entry can be detected. Wrong or missing entries of a time index cannot, as in Kafka.
                4 if kind == "timeindex" => self.overwrite(&path, |bytes, at| bytes.truncate(at | 1)),
                _ => {}
            }
        }
    }

    fn remove(&self, name: &str) {
        self.world.disk.remove_file(&self.world.dir.join(name)).expect("a side file is removed");
    }

    fn overwrite(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>, usize)) {
        let mut bytes = self.world.disk.read_to_vec(path).expect("the file is there");
        let at = self.below(bytes.len() as u64 + 1) as usize;
        change(&mut bytes, at);
        let file = self.world.disk.open(path, OpenHow::CreateEmpty).expect("the file opens");
        file.write_at(&bytes, 0).expect("the file is written");
    }
}

/// The last two are not used if a kill may come before a loss of power.
const OPERATIONS: [Operation; 10] = [
    Operation::Open,
    Operation::Create,
    Operation::Read,
    Operation::Write,
    Operation::Write,
    Operation::Truncate,
    Operation::Rename,
    Operation::Remove,
    Operation::Sync,
    Operation::SyncDir,
];
