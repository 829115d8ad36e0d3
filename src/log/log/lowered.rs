//! `recovery-point-lowered`: how far a log had to lower its recovery point below what a checkpoint may still say.
//! Recovery treats damage below the recovery point as a broken disk. An interrupted truncation leaves such damage too,
//! and so do appends after a truncation. Kafka has no such file, and ignores it.

use std::io;
use std::path::{Path, PathBuf};

use ottla_protocol::Offset;

use crate::Disk;
use crate::disk::is_full;

/// The file exists while the recovery point is below the highest one that a checkpoint may hold.
#[derive(Debug)]
pub(super) struct Lowered {
    path: PathBuf,
    /// The highest recovery point that a checkpoint may hold.
    claimed: Offset,
    /// The recovery point in the file. `None`: there is no file.
    at: Option<Offset>,
}

impl Lowered {
    /// A file that cannot be parsed counts as 0: nothing is flushed.
    pub fn read(disk: &dyn Disk, dir: &Path, checkpointed: Offset) -> io::Result<Lowered> {
        let path = dir.join(NAME);
        let at = match disk.read_to_vec(&path) {
            Ok(bytes) => {
                Some(str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok(Lowered { path, claimed: checkpointed, at })
    }

    /// The recovery point that is true, whatever the checkpoint says.
    pub fn recovery_point(&self) -> Offset {
        self.at.map_or(self.claimed, |at| at.min(self.claimed))
    }

    /// Whether the file exists. It is removed once everything is flushed again.
    pub fn is_noted(&self) -> bool {
        self.at.is_some()
    }

    /// Called before the recovery point goes back to `to`. The file is durable when this returns, unless the disk is
    /// full: in that case a crash during the truncation may leave a log that does not open without somebody's help.
    pub fn lower(&mut self, disk: &dyn Disk, to: Offset) -> io::Result<()> {
        if to >= self.claimed || self.at.is_some_and(|at| at <= to) {
            return Ok(());
        }
        match disk.replace(&self.path, format!("{to}\n").as_bytes()) {
            Err(e) if is_full(&e) => {
                tracing::warn!(file = %self.path.display(), "no room to note recovery point {to}");
                Ok(())
            }
            Err(e) => Err(e),
            Ok(()) => {
                self.at = Some(to);
                Ok(())
            }
        }
    }

    /// Everything below `recovery_point` is flushed again. If the file cannot be removed, the next recovery takes longer.
    pub fn reached(&mut self, disk: &dyn Disk, recovery_point: Offset) {
        self.claimed = self.claimed.max(recovery_point);
        if recovery_point >= self.claimed && self.at.take().is_some() {
            let _ = disk.remove_file(&self.path);
        }
    }
}

const NAME: &str = "recovery-point-lowered";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Fault, MemoryDisk, Operation};

    #[test]
    fn a_claim_is_taken_back_until_it_is_true_again() {
        let disk = MemoryDisk::new(1);
        let dir = Path::new("/t-0");
        disk.create_dir_all(dir).unwrap();
        let read = |checkpointed| Lowered::read(&disk, dir, checkpointed).unwrap().recovery_point();
        let mut lowered = Lowered::read(&disk, dir, 100).unwrap();
        assert_eq!((lowered.recovery_point(), disk.list(dir).unwrap().len()), (100, 0));
        lowered.lower(&disk, 100).unwrap();
        assert_eq!(disk.list(dir).unwrap().len(), 0, "nothing to take back");
        lowered.lower(&disk, 50).unwrap();
        lowered.lower(&disk, 70).unwrap();
        assert_eq!((read(100), read(30)), (50, 30));
        lowered.reached(&disk, 99);
        assert_eq!(read(100), 50, "not yet");
        lowered.reached(&disk, 100);
        assert_eq!((read(100), disk.list(dir).unwrap().len()), (100, 0));
        lowered.reached(&disk, 200);
        lowered.lower(&disk, 150).unwrap();
        assert_eq!(read(180), 150);
        disk.fail_always(Operation::Write, Fault::Full);
        lowered.lower(&disk, 20).unwrap();
        disk.heal();
        disk.replace(&dir.join(NAME), b"what?").unwrap();
        assert_eq!(read(100), 0);
    }
}
