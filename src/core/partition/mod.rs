//! The leader's side of one partition: how far its records are safe. Never reads the log: lengths arrive as
//! inputs, and what comes out is the high watermark.

use std::collections::BTreeMap;

use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

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
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
}

/// The leader of a partition.
#[derive(Debug)]
pub struct Leader {
    me: NodeId,
    leadership: Leadership,
    /// Log ends of the other replicas, as far as they have fetched.
    followers: BTreeMap<NodeId, Offset>,
    high_watermark: Offset,
}

impl Leader {
    /// Takes over with what the log's checkpoint knew; a sole replica's own log end counts from the first step on.
    pub fn new(me: NodeId, leadership: Leadership, high_watermark: Offset) -> Leader {
        Leader { me, leadership, followers: BTreeMap::new(), high_watermark }
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.leadership.epoch
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// A newer word of the controller. An older epoch than the present one is ignored (KIP-320).
    pub fn lead(&mut self, leadership: Leadership) {
        if leadership.epoch < self.leadership.epoch {
            return;
        }
        if leadership.epoch > self.leadership.epoch {
            self.followers.clear();
        }
        self.followers.retain(|id, _| leadership.replicas.contains(id));
        self.leadership = leadership;
    }

    /// A request carries the epoch that its sender believes in; -1 believes nothing (KIP-320).
    pub fn fence(&self, believed: LeaderEpoch) -> Result<(), ErrorCode> {
        fence(self.leadership.epoch, believed)
    }

    /// Whether an acks=all append may begin: `min.insync.replicas`, but never more than there are replicas.
    pub fn accepts(&self, acks: Acks, min_insync_replicas: i32) -> Result<(), ErrorCode> {
        let needed = (min_insync_replicas.max(1) as usize).min(self.leadership.replicas.len().max(1));
        if acks == Acks::All && self.leadership.isr.len() < needed {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        Ok(())
    }

    /// A follower has everything below `log_end`.
    pub fn fetched(&mut self, replica: NodeId, log_end: Offset) {
        if self.leadership.replicas.contains(&replica) {
            self.followers.insert(replica, log_end);
        }
    }

    /// The high watermark now that the local log is safe up to `local_end`. It never moves back.
    pub fn advance(&mut self, local_end: Offset) -> Offset {
        let others = self.leadership.isr.iter().filter(|id| **id != self.me);
        let slowest = others.map(|id| self.followers.get(id).copied().unwrap_or(0)).min();
        let reached = slowest.map_or(local_end, |end| end.min(local_end));
        self.high_watermark = self.high_watermark.max(reached);
        self.high_watermark
    }
}

/// The rule of every request that carries a leader epoch (KIP-320).
pub fn fence(current: LeaderEpoch, believed: LeaderEpoch) -> Result<(), ErrorCode> {
    if !believed.is_some() || believed == current {
        Ok(())
    } else if believed < current {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

#[cfg(test)]
mod stories {
    use super::*;

    fn leadership(epoch: i32, replicas: &[i32], isr: &[i32]) -> Leadership {
        let nodes = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect();
        Leadership { epoch: LeaderEpoch(epoch), replicas: nodes(replicas), isr: nodes(isr) }
    }

    #[test]
    fn a_sole_replica_is_as_safe_as_its_own_log() {
        let mut leader = Leader::new(NodeId(1), leadership(0, &[1], &[1]), 0);
        assert_eq!(leader.advance(7), 7);
        assert_eq!(leader.advance(5), 7, "the high watermark never moves back");
    }

    #[test]
    fn the_slowest_in_sync_replica_holds_the_high_watermark() {
        let mut leader = Leader::new(NodeId(1), leadership(3, &[1, 2, 3], &[1, 2, 3]), 0);
        leader.fetched(NodeId(2), 5);
        assert_eq!(leader.advance(9), 0, "nothing is known of node 3");
        leader.fetched(NodeId(3), 4);
        assert_eq!(leader.advance(9), 4);
        leader.lead(leadership(3, &[1, 2, 3], &[1, 2]));
        assert_eq!(leader.advance(9), 5, "node 3 has left the in-sync set");
        leader.lead(leadership(2, &[1, 2, 3], &[1]));
        assert_eq!(leader.advance(9), 5, "an older epoch changes nothing");
    }

    #[test]
    fn epochs_fence_in_both_directions() {
        let rows = [
            (-1, Ok(())),
            (4, Ok(())),
            (3, Err(ErrorCode::FencedLeaderEpoch)),
            (5, Err(ErrorCode::UnknownLeaderEpoch)),
        ];
        for (believed, expected) in rows {
            assert_eq!(fence(LeaderEpoch(4), LeaderEpoch(believed)), expected, "epoch {believed}");
        }
    }

    #[test]
    fn min_isr_counts_for_acks_all_and_never_beyond_the_replicas() {
        let rows = [
            (&[1][..], &[1][..], 2, Acks::All, Ok(())),
            (&[1, 2, 3], &[1], 2, Acks::All, Err(ErrorCode::NotEnoughReplicas)),
            (&[1, 2, 3], &[1], 2, Acks::Leader, Ok(())),
            (&[1, 2, 3], &[1, 3], 2, Acks::All, Ok(())),
        ];
        for (replicas, isr, min, acks, expected) in rows {
            let leader = Leader::new(NodeId(1), leadership(0, replicas, isr), 0);
            assert_eq!(leader.accepts(acks, min), expected, "{replicas:?} {isr:?} min {min} {acks:?}");
        }
    }
}
