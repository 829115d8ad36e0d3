//! The end of a transaction, read from its control batch. It must never decide whether the marker is valid.

use bytes::Bytes;
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{self, BatchHeader, DecompressLimit};

use super::producers::Marker;

/// `None`: the batch ends no transaction. The transaction version is not in the batch; the coordinator supplies it.
pub(super) fn marker(header: &BatchHeader, bytes: &Bytes, transaction_version: i16) -> Option<Marker> {
    if !header.is_control() || !header.has_producer_id() {
        return None;
    }
    let record = batch::records(bytes, CONTROL_BYTES_MAX).ok()?.next()?.ok()?;
    match ControlRecord::decode(record.key.as_deref()?, record.value.as_deref()?).ok()? {
        ControlRecord::EndTxn(end) => Some(Marker {
            commits: end.result == TransactionResult::Commit,
            coordinator_epoch: end.coordinator_epoch,
            timestamp: record.timestamp,
            transaction_version,
        }),
        _ => None,
    }
}

pub(super) const CONTROL_BYTES_MAX: DecompressLimit = DecompressLimit(1 << 20);
