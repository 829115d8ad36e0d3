//! Reading and flushing the batches of the metadata log. It must never know what they hold.

use bytes::Bytes;
use ottla_log::log::{Isolation, Log, LogError, ReadError};
use ottla_protocol::Offset;

use super::error::QuorumError;

/// The batch at this offset.
pub(crate) fn read_batch(log: &Log, offset: Offset) -> Result<Bytes, QuorumError> {
    read(log, offset, 1, Isolation::LogEnd)?
        .ok_or_else(|| QuorumError::Refused(format!("nothing at offset {offset}")))
}

/// Whole batches from this offset on, at least one. `None`: there is nothing.
pub(crate) fn read(
    log: &Log,
    offset: Offset,
    bytes_max: usize,
    upto: Isolation,
) -> Result<Option<Bytes>, QuorumError> {
    let slice = log.reader().read(offset, bytes_max, upto, true).map_err(|e| match e {
        ReadError::Io(e) => QuorumError::Log(e),
        ReadError::OutOfRange(_) => QuorumError::Refused(format!("nothing at offset {offset}")),
    })?;
    let bytes = slice.range.map(|range| range.read()).transpose();
    Ok(bytes.map_err(|e| QuorumError::Refused(e.to_string()))?.map(Bytes::from))
}

/// All that the log has is on the disk when this returns.
pub(crate) fn flush(log: &mut Log) -> Result<(), QuorumError> {
    let ticket = log.flush_begin()?;
    let up_to = ticket.up_to;
    ticket.run().map_err(|source| LogError::Io { doing: "flush", source })?;
    log.flush_end(up_to);
    Ok(())
}
