//! What the checkpoint files of one log directory say: for each partition up to where its log is flushed, replicated and
//! compacted, and where it starts. One owner reads the files once and writes them ever after. It must never look at a log:
//! offsets are arguments.

use super::{Checkpoint, DirError, LogDir};
use ottla_model::TopicPartition;
use ottla_protocol::Offset;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// An offset for each partition.
pub type Offsets = BTreeMap<TopicPartition, Offset>;

/// The checkpoints of one directory, exactly as they are on disk.
#[derive(Debug)]
pub struct Checkpoints {
    written: [Offsets; Checkpoint::ALL.len()],
}

/// What the checkpoints must say of a log that comes from another directory of the same broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub recovery_point: Offset,
    pub log_start: Offset,
    /// Up to where it is compacted. `None`: it never was.
    pub cleaned: Option<Offset>,
}

impl Checkpoints {
    /// A file that is damaged counts as empty: recovery reads more then.
    pub fn read(dir: &LogDir) -> Checkpoints {
        let read = |which| {
            dir.checkpoint(which).unwrap_or_else(|error| {
                tracing::warn!(%error, "ignoring a damaged checkpoint: recovery reads more");
                Offsets::new()
            })
        };
        Checkpoints { written: Checkpoint::ALL.map(read) }
    }

    /// `None`: the file says nothing of that partition.
    pub fn says(&self, which: Checkpoint, id: &TopicPartition) -> Option<Offset> {
        self.written[slot_of(which)].get(id).copied()
    }

    /// Writes a file, if it would say something new. What it says already of logs that are here, and not among `offsets`, it
    /// goes on saying: a log that could not be opened, or is closed, would lose a start that DeleteRecords moved otherwise,
    /// and be read from its beginning.
    pub fn write(&mut self, dir: &LogDir, which: Checkpoint, mut offsets: Offsets) -> Result<(), DirError> {
        let written = &self.written[slot_of(which)];
        for (id, offset) in written {
            if !offsets.contains_key(id) && dir.disk.exists(&dir.path.join(id.to_string())) {
                offsets.insert(id.clone(), *offset);
            }
        }
        if *written == offsets { Ok(()) } else { self.replace(dir, which, offsets) }
    }

    /// Takes a partition out of the files, before a new topic of that name gets a log here. What they say of the earlier topic
    /// must not be taken for the new one's: its log would begin where the other one ended, or be thrown away after the next
    /// crash. After an error the partition is still known, as it is in the file, so that whoever tries again forgets it then.
    pub fn forget(&mut self, dir: &LogDir, id: &TopicPartition) -> Result<(), DirError> {
        for which in [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::Cleaner] {
            if self.says(which, id).is_some() {
                let mut rest = self.written[slot_of(which)].clone();
                rest.remove(id);
                self.replace(dir, which, rest)?;
            }
        }
        Ok(())
    }

    /// Gives a copy of a log its live name. First come the checkpoints, then the name: a kill in between leaves a copy, and
    /// words about a log that is not here. All of it is durable on return. No other checkpoint may be written meanwhile: it
    /// would leave this partition out, whose folder is not here yet.
    pub fn go_live(
        &mut self,
        dir: &LogDir,
        copy: &Path,
        id: &TopicPartition,
        arrival: Arrival,
    ) -> io::Result<()> {
        let known = [
            (Checkpoint::RecoveryPoint, Some(arrival.recovery_point)),
            (Checkpoint::LogStart, Some(arrival.log_start)),
            (Checkpoint::Cleaner, arrival.cleaned),
        ];
        for (which, offset) in known {
            let mut offsets = self.written[slot_of(which)].clone();
            match offset {
                Some(offset) => offsets.insert(id.clone(), offset),
                None => offsets.remove(id),
            };
            self.replace(dir, which, offsets).map_err(|error| match error {
                DirError::Io(error) => error,
                other => io::Error::other(other),
            })?;
        }
        dir.disk.rename(copy, &dir.path.join(id.to_string()))?;
        dir.disk.sync_dir(&dir.path)
    }

    fn replace(&mut self, dir: &LogDir, which: Checkpoint, offsets: Offsets) -> Result<(), DirError> {
        dir.write_checkpoint(which, &offsets)?;
        self.written[slot_of(which)] = offsets;
        Ok(())
    }
}

fn slot_of(which: Checkpoint) -> usize {
    match which {
        Checkpoint::RecoveryPoint => 0,
        Checkpoint::LogStart => 1,
        Checkpoint::HighWatermark => 2,
        Checkpoint::Cleaner => 3,
    }
}
