//! Reading a log while its owner works on it, from published offsets and an immutable list of segments. A reader never
//! waits for the owner, and never reads above its bound. It must never change anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use ottla_model::TopicPartition;
use ottla_protocol::{LeaderEpoch, Offset, ProducerId};

use super::epochs::{self, Starts};
use super::error::{LogError, ReadError, io};
use super::published::{Bounds, Mark, Published, Timestamped};
use super::scan::{FoundBatch, Stopped};
use super::segment::Segment;
use crate::FileRange;

/// The four offsets of a log, taken at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub log_start: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
}

/// Up to which offset a reader may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The log end: for followers, and for the log's owner.
    LogEnd,
    /// The high watermark: for read_uncommitted consumers.
    HighWatermark,
    /// The last stable offset: for read_committed consumers.
    Committed,
}

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Whole batches. The first one contains the requested offset, or, after compaction, is the first one above it.
    /// `None`: there is no batch below the bound, or the first one is larger than `max_bytes`.
    pub range: Option<FileRange>,
    /// The offset for the next read.
    pub next_offset: Offset,
    pub offsets: Offsets,
    /// The first batch is larger than `max_bytes`, and `at_least_one` was false.
    pub first_too_large: bool,
}

/// A record that was found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    pub offset: Offset,
    pub timestamp: i64,
    pub leader_epoch: LeaderEpoch,
}

/// Reads a log while its owner works on it, without ever waiting for the owner.
#[derive(Debug)]
pub struct LogReader {
    partition: TopicPartition,
    published: Published,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    epochs: Arc<ArcSwap<Starts>>,
    /// The recovery point, and the lowest offset to which the log was truncated. The cleaner asks for both.
    flushed: AtomicI64,
    lowest_cut: AtomicI64,
    /// How many copies of the log to other directories are in progress.
    copies: AtomicUsize,
}

impl LogReader {
    pub(super) fn new(
        partition: TopicPartition,
        state: &Bounds,
        segments: Vec<Arc<Segment>>,
        epochs: Arc<ArcSwap<Starts>>,
    ) -> LogReader {
        let (published, segments) = (Published::new(state), ArcSwap::from_pointee(segments));
        let (flushed, lowest_cut) = (AtomicI64::new(state.log_start), AtomicI64::new(Offset::MAX));
        let copies = AtomicUsize::new(0);
        LogReader { partition, published, segments, epochs, flushed, lowest_cut, copies }
    }

    /// Whether the log is being copied to another directory. It is not compacted in the meantime.
    pub fn is_copied(&self) -> bool {
        self.copies.load(Ordering::Acquire) > 0
    }

    pub(super) fn begin_copy(&self) {
        self.copies.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end_copy(&self) {
        self.copies.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn note_flushed(&self, recovery_point: Offset) {
        self.flushed.store(recovery_point, Ordering::Release);
    }

    pub(super) fn note_cut(&self, end: Offset) {
        self.lowest_cut.fetch_min(end, Ordering::AcqRel);
    }

    /// The lowest offset to which the log was truncated: above it, a cleaner's checkpoint is not valid any more.
    pub(super) fn lowest_cut(&self) -> Offset {
        self.lowest_cut.load(Ordering::Acquire)
    }

    /// To be called once the cleaner's checkpoint on disk takes into account that the log was truncated to `seen`.
    pub fn forget_cut(&self, seen: Offset) {
        let _ = self.lowest_cut.compare_exchange(seen, Offset::MAX, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self) -> Offset {
        self.flushed.load(Ordering::Acquire)
    }

    /// For the owner. A new list of segments has to be published before offsets that need it.
    pub(super) fn publish(&self, state: &Bounds) {
        self.published.store(state);
    }

    /// Whether the log still consists of these, among others.
    pub(super) fn has(&self, segments: &[Arc<Segment>]) -> bool {
        let now = self.segments.load();
        segments.iter().all(|segment| now.iter().any(|here| Arc::ptr_eq(here, segment)))
    }

    pub(super) fn publish_segments(&self, segments: Vec<Arc<Segment>>) {
        self.segments.store(Arc::new(segments));
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub fn offsets(&self) -> Offsets {
        self.published.load().offsets()
    }

    /// Reads whole batches, at most `max_bytes` of them, from the one that contains `from` on. With `at_least_one` the
    /// first batch is returned whatever its size. A read between the bound and the log end returns no batches; that is
    /// not an error.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Isolation,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        self.steady(|state, segments| {
            let view = View::new(state, segments, upto);
            view.check_range(from)?;
            Ok(view.read(from, max_bytes, at_least_one)?)
        })
    }

    /// Bytes of batches from the one that contains `from` up to the bound, for a Fetch's `min_bytes`. 0 if `from` is out
    /// of range, or if the bytes cannot be counted.
    pub fn bytes_available(&self, from: Offset, upto: Isolation) -> u64 {
        let counted = self.steady(|state, segments| {
            let view = View::new(state, segments, upto);
            view.check_range(from)?;
            Ok::<_, ReadError>(view.bytes_from(from)?)
        });
        counted.unwrap_or(0)
    }

    /// The first record at or after `timestamp`. The search goes down to single records (KIP-79).
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        upto: Isolation,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        self.steady(|state, segments| {
            let view = View::new(state, segments, upto);
            for segment in segments {
                if view.largest(segment)?.is_some_and(|largest| largest.timestamp >= timestamp) {
                    let found = segment.first_since(timestamp, state.log_start, view.whole_size(segment))?;
                    if found.is_some() {
                        // If the first record that qualifies is not visible, no later one is.
                        return Ok(found.filter(|found| view.shows(found.offset)));
                    }
                }
            }
            Ok(None)
        })
    }

