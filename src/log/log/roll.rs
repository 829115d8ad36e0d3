//! Starting the next segment. It must never decide when.

use ottla_protocol::Offset;
use ottla_protocol::batch::BatchHeader;

use super::Log;
use super::active::{Active, jitter_ms};
use super::error::{AppendError, LogError, io as io_error};
use super::files::Kind;
use super::segment::Segment;
use crate::disk::is_full;

impl Log {
    /// Starts a new segment for a batch. It begins at the log end even if the batch's offsets begin later, so that a hole
    /// between two segments shows that the end of the first one was lost.
    pub(super) fn roll(&mut self, header: &BatchHeader, now_ms: i64) -> Result<(), AppendError> {
        let reachable = header.last_offset() - self.log_end <= i32::MAX.into();
        self.roll_at(if reachable { self.log_end } else { header.base_offset }, now_ms)
    }

    pub(super) fn roll_at(&mut self, base: Offset, now_ms: i64) -> Result<(), AppendError> {
        match self.try_roll(base, now_ms) {
            Err(LogError::Io { source, .. }) if is_full(&source) => {
                Err(AppendError::DiskFull { dir: self.dir.clone(), waits_for_flush: false })
            }
            Err(e) => {
                self.go_offline();
                Err(e.into())
            }
            Ok(()) => Ok(()),
        }
    }

    fn try_roll(&mut self, base: Offset, now_ms: i64) -> Result<(), LogError> {
        self.active.push_time();
        self.active.write_indexes().map_err(io_error("writing an index"))?;
        let segment = match Segment::create(&self.disk, &self.dir, base) {
            Ok(segment) => segment,
            Err(e) => {
                // The files that were created are removed, so that the segment is not there with some of its files only.
                // The next attempt would replace them, but until then a later recovery would find them.
                self.unflushed.folder_changed();
                for kind in Kind::OF_SEGMENT {
                    let _ = self.disk.remove_file(&kind.path(&self.dir, base));
                }
                return Err(e);
            }
        };
        self.unflushed.folder_changed();
        self.snapshot(base)?;
        let active = Active::new(segment, now_ms, jitter_ms(self.jitter_seed, base, &self.config));
        let old = std::mem::replace(&mut self.active, active);
        old.segment.seal(old.size, Some(old.largest));
        // Nothing is synced here. The next flush covers the new names, the indexes, and everything in the log file since
        // the last flush, even if that is only the cut after a refused batch. Until then a loss of power may undo any of
        // it, so recovery reads a segment again that ends at the recovery point.
        self.unflushed.sealed(self.log_end, old.segment);
        self.segments.push(self.active.segment.clone());
        self.publish_segments();
        self.publish();
        Ok(())
    }

    /// Reserves disk space for the next `bytes` of the active segment. Fails if the file system does not support it.
    pub fn reserve(&self, bytes: u64) -> Result<(), LogError> {
        self.check_online()?;
        self.active.segment.log.reserve(self.active.size, bytes).map_err(io_error("reserving room"))
    }

    /// Writes a snapshot of the producer state at `offset`, at or above which nothing was appended yet. If the disk is
    /// full, none is written, and recovery reads more of the log.
    pub(super) fn snapshot(&mut self, offset: Offset) -> Result<(), LogError> {
        if self.snapshots.newest().is_some_and(|newest| newest >= offset) {
            return Ok(());
        }
        match self.snapshots.write(offset, &self.producers.all()) {
            Ok(file) => {
                self.unflushed.snapshot(offset, file);
                self.unflushed.folder_changed();
                Ok(())
            }
            Err(e) if is_full(&e) => Ok(()),
            Err(e) => Err(LogError::Io { doing: "writing a producer snapshot", source: e }),
        }
    }
}
