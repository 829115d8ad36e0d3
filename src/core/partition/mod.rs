//! One replica of a partition, as leader or as follower: the high watermark, the in-sync replicas, and the proposals to
//! the controller. It must never read the log: the ends of the log arrive as inputs.

mod follower;
mod in_sync;
mod leader;
mod replica;
#[cfg(test)]
mod stories;

use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch};

pub use follower::{Diverging, Follower, Followership};
pub use in_sync::{InSyncMember, IsrAnswer, Proposal};
pub use leader::{Leader, LogEnds, Timing};
pub use replica::{Fetched, Standing};

/// How many replicas a producer waits for (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// 0: the producer does not wait. It learns of an error because the connection is closed.
    None,
    /// 1: the leader has appended.
    Leader,
    /// -1 ("all"): every in-sync replica has the records.
    All,
}

impl Acks {
    /// Parses the value in a request; anything but -1, 0 and 1 is INVALID_REQUIRED_ACKS.
    pub fn parse(acks: i16) -> Result<Acks, ErrorCode> {
        match acks {
            0 => Ok(Acks::None),
            1 => Ok(Acks::Leader),
            -1 => Ok(Acks::All),
            _ => Err(ErrorCode::InvalidRequiredAcks),
        }
    }
}

/// What the controller says about a partition that this node leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub epoch: LeaderEpoch,
    /// Grows with each change of the partition, even if only its in-sync set changes (KIP-497).
    pub partition_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
}

/// The check for every request with a leader epoch (KIP-320). -1 is always accepted.
pub fn fence(current: LeaderEpoch, believed: LeaderEpoch) -> Result<(), ErrorCode> {
    if !believed.is_some() || believed == current {
        Ok(())
    } else if believed < current {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}
