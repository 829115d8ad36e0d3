//! One partition's log: segments, indexes, producer state and leader epochs behind one owner, and the readers
//! beside it. It must never know why something is appended, who leads, or what time it is.

mod error;

pub use error::{AppendError, LogError, ReadError, Refused};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::config::TopicConfig;
use ottla_model::{TopicId, TopicPartition};
use ottla_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use uuid::Uuid;

use crate::{CheckedBatch, Disk, FileRange};

/// What [`Log::open`] needs to know. Times are ms since 1970.
#[derive(Clone, Debug)]
pub struct Opening {
    pub disk: Arc<dyn Disk>,
    /// The partition's own folder, created if absent.
    pub dir: PathBuf,
    pub partition: TopicPartition,
    /// Written to `partition.metadata`, or compared with what is there. None: taken from there.
    pub topic_id: Option<TopicId>,
    pub config: Arc<TopicConfig>,
    /// The log directory's clean-shutdown marker was there: nothing is scanned.
    pub clean_shutdown: bool,
    /// From the checkpoint files; 0 where they say nothing.
    pub recovery_point: Offset,
    pub log_start: Offset,
    pub now_ms: i64,
    pub producer_id_expiration_ms: i64,
    /// Draws this log's `segment.jitter.ms`.
    pub jitter_seed: u64,
}

/// What opening had to repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes read again because they were past the recovery point.
    pub scanned_bytes: u64,
    /// Bytes cut off behind the last valid batch, dropped segments not counted.
    pub truncated_bytes: u64,
    /// Where the log ends now, if something was cut off or dropped.
    pub truncated_to: Option<Offset>,
    /// Base offsets of the segments behind the first invalid batch.
    pub dropped_segments: Vec<Offset>,
    /// Base offsets of the segments whose indexes were made anew.
    pub rebuilt_indexes: Vec<Offset>,
}

/// One appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// -1 unless the topic's timestamps are append times.
    pub log_append_time_ms: i64,
    /// The producer had sent it before: these are the offsets of then, nothing was written.
    pub duplicate: bool,
}

/// What a follower took over from its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// None: the response held no whole batch that is new.
    pub offsets: Option<(Offset, Offset)>,
    pub bytes: usize,
}

/// The four offsets of a log, taken at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub log_start: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
}

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Followers, and the log's owner.
    LogEnd,
    /// read_uncommitted consumers.
    HighWatermark,
    /// read_committed consumers: up to the last stable offset.
    Committed,
}

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Whole batches, the first one holds the offset asked for (or is the first behind it, after compaction).
    /// None: nothing there yet, or the first batch is larger than allowed.
    pub range: Option<FileRange>,
    /// Where the next read goes on.
    pub next_offset: Offset,
    pub offsets: Offsets,
    /// There is a batch, but it is larger than `max_bytes` (and `at_least_one` was not asked for).
    pub first_too_large: bool,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    pub offset: Offset,
    pub timestamp: i64,
    pub leader_epoch: LeaderEpoch,
}

/// Files renamed to `.deleted`, to be removed after `file.delete.delay.ms`.
#[derive(Debug)]
#[must_use = "the files stay on disk until run() removes them, or the log is opened again"]
pub struct Retired {
    pub files: Vec<PathBuf>,
    pub due_ms: i64,
    pub bytes: u64,
    disk: Arc<dyn Disk>,
}

impl Retired {
    pub fn run(self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| self.disk.remove_file(file))
    }
}

/// A group of syncs on its way to another thread.
#[derive(Debug)]
#[must_use = "nothing is durable before run() has returned Ok and flush_end was told"]
pub struct FlushTicket {
    /// What [`Log::flush_end`] is to be called with after `run`.
    pub up_to: Offset,
}

impl FlushTicket {
    /// Syncs. After an error the log is offline for good, whether its owner is told or not.
    pub fn run(self) -> io::Result<()> {
        Ok(())
    }
}

/// One partition's log. One owner at a time; everybody else reads through [`Log::reader`].
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    reader: Arc<LogReader>,
}

impl Log {
    pub fn open(opening: Opening) -> Result<(Log, Recovery), LogError> {
        Err(LogError::Offline { dir: opening.dir })
    }

