//! What a cleaning is given at its beginning and never changes: the log as it was then. It must never read a record.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ottla_model::config::TopicConfig;
use ottla_protocol::Offset;
use ottla_protocol::batch::BatchHeader;

use super::transactions::Transactions;
use crate::Disk;
use crate::log::error::{LogError, io};
use crate::log::segment::Segment;

/// What does not change while it goes on.
#[derive(Debug)]
pub(super) struct Job {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub config: Arc<TopicConfig>,
    /// All of the log as it was at the beginning, the active one included.
    pub segments: Vec<Arc<Segment>>,
    pub first_dirty: Offset,
    /// Of the segments, those to be cleaned; the next one begins at `end`.
    pub count: usize,
    pub end: Offset,
    pub producers: HashMap<i64, LastRecord>,
    pub now_ms: i64,
    pub offline: Arc<AtomicBool>,
    pub lowest_cut: Offset,
}

/// What compaction must keep of a producer that is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastRecord {
    /// None if its last batch was a marker.
    pub data_offset: Option<Offset>,
    pub epoch: i16,
}

impl Job {
    /// Where the segment at `at` begins, or would.
    pub fn base_of(&self, at: usize) -> Offset {
        if at >= self.count { self.end } else { self.segments[at].base }
    }

    /// Offsets are under no checksum.
    pub fn check_place(&self, at: usize, next: Offset, header: &BatchHeader) -> Result<(), String> {
        let (base, last) = (header.base_offset, header.last_offset());
        let from = next.max(self.segments[at].base);
        match base >= from && last < self.base_of(at + 1) {
            true => Ok(()),
            false => Err(format!("a batch with offsets {base} to {last} where {from} comes next")),
        }
    }

    /// Those aborted that touch offsets from `from` up to, not including, `to`.
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

/// The segment that holds `offset`, or would.
pub(super) fn floor(segments: &[Arc<Segment>], offset: Offset) -> usize {
    segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
}
