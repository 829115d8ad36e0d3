//! One partition's log: segments, indexes, producer state and leader epochs with one owner, and any number of readers. It
//! must never know why something is appended, who leads, or what time it is.
//!
//! A batch travels `append` (offsets, rules, one write) -> `active` (index entries) -> `published` (offsets for
//! readers) -> `reader`. What is on disk is found again by `open`, and by `recovery` where it may be damaged.

mod active;
mod append;
mod cleaning;
mod entries;
mod epochs;
mod error;
pub(crate) mod files;
mod flush;
mod follow;
mod index;
mod inventory;
mod leftovers;
mod loading;
mod lowered;
mod marker;
mod open;
pub(crate) mod partition_metadata;
mod producers;
mod published;
mod reader;
mod recovery;
mod relocation;
mod retention;
mod roll;
pub(crate) mod scan;
mod segment;
mod snapshot;
#[cfg(test)]
mod tests;
mod truncate;
mod txn_index;
mod verification;

pub use append::Appended;
pub use cleaning::{Cleaned, Cleaning, Dirt, NotSwapped, OffsetMap, Step, Swap};
pub use error::{AppendError, LogError, ReadError, Refused};
pub use flush::{FlushTicket, WriteOut};
pub use follow::Followed;
pub use open::{Opening, Recovery};
pub use reader::{Isolation, LogReader, Offsets, Slice, TimestampedOffset};
pub use relocation::{GoLive, NotMoved, Relocation, Settled, extent};
pub use retention::Retired;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_model::config::TopicConfig;
use ottla_model::{FolderSuffix, PartitionFolder, TopicId, TopicPartition, VerificationGuard};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use uuid::Uuid;

use crate::Disk;
use crate::dirs::Checkpoint;
use crate::disk::is_full;
use active::Active;
use epochs::{EpochStart, Epochs};
use error::io;
use flush::Unflushed;
use lowered::Lowered;
use producers::Producers;
use published::{Bounds, Mark, Position};
use segment::Segment;
use snapshot::Snapshots;

/// One partition's log. One owner at a time; everybody else reads through [`Log::reader`].
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    topic_id: Option<TopicId>,
    config: Arc<TopicConfig>,
    jitter_seed: u64,
    /// Sorted by base offset, never empty; the last one is the active segment.
    segments: Vec<Arc<Segment>>,
    active: Active,
    log_start: Offset,
    log_end: Offset,
    recovery_point: Offset,
    high_watermark: Mark,
    /// Where the newest batches start: with this the high watermark moves without a lookup.
    boundaries: VecDeque<Position>,
    /// The first transaction that is open or whose end is not replicated, once its position in the file is known.
    unstable: Option<Mark>,
    producers: Producers,
    snapshots: Snapshots,
    epochs: Epochs,
    unflushed: Unflushed,
    lowered: Lowered,
    generation: u64,
    /// The latest time that a caller has given.
    told_ms: i64,
    offline: Arc<AtomicBool>,
    reader: Arc<LogReader>,
}

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// -1 if none of its batches is known.
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    pub current_transaction_start: Option<Offset>,
}

impl Log {
    /// Creates the folder if it does not exist. What an interrupted process left unfinished is finished or removed first.
    pub fn open(opening: Opening) -> Result<(Log, Recovery), LogError> {
        open::open(opening)
    }

    pub fn reader(&self) -> Arc<LogReader> {
        self.reader.clone()
    }

    pub fn partition(&self) -> &TopicPartition {
        self.reader.partition()
    }

    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    /// Applies to what happens from now on: the active segment, for example, is not changed.
    pub fn set_config(&mut self, config: Arc<TopicConfig>) {
        self.config = config;
    }

    pub fn offsets(&self) -> Offsets {
        self.state().offsets()
    }

    pub fn log_start_offset(&self) -> Offset {
        self.log_start
    }

    pub fn log_end_offset(&self) -> Offset {
        self.log_end
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.offset
    }

    pub fn last_stable_offset(&self) -> Offset {
        self.state().last_stable.offset
    }

