//! Reading a log beside its owner, from published offsets and an immutable list of segments. A reader never waits for
//! the owner and never looks past its bound. It must never change anything.

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
    /// There is a batch, but it is larger than `max_bytes`, and `at_least_one` was not asked for.
    pub first_too_large: bool,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    pub offset: Offset,
    pub timestamp: i64,
    pub leader_epoch: LeaderEpoch,
}

/// Reads a log beside its owner, and never waits for it.
#[derive(Debug)]
pub struct LogReader {
    partition: TopicPartition,
    published: Published,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    epochs: Arc<ArcSwap<Starts>>,
    /// The recovery point, and the lowest end that the log was cut to: what a cleaner asks for.
    flushed: AtomicI64,
    lowest_cut: AtomicI64,
    /// How many copies of the log are being made.
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

    /// Whether the log is being copied to another directory: until that ends, it is not compacted.
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

    /// What a cleaner's checkpoint says above it is not so any more.
    pub(super) fn lowest_cut(&self) -> Offset {
        self.lowest_cut.load(Ordering::Acquire)
    }

    /// The cleaner's checkpoint is on disk and takes into account that the log was cut to `seen`.
    pub fn forget_cut(&self, seen: Offset) {
        let _ = self.lowest_cut.compare_exchange(seen, Offset::MAX, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self) -> Offset {
        self.flushed.load(Ordering::Acquire)
    }

    /// For the owner. A new list of segments is to be published before offsets that need it.
    pub(super) fn publish(&self, state: &Bounds) {
        self.published.store(state);
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

    /// At most `max_bytes` of whole batches from the one that holds `from` on; with `at_least_one` that one comes
    /// whatever its size. Between the bound and the log end there is nothing, which is not an error.
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

    /// Bytes of batches from the one that holds `from` up to the bound, for a fetch's `min_bytes`; 0 for an offset
    /// that has none, and where they cannot be counted.
    pub fn bytes_available(&self, from: Offset, upto: Isolation) -> u64 {
        let counted = self.steady(|state, segments| {
            let view = View::new(state, segments, upto);
            view.check_range(from)?;
            Ok::<_, ReadError>(view.bytes_from(from)?)
        });
        counted.unwrap_or(0)
    }

    /// The first record at or after `timestamp`, which is looked for record by record (KIP-79).
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
                        // The first of all: if it is not visible, none is.
                        return Ok(found.filter(|found| view.shows(found.offset)));
                    }
                }
            }
            Ok(None)
        })
    }

    /// The first record with the largest timestamp (KIP-734). None where that is not visible yet, as in Kafka.
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

    /// The epoch of the record at the log start, if known.
    pub fn earliest_epoch(&self) -> Option<LeaderEpoch> {
        let log_start = self.offsets().log_start;
        self.epochs.load().first().filter(|start| start.offset <= log_start).map(|start| start.epoch)
    }

    /// The largest epoch not above `epoch` and where it ends, as OffsetForLeaderEpoch answers (KIP-101, KIP-279);
    /// `(NONE, -1)` where that is unknown.
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let log_end = self.offsets().log_end;
        epochs::end_offset(&self.epochs.load(), epoch, log_end)
    }

    /// The same for a leader under `current`, which begins at the log end until it has appended something.
    pub fn epoch_end_under(&self, current: LeaderEpoch, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let log_end = self.offsets().log_end;
        epochs::end_offset_under(&self.epochs.load(), current, epoch, log_end)
    }

    /// The aborted transactions that touch offsets from `from` up to, not including, `to`: producer and first offset,
    /// in the order of their markers.
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

    /// Asks again if what was read may have been taken away meanwhile: whatever the answer was, it is not one.
    pub(super) fn steady<T, E>(
        &self,
        ask: impl Fn(&Bounds, &[Arc<Segment>]) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            // Offsets first: a list that is newer than they are holds all that they speak of.
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

/// What one reader sees at one moment.
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

    /// Whether the batch of a record that was found is below the bound, as a whole.
    fn shows(&self, offset: Offset) -> bool {
        offset < self.bound.offset && offset < self.bound.position.offset
    }

    /// Bytes of a segment that the bound lets through.
    fn visible(&self, segment: &Segment) -> u64 {
        match segment.base.cmp(&self.bound.position.base) {
            std::cmp::Ordering::Less => self.whole_size(segment),
            std::cmp::Ordering::Equal => self.bound.position.at,
            std::cmp::Ordering::Greater => 0,
        }
    }

    /// Bytes of a segment up to the log end.
    fn whole_size(&self, segment: &Segment) -> u64 {
        match segment.base.cmp(&self.state.log_end.base) {
            std::cmp::Ordering::Less => segment.sealed_bytes().unwrap_or(0),
            std::cmp::Ordering::Equal => self.state.log_end.at,
            std::cmp::Ordering::Greater => 0,
        }
    }

    /// The first batch that is visible and ends at or above `from`.
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
            // Damage in what is believed: whoever goes on from there would never come to an end.
            let what = "offsets that do not rise".to_owned();
            return Err(segment.corrupt(from, Stopped::Invalid { position, what }));
        }
        // Segments are below 2 GiB.
        let range = FileRange { file, position, len: (end - position) as usize };
        Ok(Slice { range: Some(range), next_offset, offsets, first_too_large: false })
    }

    /// Where a reader goes on that has read all it may see of a segment.
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

    /// The largest timestamp of a segment, visible or not.
    fn largest(&self, segment: &Segment) -> Result<Option<Timestamped>, LogError> {
        match segment.base.cmp(&self.state.log_end.base) {
            std::cmp::Ordering::Less => segment.largest().map(Some),
            std::cmp::Ordering::Equal => Ok(Some(self.state.largest)),
            std::cmp::Ordering::Greater => Ok(None),
        }
    }
}

/// Where to start looking for `offset`.
fn floor(segments: &[Arc<Segment>], offset: Offset) -> usize {
    segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
}
