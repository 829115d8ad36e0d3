//! The leader of a partition: the high watermark, and which replicas are in sync. It must never change the in-sync set by
//! itself: it proposes changes to the controller.

use std::collections::BTreeMap;

use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::in_sync::{InSync, InSyncMember, IsrAnswer, Proposal};
use super::replica::{Fetched, Replica, Standing};
use super::{Acks, Leadership, fence};

/// The ends of the leader's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// The offset after its last record.
    pub log_end: Offset,
    /// Only records below this offset may become visible. It is below the log end while a flush is due.
    pub safe_end: Offset,
}

/// The time, and the settings that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub now_ms: i64,
    /// `replica.lag.time.max.ms`
    pub lag_time_max_ms: i64,
    /// `min.insync.replicas` of the topic.
    pub min_insync_replicas: i32,
}

#[derive(Debug)]
pub struct Leader {
    me: NodeId,
    epoch: LeaderEpoch,
    partition_epoch: i32,
    /// The log end when this epoch began.
    epoch_start: Offset,
    replicas: usize,
    others: BTreeMap<NodeId, Replica>,
    in_sync: InSync,
    high_watermark: Offset,
}

impl Leader {
    /// Takes over a log that ends at `log_end`. Everything below `high_watermark` is known to be replicated.
    pub fn new(
        me: NodeId,
        leadership: Leadership,
        high_watermark: Offset,
        log_end: Offset,
        now_ms: i64,
    ) -> Leader {
        let Leadership { epoch, partition_epoch, replicas, isr } = leadership;
        let others = replicas.iter().filter(|id| **id != me);
        let others = others.map(|id| (*id, Replica::new(now_ms, isr.contains(id)))).collect();
        Leader {
            me,
            epoch,
            partition_epoch,
            epoch_start: log_end,
            replicas: replicas.len(),
            others,
            in_sync: InSync::committed(isr),
            high_watermark,
        }
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    pub fn has_followers(&self) -> bool {
        !self.others.is_empty()
    }

    /// Applies what the controller says, and returns whether it was new. Partition epochs order it. A pending proposal is dropped
    /// when there is a newer one, since it cannot be taken any more. What an answer to a proposal has said comes a second time with
    /// the metadata, and then the next proposal may be on its way already: that one stays pending.
    pub fn lead(&mut self, leadership: Leadership, log_end: Offset, now_ms: i64) -> bool {
        if leadership.partition_epoch < self.partition_epoch || leadership.epoch < self.epoch {
            return false;
        }
        let Leadership { epoch, partition_epoch, replicas, isr } = leadership;
        self.others.retain(|id, _| replicas.contains(id));
        for id in replicas.iter().filter(|id| **id != self.me) {
            self.others.entry(*id).or_insert_with(|| Replica::new(now_ms, isr.contains(id)));
        }
        if epoch > self.epoch {
            self.epoch_start = log_end;
            for (id, replica) in &mut self.others {
                replica.lead_again(now_ms, log_end, isr.contains(id));
            }
        }
        if (epoch, partition_epoch) > (self.epoch, self.partition_epoch) {
            self.in_sync = InSync::committed(isr);
        }
        self.epoch = epoch;
        self.partition_epoch = partition_epoch;
        self.replicas = replicas.len();
        true
    }

    /// Checks the leader epoch in a request (KIP-320).
    pub fn fence(&self, believed: LeaderEpoch) -> Result<(), ErrorCode> {
        fence(self.epoch, believed)
    }

    /// Whether an append may begin: with acks=all there have to be `min.insync.replicas` replicas in sync.
    pub fn accepts(&self, acks: Acks, min_insync_replicas: i32) -> Result<(), ErrorCode> {
        match acks == Acks::All && self.in_sync.members().len() < self.needed(min_insync_replicas) {
            true => Err(ErrorCode::NotEnoughReplicas),
            false => Ok(()),
        }
    }

    /// Whether a replicated append may be acknowledged: the set may have become too small since the append.
    pub fn acknowledges(&self, min_insync_replicas: i32) -> Result<(), ErrorCode> {
        match self.in_sync.counted() < self.needed(min_insync_replicas) {
            true => Err(ErrorCode::NotEnoughReplicasAfterAppend),
            false => Ok(()),
        }
    }

    // Never more than the partition has replicas.
    fn needed(&self, min_insync_replicas: i32) -> usize {
        (min_insync_replicas.max(1) as usize).min(self.replicas.max(1))
    }

    /// Notes the progress of a follower. A broker that is not a replica is told to try again, as the metadata may be late
    /// on either side: UNKNOWN_LEADER_EPOCH, or NOT_LEADER_OR_FOLLOWER if it sent no epoch. So is a broker with an epoch
    /// from before its restart (KIP-903).
    pub fn fetched(&mut self, fetched: &Fetched) -> Result<Option<Proposal>, ErrorCode> {
        self.fence(fetched.believed)?;
        let Some(replica) = self.others.get_mut(&fetched.replica) else {
            let known = fetched.believed.is_some();
            return Err(if known { ErrorCode::UnknownLeaderEpoch } else { ErrorCode::NotLeaderOrFollower });
        };
        if Replica::is_stale(fetched) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        replica.fetched(fetched);
        let joins = !self.in_sync.is_pending() && self.may_join(fetched.replica, fetched.at_ms);
        Ok(joins.then(|| self.propose(Some(fetched.replica), &[])))
    }

    /// Proposes to let in a replica that could not join when it fetched last, because another change was on its way or the
    /// image still showed it fenced. While nothing is written, a fetch session does not name the partition again, so the
    /// replica's next fetch may be hours away. Whoever is not caught up has to fetch first: it would be let go again.
    pub fn let_join(&mut self, ends: LogEnds, timing: Timing) -> Option<Proposal> {
        if self.in_sync.is_pending() {
            return None;
        }
        let is_near =
            |replica: &Replica| replica.is_caught_up(ends.log_end, timing.now_ms, timing.lag_time_max_ms);
        let mut others = self.others.iter();
        let (joins, _) =
            others.find(|(id, replica)| is_near(replica) && self.may_join(**id, timing.now_ms))?;
        Some(self.propose(Some(*joins), &[]))
    }

    // It has everything that is safe, and what was there when this epoch began.
    fn may_join(&self, id: NodeId, now_ms: i64) -> bool {
        let has_enough = |replica: &Replica| {
            replica.is_eligible()
                && replica.may_ask(now_ms)
                && replica.log_end >= self.high_watermark
                && replica.log_end >= self.epoch_start
        };
        !self.in_sync.members().contains(&id) && self.others.get(&id).is_some_and(has_enough)
    }

    /// The log is about to grow from here. A replica that has everything up to here is caught up until now; it need not
    /// fetch again and again to show that, while nothing comes.
    pub fn grows(&mut self, log_end: Offset, now_ms: i64) {
        for replica in self.others.values_mut() {
            replica.grows(log_end, now_ms);
        }
    }

    /// Notes what the image says about another broker. One that is fenced or is shutting down may not join, and the high
    /// watermark does not wait for it unless it is in the set.
    pub fn stands(&mut self, replica: NodeId, standing: Standing) {
        if let Some(replica) = self.others.get_mut(&replica) {
            replica.stands(standing);
        }
    }

    /// The lowest log start of all replicas whose brokers are alive. Records below it are deleted everywhere, except where
    /// nobody could read them (KIP-107).
    pub fn low_watermark(&self, log_start: Offset) -> Offset {
        let others = self.others.values().filter(|replica| replica.is_alive());
        others.map(|replica| replica.log_start).fold(log_start, Offset::min)
    }

    /// Another replica that a consumer could read from at `offset`: it is in sync and has that offset. Returns its log end,
    /// and when it was last caught up.
    pub fn readable(&self, replica: NodeId, offset: Offset) -> Option<(Offset, i64)> {
        let other = self.others.get(&replica)?;
        let in_sync = self.in_sync.members().contains(&replica);
        (in_sync && (other.log_start..=other.log_end).contains(&offset))
            .then_some((other.log_end, other.caught_up_ms().unwrap_or(i64::MIN)))
    }

    /// The log end when this epoch began. Until the high watermark has reached it, nobody knows where the committed records
    /// end (KIP-207).
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// Proposes to remove members that have not been caught up for longer than `replica.lag.time.max.ms`.
    pub fn let_go_of_the_late(&mut self, ends: LogEnds, timing: Timing) -> Option<Proposal> {
        if self.in_sync.is_pending() {
            return None;
        }
        let is_late = |id: &&NodeId| {
            **id != self.me
                && self.others.get(id).is_none_or(|replica| {
                    !replica.is_caught_up(ends.log_end, timing.now_ms, timing.lag_time_max_ms)
                })
        };
        let late: Vec<NodeId> = self.in_sync.members().iter().filter(is_late).copied().collect();
        (!late.is_empty()).then(|| self.propose(None, &late))
    }

    fn propose(&mut self, joins: Option<NodeId>, leave: &[NodeId]) -> Proposal {
        let members = self.in_sync.members().iter().copied().filter(|id| !leave.contains(id)).chain(joins);
        let epoch_of = |id: &NodeId| self.others.get(id).and_then(|r| r.broker_epoch).filter(|e| *e >= 0);
        let isr = members.map(|id| InSyncMember { replica: id, broker_epoch: epoch_of(&id) }).collect();
        let proposal = Proposal { leader_epoch: self.epoch, partition_epoch: self.partition_epoch, isr };
        self.in_sync.propose(proposal.clone(), joins);
        proposal
    }

    /// Takes the controller's answer. A proposal that was refused for good stays pending until the metadata says more,
    /// since the answer does not tell whether an earlier attempt was carried out. Returns the proposal if it has to be
    /// sent again.
    pub fn answered(&mut self, answer: IsrAnswer, now_ms: i64) -> Option<Proposal> {
        use ErrorCode::{
            FencedLeaderEpoch, IneligibleReplica, InvalidRequest, InvalidUpdateVersion, NewLeaderElected,
            OperationNotAttempted, UnknownTopicId, UnknownTopicOrPartition,
        };
        if !self.in_sync.awaits(&answer.proposal) {
            return None;
        }
        match answer.outcome {
            Ok((epoch, partition_epoch, isr)) => {
                if epoch == self.epoch && partition_epoch >= self.partition_epoch {
                    self.partition_epoch = partition_epoch;
                    self.in_sync = InSync::committed(isr);
                }
                None
            }
            // Both errors mean that the partition epoch was right, and that nobody has joined. Who is not eligible is not let in by
            // an earlier attempt of the same proposal either, as the partition's epoch is another one now.
            Err(code @ (OperationNotAttempted | IneligibleReplica)) => {
                let joins = self.in_sync.take_back();
                if code == IneligibleReplica
                    && let Some(replica) = joins.and_then(|id| self.others.get_mut(&id))
                {
                    replica.turn_away(now_ms);
                }
                None
            }
            Err(
                UnknownTopicOrPartition
                | UnknownTopicId
                | FencedLeaderEpoch
                | InvalidUpdateVersion
                | InvalidRequest
                | NewLeaderElected,
            ) => None,
            Err(_) => Some(answer.proposal),
        }
    }

    /// Advances and returns the high watermark. It never moves back, and stays where it is while fewer replicas than
    /// `min.insync.replicas` are in sync (KIP-966). It also waits for each replica that is eligible and caught up, though
    /// not in the set yet: a replica has to reach the high watermark before it can join, and might never do so if the
    /// high watermark went on.
    pub fn advance(&mut self, ends: LogEnds, timing: Timing) -> Offset {
        if self.in_sync.members().len() < self.needed(timing.min_insync_replicas) {
            return self.high_watermark;
        }
        let holds = |(id, replica): &(&NodeId, &Replica)| {
            self.in_sync.counts(**id)
                || replica.is_eligible()
                    && replica.is_caught_up(ends.log_end, timing.now_ms, timing.lag_time_max_ms)
        };
        let slowest = self.others.iter().filter(holds).map(|(_, replica)| replica.log_end).min();
        let reached = slowest.map_or(ends.safe_end, |end| end.min(ends.safe_end));
        self.high_watermark = self.high_watermark.max(reached);
        self.high_watermark
    }
}
