//! Looking an offset up: by time, or one of the moments that have a name (KIP-79, KIP-734, KIP-405, KIP-1005).

use ottla_core::partition::fence;
use ottla_log::log::Isolation;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};
use tracing::error;

use crate::run::owners::partition::Partition;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Latest,
    Earliest,
    MaxTimestamp,
    EarliestLocal,
    LatestTiered,
    EarliestPendingUpload,
    /// ms since 1970
    Time(i64),
}

impl Moment {
    /// Parses the timestamp of a request. Negative numbers are special timestamps, each allowed from some version on.
    pub fn parse(timestamp: i64, version: i16) -> Result<Moment, ErrorCode> {
        let (moment, since) = match timestamp {
            -1 => (Moment::Latest, 0),
            -2 => (Moment::Earliest, 0),
            -3 => (Moment::MaxTimestamp, 7),
            -4 => (Moment::EarliestLocal, 8),
            -5 => (Moment::LatestTiered, 9),
            -6 => (Moment::EarliestPendingUpload, 11),
            time => (Moment::Time(time), 0),
        };
        if version < since { Err(ErrorCode::UnsupportedVersion) } else { Ok(moment) }
    }
}

/// The result; -1: nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetAtTime {
    pub offset: Offset,
    pub timestamp: i64,
    pub leader_epoch: LeaderEpoch,
}

const NOWHERE: OffsetAtTime = OffsetAtTime { offset: -1, timestamp: -1, leader_epoch: LeaderEpoch::NONE };

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    Refused(ErrorCode),
    /// It has to be read from disk, and this thread may not wait.
    Cold,
}

impl From<ErrorCode> for NotFound {
    fn from(code: ErrorCode) -> NotFound {
        NotFound::Refused(code)
    }
}

/// Looks in one partition, up to the offset that `isolation` allows.
pub(crate) fn look_up(
    partition: &Partition,
    moment: Moment,
    believed: LeaderEpoch,
    isolation: Isolation,
) -> Result<OffsetAtTime, NotFound> {
    let current = partition.leader_epoch();
    fence(current, believed)?;
    let place = partition.place();
    let reader = &place.reader;
    let offsets = reader.offsets();
    let at = |offset, leader_epoch| OffsetAtTime { offset, timestamp: -1, leader_epoch };
    // A client is not told of an end that may still move back, in the eyes of whoever read from the leader before.
    let unsettled = isolation != Isolation::LogEnd && partition.epoch_start() > offsets.high_watermark;
    let found = match moment {
        Moment::Latest if unsettled => return Err(ErrorCode::OffsetNotAvailable.into()),
        Moment::Latest => {
            let end = match isolation {
                Isolation::LogEnd => offsets.log_end,
                Isolation::HighWatermark => offsets.high_watermark,
                Isolation::Committed => offsets.last_stable,
            };
            return Ok(at(end, current));
        }
        Moment::Earliest | Moment::EarliestLocal => {
            return Ok(at(offsets.log_start, reader.earliest_epoch().unwrap_or(current)));
        }
        // There is no tiered storage, so nothing is in it or on its way there.
        Moment::LatestTiered | Moment::EarliestPendingUpload => return Ok(NOWHERE),
        Moment::MaxTimestamp => reader.max_timestamp(isolation),
        Moment::Time(time) => reader.offset_for_timestamp(time, isolation),
    };
    match found {
        Ok(None) if unsettled => Err(ErrorCode::OffsetNotAvailable.into()),
        Ok(None) => Ok(NOWHERE),
        Ok(Some(f)) => {
            Ok(OffsetAtTime { offset: f.offset, timestamp: f.timestamp, leader_epoch: f.leader_epoch })
        }
        Err(error) if error.is_cold() => Err(NotFound::Cold),
        Err(error) => {
            error!(partition = %partition.id, %error, "cannot look an offset up");
            Err(ErrorCode::KafkaStorageError.into())
        }
    }
}
