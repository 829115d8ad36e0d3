//! What a cleaning knows from its beginning on: the log as it was then. It must never read a record.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ottla_model::config::TopicConfig;
use ottla_protocol::Offset;
use ottla_protocol::batch::BatchHeader;

use super::transactions::Transactions;
use crate::Disk;
use crate::log::LogReader;
use crate::log::error::{LogError, io};
use crate::log::segment::Segment;

/// What does not change during a cleaning.
#[derive(Debug)]
pub(super) struct Job {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub config: Arc<TopicConfig>,
    /// All segments of the log when the cleaning began, the active one included.
    pub segments: Vec<Arc<Segment>>,
    pub first_dirty: Offset,
    /// How many of the segments are cleaned, from the first one on; the next segment starts at `end`.
    pub count: usize,
    pub end: Offset,
    pub producers: HashMap<i64, LastRecord>,
    pub now_ms: i64,
    pub offline: Arc<AtomicBool>,
    pub reader: Arc<LogReader>,
    pub lowest_cut: Offset,
}

/// What compaction must keep of an active producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastRecord {
    /// Offset of the producer's last batch. `None`: that batch was a marker.
    pub data_offset: Option<Offset>,
    pub epoch: i16,
    /// It is not flushed: after a loss of power the producer goes on from the last batch that was.
    pub may_be_lost: bool,
}

impl Job {
    /// The base offset of the segment at `at`. After the last segment: where the next one would start.
    pub fn base_of(&self, at: usize) -> Offset {
        if at >= self.count { self.end } else { self.segments[at].base }
    }

    /// Checks the offsets of the next batch, which no checksum covers.
    pub fn check_place(&self, at: usize, next: Offset, header: &BatchHeader) -> Result<(), String> {
        let (base, last) = (header.base_offset, header.last_offset());
        let from = next.max(self.segments[at].base);
        match base >= from && last < self.base_of(at + 1) {
            true => Ok(()),
            false => Err(format!("a batch with offsets {base} to {last} where {from} comes next")),
        }
    }

    /// Takes note of a batch whose producer's last batch may be lost. Called in the order of offsets.
    pub fn note_last(&self, header: &BatchHeader, last_flushed: &mut HashMap<i64, Offset>) {
        let known = self.producers.get(&header.producer_id).filter(|_| header.has_producer_id());
        if !header.is_control() && known.is_some_and(|last| last.may_be_lost) {
            last_flushed.insert(header.producer_id, header.last_offset());
        }
    }

    /// The aborted transactions that have offsets from `from` on and below `to`.
    pub fn transactions(&self, from: Offset, to: Offset) -> Result<Transactions, LogError> {
        let mut aborted = Vec::new();
        for segment in &self.segments[floor(&self.segments, from)..] {
            let done = segment.txn_index.collect(from, to, &mut aborted);
            if done.map_err(io("reading a transaction index"))? {
                break;
            }
        }
        Ok(Transactions::new(aborted))
    }
}

/// The segment that contains `offset`, or that would contain it.
pub(super) fn floor(segments: &[Arc<Segment>], offset: Offset) -> usize {
    segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
}
