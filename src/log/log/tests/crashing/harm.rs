//! What is done to a log from outside: errors of the disk while it runs and while it opens, and side files that are
//! gone or damaged before it opens.

use super::super::*;
use super::life::{End, Life};
use crate::disk::{Fault, OpenHow, Operation};

impl Life {
    /// One operation of the disk fails, sooner or later.
    pub fn plan_a_fault(&mut self) {
        // What a failed sync has lost comes to light with a later loss of power (fsyncgate): where a life ends in a
        // kill first, its successor cannot know.
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

    /// Some side files are gone, cut short, zeroed or overwritten: all of them follow from the log, except that nobody
    /// can tell a missing index of aborted transactions from none. The epochs also say which segments had been retired, where
    /// a loss of power brought some of these back: that much is needed.
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
                // Half an entry shows. Wrong or missing ones do not, in a time index, as in Kafka.
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

/// The last two are left out where a kill may come before a loss of power.
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
