//! A new segment beside the old ones, in `.cleaned` files, which count for nothing until they are swapped in. It must
//! never touch a file of another name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::Offset;
use ottla_protocol::batch::BatchHeader;

use super::group::Group;
use super::job::Job;
use crate::Disk;
use crate::log::active::Active;
use crate::log::error::{LogError, io};
use crate::log::files::{Kind, Name, Stage};
use crate::log::recovery::remove_if_there;
use crate::log::segment::Segment;
use crate::log::txn_index::AbortedTxn;

#[derive(Debug)]
pub(super) struct Output {
    active: Active,
    dir: PathBuf,
    /// Batches that are not in the file yet: the last ones of its `active.size` bytes.
    pending: Vec<u8>,
}

impl Output {
    pub fn create(job: &Job, group: &Group) -> Result<Output, LogError> {
        // Makes the renames of an earlier swap durable first. If a loss of power undid them now, their finished files
        // would be beside these unfinished ones, and would be taken for unfinished too.
        job.disk.sync_dir(&job.dir).map_err(io("syncing a partition's folder"))?;
        let segment = Segment::create_cleaned(&job.disk, &job.dir, group.base)?;
        Ok(Output { active: Active::new(segment, 0, 0), dir: job.dir.clone(), pending: Vec::new() })
    }

    /// Returns how many bytes were written.
    pub fn append(&mut self, batch: &[u8], job: &Job) -> Result<u64, LogError> {
        let size = batch.len() as u64;
        if self.active.size + size > i32::MAX as u64 {
            let source = std::io::Error::other("a cleaned segment would be larger than 2 GiB");
            return Err(LogError::Io { doing: "cleaning a log", source });
        }
        let header = BatchHeader::parse(batch)
            .map_err(|e| LogError::Io { doing: "cleaning a log", source: std::io::Error::other(e) })?;
        self.pending.extend_from_slice(batch);
        self.active.took(&header, job.config.index_interval_bytes);
        if self.pending.len() >= PENDING_BYTES {
            self.write()?;
        }
        Ok(size)
    }

    pub fn aborted(&mut self, txn: AbortedTxn) -> Result<(), LogError> {
        self.active.segment.txn_index.append(txn).map_err(io("writing a transaction index"))
    }

    /// Everything is durable when this returns, under its `.cleaned` names.
    pub fn finish(mut self, job: &Job) -> Result<Arc<Segment>, LogError> {
        self.write()?;
        self.active.push_time();
        self.active.write_indexes().map_err(io("writing an index"))?;
        let segment = self.active.segment;
        segment.log.sync().map_err(io("syncing a cleaned segment"))?;
        segment.sync_indexes()?;
        job.disk.sync_dir(&self.dir).map_err(io("syncing a partition's folder"))?;
        segment.seal(self.active.size, Some(self.active.largest));
        Ok(segment)
    }

    pub fn abandon(self, disk: &dyn Disk) {
        abandon(disk, &self.dir, self.active.base());
    }

    fn write(&mut self) -> Result<(), LogError> {
        let at = self.active.size - self.pending.len() as u64;
        self.active.segment.log.write_at(&self.pending, at).map_err(io("writing a cleaned segment"))?;
        self.pending.clear();
        Ok(())
    }
}

/// Removes what can be removed of an output of which nothing was renamed. [`remove_abandoned`] removes the rest.
pub(super) fn abandon(disk: &dyn Disk, dir: &Path, base: Offset) {
    for kind in Kind::OF_SEGMENT {
        let _ = disk.remove_file(&kind.staged(dir, base, Stage::Cleaned));
    }
}

/// A cleaning begins to write with no unfinished files there. If some of an earlier one stayed and the process died in a swap
/// at a higher offset, the swap's files would be taken for unfinished too, and its old segments are gone.
pub(super) fn remove_abandoned(job: &Job) -> Result<(), LogError> {
    let listed = job.disk.list(&job.dir).map_err(io("listing a partition's folder"))?;
    let staged = |name: &str| Name::parse(name).is_some_and(|name| name.stage == Stage::Cleaned);
    for entry in listed.iter().filter(|entry| !entry.is_dir && staged(&entry.name)) {
        remove_if_there(job.disk.as_ref(), &job.dir.join(&entry.name))?;
    }
    Ok(())
}

const PENDING_BYTES: usize = 256 << 10;
