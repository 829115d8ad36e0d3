//! Where a reader's log and this one part (KIP-595). It must never wait for a lane.

use ottla_core::partition::Diverging;
use ottla_core::session::Position;
use ottla_log::log::LogReader;
use ottla_protocol::{ErrorCode, LeaderEpoch};

/// Whether the reader's last records are not in this log (KIP-595), which is asked before anything is read.
pub(super) fn parted(
    reader: &LogReader,
    current: LeaderEpoch,
    position: &Position,
) -> Result<Option<Diverging>, ErrorCode> {
    let (last, from) = (position.last_fetched_epoch, position.fetch_offset);
    if !last.is_some() {
        return Ok(None);
    }
    let (epoch, end_offset) = reader.epoch_end_under(current, last);
    if !epoch.is_some() || end_offset < 0 || from < reader.offsets().log_start {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok((epoch < last || end_offset < from).then_some(Diverging { epoch, end_offset }))
}
