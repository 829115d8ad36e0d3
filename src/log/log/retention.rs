//! What is removed at the start of a log: by size, by time, by DeleteRecords. Files are renamed here; the holder of the
//! ticket removes them later. It must never remove anything at or above the high watermark.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ottla_protocol::{ErrorCode, Offset};

use super::error::{AppendError, LogError, Refused, io as io_error};
use super::files;
use super::segment::Segment;
use super::{Log, recovery};
use crate::Disk;
use crate::disk::is_full;

/// Files renamed to `.deleted`, to be removed after `file.delete.delay.ms`.
#[derive(Debug)]
#[must_use = "the files stay on disk until run() removes them, or the log is opened again"]
pub struct Retired {
    pub base_offset: Offset,
    pub files: Vec<PathBuf>,
    /// When the files may be removed.
    pub due_ms: i64,
    /// Size of the log file.
    pub bytes: u64,
    disk: Arc<dyn Disk>,
}

impl Retired {
    pub fn run(self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| match self.disk.remove_file(file) {
            // The whole partition may have been removed since.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        })
    }
}

impl Log {
    /// Raises the log start. Returns whether it has changed. Above the high watermark this is refused
    /// (OFFSET_OUT_OF_RANGE). The next `delete_old_segments` removes the segments below.
    pub fn advance_log_start(&mut self, to: Offset) -> Result<bool, Refused> {
        let high_watermark = self.high_watermark.offset;
        if to > high_watermark {
            let message = format!("The log cannot start at {to}, above the high watermark {high_watermark}");
            return Err(Refused::new(ErrorCode::OffsetOutOfRange, message));
        }
        if to <= self.log_start {
            return Ok(false);
        }
        self.log_start = to;
        self.epochs.truncate_start(to);
        self.producers.log_start_moved(to);
        self.publish();
        Ok(true)
    }

    /// Retires whole segments, oldest first, as far as `cleanup.policy` and its limits ask for it. An active segment that
    /// has expired is replaced by an empty one. Segments below the log start are removed under any policy.
    pub fn delete_old_segments(&mut self, now_ms: i64) -> Result<Vec<Retired>, LogError> {
        self.check_online()?;
        self.told(now_ms);
        let outcome = self.try_delete_old(now_ms);
        if outcome.is_err() {
            self.go_offline();
        }
        outcome
    }

    fn try_delete_old(&mut self, now_ms: i64) -> Result<Vec<Retired>, LogError> {
        self.repair_indexes()?;
        let mut retired = Vec::new();
        let log_start = self.log_start;
        let below_start = self.count_while(|_, _, next| Ok(next.is_some_and(|next| next <= log_start)))?;
        self.retire(below_start, now_ms, &mut retired)?;
        if !self.config.cleanup_policy.delete {
            return Ok(retired);
        }
        if let Ok(most) = u64::try_from(self.config.retention_bytes) {
            let mut excess = self.size().saturating_sub(most);
            let too_many = self.count_while(|_, size, _| {
                let goes = excess > 0 && size <= excess;
                excess -= if goes { size } else { 0 };
                Ok(goes)
            })?;
            self.retire(too_many, now_ms, &mut retired)?;
        }
        let most = self.config.retention_ms;
        if most >= 0 {
            let expired =
                self.count_while(|segment, _, _| Ok(now_ms.saturating_sub(self.newest_ms(segment)?) > most))?;
            self.retire(expired, now_ms, &mut retired)?;
        }
        Ok(retired)
    }

    /// How many of the oldest segments may be removed and satisfy `goes`, which gets the segment, its size, and the base
    /// offset of the next one.
    fn count_while(
        &self,
        mut goes: impl FnMut(&Segment, u64, Option<Offset>) -> Result<bool, LogError>,
    ) -> Result<usize, LogError> {
        for (at, segment) in self.segments.iter().enumerate() {
            let (size, next) = (self.size_of(segment), self.segments.get(at + 1).map(|next| next.base));
            let replicated = next.unwrap_or(self.log_end) <= self.high_watermark.offset;
            let empty_active = next.is_none() && size == 0;
            if !replicated || empty_active || !goes(segment, size, next)? {
                return Ok(at);
            }
        }
        Ok(self.segments.len())
    }

    /// The largest timestamp of a segment. If no record has one, the time when this process created or opened the active
    /// segment counts, since our `Disk` has no file times.
    fn newest_ms(&self, segment: &Segment) -> Result<i64, LogError> {
        let largest = match segment.sealed_bytes() {
            Some(_) => segment.largest()?,
            None => self.active.largest,
        };
        Ok(if largest.timestamp >= 0 { largest.timestamp } else { self.active.created_ms })
    }