    /// Everything below is durable. May be below the log start, but never above the log end (KAFKA-10101).
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// What a checkpoint file is to say of this log. `None`: that is not for its owner to know.
    pub fn checkpoint(&self, which: Checkpoint) -> Option<Offset> {
        match which {
            Checkpoint::RecoveryPoint => Some(self.recovery_point),
            Checkpoint::LogStart => Some(self.log_start),
            Checkpoint::HighWatermark => Some(self.high_watermark.offset),
            Checkpoint::Cleaner => None,
        }
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| self.size_of(segment)).sum()
    }

    #[cfg(test)]
    fn segment_count(&self) -> usize {
        self.segments.len()
    }

    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    /// The epoch of the newest batch, or a newer one that was assigned.
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest().map(|latest| latest.epoch)
    }

    /// The epoch is durable when this returns, before the first write of that epoch (KAFKA-7415).
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<(), LogError> {
        self.check_online()?;
        let before = self.epochs.starts();
        if self.epochs.assign(EpochStart { epoch, offset: start })
            && let Err(error) = self.write_epochs()
        {
            // The epoch is not entered: the next attempt must write it again before it appends.
            self.epochs.restore(&before);
            return Err(error);
        }
        Ok(())
    }

    fn write_epochs(&mut self) -> Result<(), LogError> {
        let written = self.epochs.write(self.disk.as_ref());
        if written.as_ref().is_err_and(|e| !is_full(e)) {
            self.go_offline();
        }
        written.map_err(io("writing the leader epochs"))
    }

    /// See [`LogReader::epoch_end_offset`].
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.reader.epoch_end_offset(epoch)
    }

    /// Clamped between log start and log end, and never lowered. Also publishes the last stable offset.
    pub fn advance_high_watermark(&mut self, to: Offset) {
        let to = to.clamp(self.log_start, self.log_end);
        if to <= self.high_watermark.offset {
            return;
        }
        match self.boundary(to) {
            Ok(position) => self.high_watermark = Mark { offset: to, position },
            Err(e) => {
                // Readers go on with the old high watermark.
                tracing::error!(log = %self.dir.display(), "looking up high watermark {to}: {e}");
                return self.go_offline();
            }
        }
        self.producers.replicated(to);
        self.publish();
    }

    /// To be called before a transaction's first batch is verified with its coordinator (KIP-890). `None`: no
    /// verification is needed, since the transaction is already open here.
    pub fn start_verification(
        &mut self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>, Refused> {
        if let Some(last) = self.producers.epoch(producer_id.0).filter(|&last| epoch.0 < last) {
            let message = format!("Epoch {epoch} of producer {producer_id} is below its last one, {last}");
            return Err(Refused::new(ErrorCode::InvalidProducerEpoch, message));
        }
        if self.producers.has_open_txn(producer_id.0, epoch.0) {
            return Ok(None);
        }
        let verifications = &mut self.producers.verifications;
        Ok(Some(verifications.start(producer_id.0, epoch.0, base_sequence, supports_epoch_bump, now_ms)))
    }

    /// `transaction.partition.verification.enable`: if it is true, the first batch of a transaction needs a guard from
    /// now on.
    pub fn require_verification(&mut self, required: bool) {
        self.producers.verifications.required = required;
    }

    /// The active producers, sorted by id.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.producers.active()
    }

    /// To be called when `producer.id.expiration.ms` has changed.
    pub fn set_producer_id_expiration_ms(&mut self, expiration_ms: i64) {
        self.producers.expire_after(expiration_ms);
    }

    pub fn expire_producers(&mut self, now_ms: i64) {
        self.told(now_ms);
        self.producers.expire(now_ms);
    }

    /// Starts a new segment if the active one is older than `segment.ms` by the clock. Without this, a segment that gets
    /// no more batches would never be closed.
    pub fn roll_if_due(&mut self, now_ms: i64) -> Result<bool, AppendError> {
        self.check_online()?;
        self.told(now_ms);
        let due = self.active.fill().overdue(now_ms, &self.config);
        if due {
            self.roll_at(self.log_end, now_ms)?;
        }
        Ok(due)
    }

    /// Syncs everything, with index entries and producer state, so that the next opening reads next to nothing.
    /// Afterwards the recovery point is the log end.
    pub fn close(&mut self) -> Result<(), LogError> {
        self.check_online()?;
        let closed = self.try_close();
        if closed.is_err() {
            self.go_offline();
        }
        closed
    }

    fn try_close(&mut self) -> Result<(), LogError> {
        self.active.push_time();
        self.active.write_indexes().map_err(io("writing an index"))?;
        self.snapshot(self.log_end)?;
        if self.epochs.stale() {
            self.epochs.write(self.disk.as_ref()).map_err(io("writing the leader epochs"))?;
        }
        self.active.segment.sync_indexes()?;
        let ticket = self.flush_begin()?;
        let up_to = ticket.up_to;
        ticket.run().map_err(io("syncing a log"))?;
        self.flush_end(up_to);
        Ok(())
    }

    /// Renames the folder to `<topic>-<partition>.<unique>-delete` and returns its new path. The caller removes it after
    /// `file.delete.delay.ms`. Readers may go on with what they have.
    pub fn delete(self, unique: Uuid) -> Result<PathBuf, LogError> {
        self.go_offline();
        let name = PartitionFolder::marked(self.reader.partition(), FolderSuffix::Delete, unique);
        let to = self.dir.with_file_name(name);
        self.disk.rename(&self.dir, &to).map_err(io("renaming a deleted partition"))?;
        let parent = self.dir.parent().unwrap_or(Path::new(""));
        self.disk.sync_dir(parent).map_err(io("renaming a deleted partition"))?;
        Ok(to)
    }

    fn size_of(&self, segment: &Segment) -> u64 {
        segment.sealed_bytes().unwrap_or(self.active.size)
    }

    fn check_online(&self) -> Result<(), LogError> {
        match self.is_offline() {
            false => Ok(()),
            true => Err(LogError::Offline { dir: self.dir.clone() }),
        }
    }

    /// Refuses all appends until the log has been opened again.
    fn go_offline(&self) {
        self.offline.store(true, Ordering::Release);
    }

    fn told(&mut self, now_ms: i64) {
        self.told_ms = self.told_ms.max(now_ms);
    }

    fn sync_folder(&mut self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.dir).map_err(io("syncing a partition's folder"))?;
        if self.unflushed.parent_pending()
            && let Some(parent) = self.dir.parent()
        {
            self.disk.sync_dir(parent).map_err(io("syncing a log directory"))?;
        }
        self.unflushed.folder_synced();
        Ok(())
    }

    fn state(&self) -> Bounds {
        let hw = self.high_watermark;
        Bounds {
            log_start: self.log_start,
            last_stable: self.unstable.filter(|unstable| unstable.offset < hw.offset).unwrap_or(hw),
            high_watermark: hw,
            log_end: self.active.end(self.log_end),
            largest: self.active.largest,
            generation: self.generation,
        }
    }

    /// Publishes the current offsets to readers.
    fn publish(&mut self) {
        self.place_unstable();
        self.reader.publish(&self.state());
    }

    fn publish_segments(&self) {
        self.reader.publish_segments(self.segments.clone());
    }

    /// Finds the position of the first unstable transaction. It is known if the transaction began since the log was
    /// opened; otherwise it is looked up once.
    fn place_unstable(&mut self) {
        let Some(first) = self.producers.first_unstable() else {
            self.unstable = None;
            return;
        };
        let offset = first.offset.max(self.log_start);
        if self.unstable.is_some_and(|unstable| unstable.offset == offset) {
            return;
        }
        let known = first.base >= 0 && first.offset == offset;
        let position = match if known { Ok(first) } else { self.position_of(offset) } {
            Ok(position) => position,
            Err(e) => {
                tracing::error!(log = %self.dir.display(), "looking up offset {offset}: {e}");
                self.go_offline();
                // A last stable offset that is too low is safe; one that is too high is not.
                Position { offset: self.log_start, base: self.segments[0].base, at: 0 }
            }
        };
        self.unstable = Some(Mark { offset, position });
    }

    /// Remembers that a batch of the active segment starts here.
    fn remember_boundary(&mut self, position: Position) {
        if self.boundaries.len() == BOUNDARIES_MAX {
            self.boundaries.clear();
        }
        self.boundaries.push_back(position);
    }

    /// Where the batch starts that contains `offset`. The offset is above the high watermark and not below that of an
    /// earlier call.
    fn boundary(&mut self, offset: Offset) -> Result<Position, LogError> {
        if offset == self.log_end {
            self.boundaries.clear();
            return Ok(self.active.end(offset));
        }
        let mut last = None;
        while self.boundaries.front().is_some_and(|front| front.offset <= offset) {
            last = self.boundaries.pop_front();
        }
        match last {
            Some(position) => {
                // Kept: a later call may ask for the same offset, or for another one inside the same batch.
                self.boundaries.push_front(position);
                Ok(position)
            }
            None => self.position_of(offset),
        }
    }

    /// Where the first batch starts whose last offset is at or above `offset`.
    fn position_of(&self, offset: Offset) -> Result<Position, LogError> {
        if offset >= self.log_end {
            return Ok(self.active.end(self.log_end));
        }
        let at = self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1);
        for segment in &self.segments[at..] {
            if let Some(found) = segment.locate(offset, self.size_of(segment))? {
                return Ok(Position {
                    offset: found.header.base_offset,
                    base: segment.base,
                    at: found.position,
                });
            }
        }
        Ok(self.active.end(self.log_end))
    }
}

const BOUNDARIES_MAX: usize = 1024;
