//! A follower of a partition: which leader it follows, and where it truncates its log if that leader reports diverging
//! logs. It must never append: the lane does.

use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::fence;

/// What the controller says about a partition that another node leads, or that has no leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followership {
    pub epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// `None`: there is no leader, and the replica waits for one.
    pub leader: Option<NodeId>,
}

/// Where the leader's log ends in the epoch that the follower fetched last, or, if the leader does not have that epoch,
/// in the one before it: the follower has records that the leader does not have (KIP-595's diverging epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diverging {
    pub epoch: LeaderEpoch,
    pub end_offset: Offset,
}

#[derive(Debug)]
pub struct Follower {
    followership: Followership,
}

impl Follower {
    pub fn new(followership: Followership) -> Follower {
        Follower { followership }
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.followership.epoch
    }

    pub fn partition_epoch(&self) -> i32 {
        self.followership.partition_epoch
    }

    /// Whether what the controller says with that partition epoch is new.
    pub fn is_outdated_by(&self, partition_epoch: i32) -> bool {
        partition_epoch >= self.followership.partition_epoch
    }

    /// Refuses records that were fetched in another leader epoch than the current one: leader and log may have changed
    /// since.
    pub fn admits(&self, fetched_under: LeaderEpoch) -> Result<(), ErrorCode> {
        match self.followership.leader {
            None => Err(ErrorCode::NotLeaderOrFollower),
            Some(_) => fence(self.followership.epoch, fetched_under),
        }
    }

    /// Where to truncate the log. `known` is the largest epoch here that is not above the leader's, and its end here. If
    /// the two epochs differ, the next fetch narrows it down (KIP-279).
    pub fn cut(diverging: Diverging, known: Option<(LeaderEpoch, Offset)>, log_end: Offset) -> Offset {
        match known {
            Some((epoch, end)) if epoch != diverging.epoch => end.min(log_end),
            Some((_, end)) => end.min(diverging.end_offset).min(log_end),
            None => diverging.end_offset.min(log_end),
        }
    }
}
