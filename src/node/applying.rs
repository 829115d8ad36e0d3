//! What controllers and observers do with what the quorum has agreed on: they apply it to the image, and write a snapshot when
//! enough has been applied.
//! It must never know who agreed, nor how a snapshot is written.

use ottla_model::image::{ApplyError, Image};
use ottla_model::record::{MetadataRecord, RecordError};
use ottla_protocol::batch::{BatchError, BatchHeader, DecompressLimit, records};
use ottla_protocol::{LeaderEpoch, Offset};

use crate::quorum::{Committed, Keep};

/// Metadata batches are not compressed; if one is, it may not become larger than this.
const BATCH_BYTES_MAX: DecompressLimit = DecompressLimit(256 << 20);

/// What was agreed on cannot be applied: the log is broken, or says what it cannot say.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    #[error("metadata batch at offset {offset}: {source}")]
    Batch { offset: Offset, source: BatchError },
    #[error("metadata record at offset {offset}: {source}")]
    Record { offset: Offset, source: RecordError },
    #[error("metadata record at offset {offset}: {source}")]
    Apply { offset: Offset, source: ApplyError },
}

/// When a snapshot is due, and what stays of the log then.
#[derive(Clone, Copy, Debug)]
pub struct Snapshots {
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub bytes: i64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 is never.
    pub interval_ms: i64,
    pub keep: Keep,
}

/// What is not in any snapshot yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unsnapshotted {
    bytes: i64,
    /// When the first of it was applied.
    since_ms: Option<i64>,
    /// One is being written.
    writing: bool,
}

impl Unsnapshotted {
    pub fn applied(&mut self, bytes: usize, now_ms: i64) {
        self.bytes += bytes as i64;
        self.since_ms.get_or_insert(now_ms);
    }

    /// The image has come from a snapshot as a whole.
    pub fn replaced(&mut self) {
        *self = Unsnapshotted { writing: self.writing, ..Unsnapshotted::default() };
    }

    /// The one that was being written is on the disk, or could not be written.
    pub fn written(&mut self) {
        self.writing = false;
    }

    /// Whether a snapshot of this image is due now; if so, it is taken to be under way.
    pub fn begins(&mut self, image: &Image, snapshots: &Snapshots, now_ms: i64) -> bool {
        let Snapshots { bytes, interval_ms, .. } = *snapshots;
        let old = self.since_ms.is_some_and(|since_ms| interval_ms > 0 && now_ms - since_ms >= interval_ms);
        let due = !self.writing && (self.bytes >= bytes || old) && self.bytes > 0 && !image.in_transaction();
        if due {
            // One that fails is tried again after as much as was due now.
            *self = Unsnapshotted { writing: true, ..Unsnapshotted::default() };
        }
        due
    }
}

pub(crate) fn apply_batch(image: &mut Image, committed: &Committed) -> Result<(), NotApplied> {
    let offset = committed.base_offset;
    let wrong = |source| NotApplied::Batch { offset, source };
    let header = BatchHeader::parse(&committed.batch).map_err(wrong)?;
    if header.is_control() {
        image.offset = committed.last_offset;
        image.epoch = committed.epoch;
        return Ok(());
    }
    for record in records(&committed.batch, BATCH_BYTES_MAX).map_err(wrong)? {
        let record = record.map_err(wrong)?;
        // A snapshot of Kafka's may end within a batch.
        if record.offset <= image.offset {
            continue;
        }
        apply_record(image, record.offset, committed.epoch, record.value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn apply_record(
    image: &mut Image,
    offset: Offset,
    epoch: LeaderEpoch,
    value: &[u8],
) -> Result<(), NotApplied> {
    let record = MetadataRecord::decode(value).map_err(|source| NotApplied::Record { offset, source })?;
    image.apply_in_place(offset, epoch, &record).map_err(|source| NotApplied::Apply { offset, source })
}
