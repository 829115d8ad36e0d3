//! A log as a reader finds it: read batch by batch through the reader's side, every checksum verified.

use bytes::Bytes;
use ottla_log::log::{Isolation, LogReader, Offsets};
use ottla_protocol::Offset;
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{BatchHeader, DecompressLimit, batches, records, verify_crc};

use super::ledger::RecordId;
use crate::verdict::Violation;

/// The batches of a log.
#[derive(Debug)]
pub(crate) struct LogCopy {
    pub offsets: Offsets,
    pub batches: Vec<Copied>,
}

#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub header: BatchHeader,
    /// Of a marker: whether it commits.
    pub marker: Option<bool>,
    /// With their offsets, which ascend.
    pub records: Vec<(Offset, RecordId)>,
}

impl LogCopy {
    /// From the log start to the bound.
    pub fn read(reader: &LogReader, upto: Isolation) -> Result<LogCopy, Violation> {
        let offsets = reader.offsets();
        let mut copy = LogCopy { offsets, batches: Vec::new() };
        let mut next = offsets.log_start;
        while next < offsets.log_end {
            let found = read_from(reader, next, READ_BYTES, upto)?;
            let Some(last) = found.last() else { break };
            next = last.header.next_offset();
            copy.batches.extend(found);
        }
        Ok(copy)
    }

    pub fn records(&self) -> impl Iterator<Item = (Offset, RecordId)> + '_ {
        self.batches.iter().flat_map(|batch| batch.records.iter().copied())
    }

    /// With markers among the records.
    pub fn with_markers(mut self) -> LogCopy {
        self.batches = with_markers(self.batches);
        self
    }
}

/// Markers among the records, each by its producer.
pub(crate) fn with_markers(batches: Vec<Copied>) -> Vec<Copied> {
    let with_marker = |mut batch: Copied| {
        if batch.header.is_control() {
            batch.records.push((batch.header.base_offset, marker_of(batch.header.producer_id)));
        }
        batch
    };
    batches.into_iter().map(with_marker).collect()
}

/// What one fetch gives. The caller has checked that `from` is in range.
pub(crate) fn read_from(
    reader: &LogReader,
    from: Offset,
    max_bytes: usize,
    upto: Isolation,
) -> Result<Vec<Copied>, Violation> {
    let broken = |what: String| Violation::new("a log reads back", format!("at offset {from}: {what}"));
    let slice = reader.read(from, max_bytes, upto, true).map_err(|e| broken(e.to_string()))?;
    let Some(range) = slice.range else { return Ok(Vec::new()) };
    let bytes = Bytes::from(range.read().map_err(|e| broken(e.to_string()))?);
    let mut found = Vec::new();
    for next in batches(&bytes) {
        let (header, batch) = next.map_err(|e| broken(e.to_string()))?;
        found.push(copied(header, &batch).map_err(broken)?);
    }
    Ok(found)
}

fn copied(header: BatchHeader, batch: &Bytes) -> Result<Copied, String> {
    if !verify_crc(batch) {
        return Err(format!("the checksum of the batch at {} is wrong", header.base_offset));
    }
    let (mut found, mut marker) = (Vec::new(), None);
    for record in records(batch, DecompressLimit(1 << 24)).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        if header.is_control() {
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            if let Ok(ControlRecord::EndTxn(end)) = ControlRecord::decode(&key, &value) {
                marker = Some(end.result == TransactionResult::Commit);
            }
            continue;
        }
        // A tombstone has no value.
        let header = record.headers.first().and_then(|(_, value)| value.clone());
        let id = record.value.or(header).as_deref().and_then(read_id);
        found.push((record.offset, id.ok_or("a record that no client wrote")?));
    }
    Ok(Copied { header, marker, records: found })
}

/// What a record's value begins with, and where records have keys, what their header is.
pub(crate) fn write_id(id: RecordId) -> [u8; 8] {
    ((u64::from(id.client) << 32) | u64::from(id.number)).to_be_bytes()
}

/// How the marker that ends a transaction counts among the records.
pub(crate) fn marker_of(producer_id: i64) -> RecordId {
    RecordId { client: u32::MAX, number: producer_id as u32 }
}

fn read_id(value: &[u8]) -> Option<RecordId> {
    let number = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    Some(RecordId { client: (number >> 32) as u32, number: number as u32 })
}

const READ_BYTES: usize = 64 << 10;