    /// Appends as leader: offsets are given here. One refused batch does not refuse the others; an error means that
    /// none of them was appended.
    pub fn append(
        &mut self,
        batches: &[CheckedBatch],
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Vec<Result<Appended, Refused>>, AppendError> {
        let _ = (batches, leader_epoch, now_ms);
        Err(LogError::Offline { dir: self.dir.clone() }.into())
    }

    /// Appends what the leader sent, offsets and epochs as they are. A batch cut off at the end is left out, and so
    /// is everything from a batch whose epoch is above `leader_epoch` on (KAFKA-18723).
    pub fn append_as_follower(
        &mut self,
        records: Bytes,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Result<Followed, Refused>, AppendError> {
        let _ = (records, leader_epoch, now_ms);
        Err(LogError::Offline { dir: self.dir.clone() }.into())
    }

    pub fn reader(&self) -> Arc<LogReader> {
        self.reader.clone()
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.reader.partition
    }

    pub fn topic_id(&self) -> Option<TopicId> {
        None
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn offsets(&self) -> Offsets {
        self.reader.offsets()
    }

    pub fn log_start_offset(&self) -> Offset {
        0
    }

    pub fn log_end_offset(&self) -> Offset {
        0
    }

    pub fn high_watermark(&self) -> Offset {
        0
    }

    pub fn last_stable_offset(&self) -> Offset {
        0
    }

    pub fn recovery_point(&self) -> Offset {
        0
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        0
    }

    pub fn segment_count(&self) -> usize {
        0
    }

    /// The epoch of the newest batch or assignment.
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        None
    }

    /// Clamped between log start and log end, and never backwards. Publishes the last stable offset with it.
    pub fn advance_high_watermark(&mut self, to: Offset) {
        let _ = to;
    }

    /// On disk when this returns, before the first write of that epoch (KAFKA-7415).
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<(), LogError> {
        let _ = (epoch, start);
        Ok(())
    }

    /// The largest epoch not above `epoch` and where it ends, as OffsetForLeaderEpoch answers (KIP-101, KIP-279);
    /// `(NONE, -1)` where that is unknown.
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        (epoch, -1)
    }

    pub fn flush_begin(&mut self) -> Result<FlushTicket, LogError> {
        Err(LogError::Offline { dir: self.dir.clone() })
    }

    /// Moves the recovery point, after the ticket's `run` has succeeded.
    pub fn flush_end(&mut self, up_to: Offset) {
        let _ = up_to;
    }

    pub fn unflushed_messages(&self) -> i64 {
        0
    }

    /// When the last flush ended, as far as this log was told the time.
    pub fn last_flush_ms(&self) -> i64 {
        0
    }

    /// Whether `flush.messages`, `flush.ms` or a rolled segment asks for a flush.
    pub fn flush_due(&self, now_ms: i64) -> bool {
        let _ = now_ms;
        false
    }

    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.reader.config
    }

    pub fn set_config(&mut self, config: Arc<TopicConfig>) {
        let _ = config;
    }

    /// Cuts the log so that it ends at or before `offset`; the high watermark and the recovery point come down with it.
    /// The recovery-point checkpoint must be written before the next append. Whether anything was cut.
    pub fn truncate_to(&mut self, offset: Offset, now_ms: i64) -> Result<bool, LogError> {
        let _ = (offset, now_ms);
        Ok(false)
    }

    /// Drops everything and starts again at `new_start` (KAFKA-9491: the high watermark too).
    pub fn truncate_fully(&mut self, new_start: Offset, now_ms: i64) -> Result<(), LogError> {
        let _ = (new_start, now_ms);
        Ok(())
    }

    pub fn delete_old_segments(&mut self, now_ms: i64) -> Result<Vec<Retired>, LogError> {
        let _ = now_ms;
        Ok(Vec::new())
    }

    /// Refused (OFFSET_OUT_OF_RANGE) above the high watermark. Segments go with the next `delete_old_segments`.
    pub fn advance_log_start(&mut self, to: Offset) -> Result<bool, Refused> {
        let _ = to;
        Ok(false)
    }

    /// Starts a new segment if the active one is past `segment.ms` without an append to notice it.
    pub fn roll_if_due(&mut self, now_ms: i64) -> Result<bool, LogError> {
        let _ = now_ms;
        Ok(false)
    }

    pub fn expire_producers(&mut self, now_ms: i64) {
        let _ = now_ms;
    }

    /// Syncs everything, index entries and producer state included; the recovery point is the log end.
    pub fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    /// Renames the folder to `<topic>-<partition>.<unique>-delete` and returns its new path; removing it is the
    /// caller's, after `file.delete.delay.ms`.
    pub fn delete(self, unique: Uuid) -> Result<PathBuf, LogError> {
        let _ = unique;
        Ok(self.dir)
    }
}

/// Reads a log beside its owner, and never waits for it.
#[derive(Debug)]
pub struct LogReader {
    partition: TopicPartition,
    config: Arc<TopicConfig>,
}

impl LogReader {
    pub fn offsets(&self) -> Offsets {
        Offsets::default()
    }

    /// At most `max_bytes` of whole batches from the one that holds `from` on; with `at_least_one` that one comes
    /// whatever its size. Between the bound and the log end there is nothing, which is not an error.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Isolation,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        let _ = (from, max_bytes, upto, at_least_one);
        Err(ReadError::OutOfRange(self.offsets()))
    }

    /// Bytes of batches from the one that holds `from` up to the bound; 0 for any offset that has none.
    pub fn bytes_available(&self, from: Offset, upto: Isolation) -> u64 {
        let _ = (from, upto);
        0
    }

    /// The first record at or after `timestamp`, which is looked for record by record (KIP-79).
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        upto: Isolation,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        let _ = (timestamp, upto);
        Ok(None)
    }

    /// The first record with the largest timestamp (KIP-734).
    pub fn max_timestamp(&self, upto: Isolation) -> Result<Option<TimestampedOffset>, LogError> {
        let _ = upto;
        Ok(None)
    }

    /// The epoch of the record at the log start, if known.
    pub fn earliest_epoch(&self) -> Option<LeaderEpoch> {
        None
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        None
    }

    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        (epoch, -1)
    }

    /// The aborted transactions that touch offsets from `from` up to, not including, `to`: producer and first offset.
    pub fn aborted_transactions(&self, from: Offset, to: Offset) -> Result<Vec<(ProducerId, Offset)>, LogError> {
        let _ = (from, to);
        Ok(Vec::new())
    }
}

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    pub current_transaction_start: Option<Offset>,
}