    /// The first record with the largest timestamp (KIP-734). `None` if that record is not visible yet, as in Kafka.
    pub fn max_timestamp(&self, upto: Isolation) -> Result<Option<TimestampedOffset>, LogError> {
        self.steady(|state, segments| {
            let view = View::new(state, segments, upto);
            let mut best = None;
            for segment in segments {
                if let Some(largest) = view.largest(segment)?.filter(|largest| largest.timestamp >= 0)
                    && best.is_none_or(|(_, best): (_, Timestamped)| largest.timestamp > best.timestamp)
                {
                    best = Some((segment, largest));
                }
            }
            let Some((segment, largest)) = best else { return Ok(None) };
            let found = segment.record_of(largest, view.whole_size(segment))?;
            Ok(found.filter(|found| view.shows(found.offset)))
        })
    }

    /// The smallest epoch that is known of. Where the log's start was not remembered, its first records may be of an earlier
    /// one.
    pub fn smallest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.load().first().map(|start| start.epoch)
    }

    /// The epoch of the record at the log start. `None`: it is not known.
    pub fn earliest_epoch(&self) -> Option<LeaderEpoch> {
        let log_start = self.offsets().log_start;
        self.epochs.load().first().filter(|start| start.offset <= log_start).map(|start| start.epoch)
    }

    /// The largest epoch not above `epoch` and where it ends, as OffsetForLeaderEpoch answers (KIP-101, KIP-279). `(NONE,
    /// -1)`: unknown.
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let log_end = self.offsets().log_end;
        epochs::end_offset(&self.epochs.load(), epoch, log_end)
    }

    /// As `epoch_end_offset`, for a leader in epoch `current`, which begins at the log end until something is appended in
    /// it.
    pub fn epoch_end_under(&self, current: LeaderEpoch, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let log_end = self.offsets().log_end;
        epochs::end_offset_under(&self.epochs.load(), current, epoch, log_end)
    }

    /// The aborted transactions that have offsets from `from` on and below `to`: producer and first offset, in the order
    /// of their markers.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<(ProducerId, Offset)>, LogError> {
        self.steady(|_, segments| {
            let mut aborted = Vec::new();
            for segment in &segments[floor(segments, from)..] {
                let done = segment.txn_index.collect(from, to, &mut aborted);
                if done.map_err(io("reading a transaction index"))? {
                    break;
                }
            }
            Ok(aborted.iter().map(|txn| (ProducerId(txn.producer_id), txn.first_offset)).collect())
        })
    }

    /// Asks again if data was removed during `ask`: an answer from such a moment may be wrong.
    pub(super) fn steady<T, E>(
        &self,
        ask: impl Fn(&Bounds, &[Arc<Segment>]) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            // The offsets are loaded first: a segment list that is loaded later contains every segment that they need.
            let state = self.published.load();
            let segments = self.segments.load_full();
            let answer = ask(&state, &segments);
            let now = self.published.load().generation;
            let cutting = !now.is_multiple_of(2) && answer.is_err();
            if now == state.generation && !cutting {
                return answer;
            }
            std::thread::yield_now();
        }
    }
}

/// The log as one read sees it.
struct View<'a> {
    state: &'a Bounds,
    segments: &'a [Arc<Segment>],
    bound: Mark,
}

