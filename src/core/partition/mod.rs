//! One replica of a partition, as leader or as follower: how far its records are safe, who is in sync with it, and what it
//! asks of the controller. Never reads the log: its ends arrive as inputs.

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
    /// 0: it does not wait, and learns of an error by the connection being closed.
    None,
    /// 1: the leader has appended.
    Leader,
    /// -1 ("all"): every member of the in-sync set has it.
    All,
}

impl Acks {
    /// From the wire; anything but -1, 0 and 1 is INVALID_REQUIRED_ACKS.
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
    /// Grows with each change of the partition, be it only of its in-sync set (KIP-497).
    pub partition_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
}

/// The rule of every request that carries a leader epoch (KIP-320): -1 believes nothing.
pub fn fence(current: LeaderEpoch, believed: LeaderEpoch) -> Result<(), ErrorCode> {
    if !believed.is_some() || believed == current {
        Ok(())
    } else if believed < current {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}