    fn retire(&mut self, count: usize, now_ms: i64, retired: &mut Vec<Retired>) -> Result<(), LogError> {
        let mut count = count;
        if count == self.segments.len() {
            match self.roll_at(self.log_end, now_ms) {
                Ok(()) => {}
                // The active segment stays until removing the others has made room for a new one.
                Err(AppendError::DiskFull { .. }) => count -= 1,
                Err(AppendError::Io(e)) => return Err(e),
            }
        }
        count = self.count_that_producers_outlive(count)?;
        if count == 0 {
            return Ok(());
        }
        // The removed segments may have a producer's last batches. What is known of the producer has to be durable before
        // anything, even a checkpoint, says that they are gone.
        if self.unflushed.sync_snapshots().map_err(io_error("syncing a producer snapshot"))? {
            self.sync_folder()?;
        }
        let start = self.segments[count].base;
        if start > self.log_start {
            self.log_start = start;
            self.epochs.truncate_start(start);
            self.producers.log_start_moved(start);
        }
        // The new offset of the first epoch tells a recovery that segments below it are leftovers, and that the log has
        // no hole. If the disk is too full to write it, segments are removed one by one, each durably, so that no hole
        // can appear.
        let one_by_one = match self.epochs.stale().then(|| self.epochs.write(self.disk.as_ref())) {
            None => self.epochs.starts().first().is_none_or(|first| first.offset > self.log_start),
            Some(Ok(())) => false,
            Some(Err(e)) if is_full(&e) => true,
            Some(Err(e)) => return Err(io_error("writing the leader epochs")(e)),
        };
        if one_by_one {
            // Makes earlier renames durable. This comes before readers are told to wait, since it may fail.
            self.sync_folder()?;
        }
        self.generation += 1;
        self.publish();
        let gone = self.segments.drain(..count).collect::<Vec<_>>();
        self.publish_segments();
        self.generation += 1;
        self.publish();
        self.unflushed.retired(start);
        for segment in &gone {
            let snapshot = self.snapshots.forget(segment.base);
            retired.push(self.rename_deleted(segment, snapshot, now_ms)?);
            if one_by_one {
                self.sync_folder()?;
            }
        }
        self.snapshots
            .remove_if(|offset| offset < start)
            .map_err(io_error("removing a producer snapshot"))?;
        self.unflushed.folder_changed();
        Ok(())
    }

    /// How many of the oldest `count` segments may be removed without losing producer state at a restart: there has to be
    /// a snapshot at or above the new log start. A snapshot that did not fit on a full disk when a segment was rolled is
    /// tried again; as long as it does not fit, only the segments below an earlier snapshot are removed, which makes
    /// room.
    fn count_that_producers_outlive(&mut self, count: usize) -> Result<usize, LogError> {
        let newest = self.snapshots.newest();
        let is_outlived = |base: Offset, newest: Option<Offset>| newest.is_some_and(|newest| base <= newest);
        if count == 0 || self.producers.is_empty() || is_outlived(self.segments[count].base, newest) {
            return Ok(count);
        }
        self.snapshot(self.log_end)?;
        let newest = self.snapshots.newest();
        let bases = self.segments[..=count].iter().map(|segment| segment.base);
        Ok(bases.skip(1).take_while(|&base| is_outlived(base, newest)).count())
    }

    pub(super) fn rename_deleted(
        &self,
        segment: &Segment,
        snapshot: Option<PathBuf>,
        now_ms: i64,
    ) -> Result<Retired, LogError> {
        let mut renamed = Vec::new();
        for path in segment.paths().map(PathBuf::from).chain(snapshot) {
            let to = files::deleted(&path);
            match self.disk.rename(&path, &to) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                // The folder may need room for the longer name. If there is none, the file is removed now.
                Err(e) if is_full(&e) => {
                    self.disk.remove_file(&path).map_err(io_error("removing a deleted segment"))?;
                    continue;
                }
                outcome => outcome.map_err(io_error("renaming a deleted segment"))?,
            }
            renamed.push(to);
        }
        Ok(Retired {
            base_offset: segment.base,
            files: renamed,
            due_ms: now_ms.saturating_add(self.config.file_delete_delay_ms),
            bytes: self.size_of(segment),
            disk: self.disk.clone(),
        })
    }

    /// Rebuilds the indexes in which lookups have found damage; reads worked without them in the meantime. The index of
    /// the active segment has to wait until the segment is sealed.
    fn repair_indexes(&mut self) -> Result<(), LogError> {
        for at in 0..self.segments.len() {
            let segment = &self.segments[at];
            if let Some(size) = segment.sealed_bytes().filter(|_| segment.index_damaged()) {
                tracing::info!(segment = %segment.path.display(), "making the indexes anew");
                let rebuilt = match recovery::reindex(&self.disk, &self.dir, segment, size, &self.config) {
                    // Reads work without the index, and removing segments makes room.
                    Err(LogError::Io { source, .. }) if is_full(&source) => return Ok(()),
                    rebuilt => rebuilt?,
                };
                self.segments[at] = Arc::new(rebuilt);
                self.publish_segments();
            }
        }
        Ok(())
    }
}