impl View<'_> {
    fn new<'a>(state: &'a Bounds, segments: &'a [Arc<Segment>], upto: Isolation) -> View<'a> {
        let bound = match upto {
            Isolation::LogEnd => Mark { offset: state.log_end.offset, position: state.log_end },
            Isolation::HighWatermark => state.high_watermark,
            Isolation::Committed => state.last_stable,
        };
        View { state, segments, bound }
    }

    fn check_range(&self, from: Offset) -> Result<(), ReadError> {
        let offsets = self.state.offsets();
        match (offsets.log_start..=offsets.log_end).contains(&from) {
            true => Ok(()),
            false => Err(ReadError::OutOfRange(offsets)),
        }
    }

    /// Whether the batch that contains this record is wholly below the bound.
    fn shows(&self, offset: Offset) -> bool {
        offset < self.bound.offset && offset < self.bound.position.offset
    }

    /// How many bytes of a segment are below the bound.
    fn visible(&self, segment: &Segment) -> u64 {
        match segment.base.cmp(&self.bound.position.base) {
            std::cmp::Ordering::Less => self.whole_size(segment),
            std::cmp::Ordering::Equal => self.bound.position.at,
            std::cmp::Ordering::Greater => 0,
        }
    }

    /// How many bytes of a segment are below the log end.
    fn whole_size(&self, segment: &Segment) -> u64 {
        match segment.base.cmp(&self.state.log_end.base) {
            std::cmp::Ordering::Less => segment.sealed_bytes().unwrap_or(0),
            std::cmp::Ordering::Equal => self.state.log_end.at,
            std::cmp::Ordering::Greater => 0,
        }
    }

    /// The first visible batch whose last offset is at or above `from`.
    fn locate(&self, from: Offset) -> Result<Option<(&Arc<Segment>, FoundBatch)>, LogError> {
        if from >= self.bound.offset {
            return Ok(None);
        }
        for segment in &self.segments[floor(self.segments, from)..] {
            let visible = self.visible(segment);
            if visible > 0
                && let Some(found) = segment.locate(from, visible)?
            {
                return Ok(Some((segment, found)));
            }
        }
        Ok(None)
    }

    fn read(&self, from: Offset, max_bytes: usize, at_least_one: bool) -> Result<Slice, LogError> {
        let offsets = self.state.offsets();
        let nothing = Slice { range: None, next_offset: from, offsets, first_too_large: false };
        let Some((segment, first)) = self.locate(from)? else { return Ok(nothing) };
        let visible = self.visible(segment);
        let limit = first.position.saturating_add(max_bytes as u64);
        let (end, next_offset) = if limit >= visible {
            (visible, self.offset_behind(segment))
        } else if first.end() > limit {
            if !at_least_one {
                return Ok(Slice { first_too_large: true, ..nothing });
            }
            (first.end(), first.header.next_offset())
        } else {
            segment.boundary(&first, limit, visible)?
        };
        let (file, position) = (segment.log.clone(), first.position);
        if next_offset <= from {
            // Damage in a trusted part of the log. A reader that went on from that offset would read the same batch for
            // ever.
            let what = "offsets that do not rise".to_owned();
            return Err(segment.corrupt(from, Stopped::Invalid { position, what }));
        }
        // Segments are below 2 GiB.
        let range = FileRange { file, position, len: (end - position) as usize };
        Ok(Slice { range: Some(range), next_offset, offsets, first_too_large: false })
    }

    /// The offset at which a reader goes on after it has read all visible bytes of a segment.
    fn offset_behind(&self, segment: &Segment) -> Offset {
        let bound = self.bound.offset.min(self.bound.position.offset);
        let next = self.segments.iter().find(|next| next.base > segment.base);
        match next.filter(|_| segment.base < self.bound.position.base) {
            Some(next) => next.base.min(bound),
            None => bound,
        }
    }

    fn bytes_from(&self, from: Offset) -> Result<u64, LogError> {
        let Some((segment, first)) = self.locate(from)? else { return Ok(0) };
        let behind = self.segments.iter().filter(|next| next.base > segment.base);
        Ok(self.visible(segment) - first.position + behind.map(|next| self.visible(next)).sum::<u64>())
    }

    /// The largest timestamp of a segment, whether it is visible or not.
    fn largest(&self, segment: &Segment) -> Result<Option<Timestamped>, LogError> {
        match segment.base.cmp(&self.state.log_end.base) {
            std::cmp::Ordering::Less => segment.largest().map(Some),
            std::cmp::Ordering::Equal => Ok(Some(self.state.largest)),
            std::cmp::Ordering::Greater => Ok(None),
        }
    }
}

/// The segment in which to start looking for `offset`.
fn floor(segments: &[Arc<Segment>], offset: Offset) -> usize {
    segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
}
