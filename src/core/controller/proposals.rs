//! What leaders propose of their in-sync sets (AlterPartition: KIP-497, KIP-841, KIP-903), with the checks of Kafka's
//! controller in its order. A set that has all replicas that are added ends a move of replicas (KIP-455).

use std::collections::BTreeSet;

use ottla_model::image::{Partition, Topic};
use ottla_model::record::{LEADER_RECOVERED, LEADER_RECOVERING, MetadataRecord, PartitionChangeRecord};
use ottla_model::{NodeId, TopicId};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::brokers::known;
use super::leadership::{self, Target};
use super::{AlterPartition, Decision, Refusal, View};
use crate::partition::{InSyncMember, Proposal};

/// What a leader proposes for one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    pub topic: TopicId,
    pub partition: i32,
    pub proposal: Proposal,
    /// Whether the leader still recovers from an unclean election (KIP-704).
    pub recovering: bool,
}

/// A partition after a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub isr: Vec<NodeId>,
    pub recovering: bool,
}

pub(super) type Outcomes = Vec<Result<Altered, ErrorCode>>;

pub(super) fn alter(view: &View<'_>, alter: AlterPartition) -> Decision<Result<Outcomes, Refusal>> {
    let AlterPartition { broker, epoch, proposals } = alter;
    if let Err(refusal) = known(view.image, broker, epoch) {
        return Decision::only(Err(refusal));
    }
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let outcomes = proposals.iter().map(|one| {
        let (topic, partition) = find(view, one)?;
        let checked = check(view, broker, partition, one);
        if !matches!(checked, Ok(()) | Err(ErrorCode::IneligibleReplica)) {
            checked?;
        }
        // The first proposal for a partition raises its epoch, so a second one is late.
        if !seen.insert((one.topic, one.partition)) {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        if let Err(code) = checked {
            records.push(next_epoch(one));
            return Err(code);
        }
        let target = Target {
            isr: members(&one.proposal).collect(),
            recovery: if one.recovering { LEADER_RECOVERING } else { LEADER_RECOVERED },
            candidates: leadership::candidates(view, topic),
            ..Target::of(partition)
        };
        let change = leadership::change(view, topic, one.partition, target);
        let after = after(partition, change.as_ref());
        records.extend(change);
        // A proposal does not change the leader, unless it ends a move and the leader is to go, or lets somebody in who has
        // room where the leader has none. The leader learns from the metadata what it is then.
        match after.leader == partition.leader {
            true => Ok(altered(&after)),
            false => Err(ErrorCode::NewLeaderElected),
        }
    });
    let answer = Ok(outcomes.collect());
    Decision { records, answer }
}

// Who may not join now may later. The leader goes on without that replica once it is refused, so an earlier attempt of the same
// proposal must not let it in then, however late it comes: what a closed connection has sent, for example.
fn next_epoch(one: &IsrProposal) -> MetadataRecord {
    MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: one.partition,
        topic_id: one.topic,
        ..PartitionChangeRecord::default()
    })
}

fn find<'a>(view: &'a View<'_>, one: &IsrProposal) -> Result<(&'a Topic, &'a Partition), ErrorCode> {
    let topic = view.image.topic_by_id(one.topic).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partitions.get(&one.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok((topic, partition))
}

fn check(view: &View<'_>, from: NodeId, partition: &Partition, one: &IsrProposal) -> Result<(), ErrorCode> {
    let Proposal { leader_epoch, partition_epoch, isr } = &one.proposal;
    if *leader_epoch > partition.leader_epoch || *partition_epoch > partition.partition_epoch {
        // The leader knows more than this controller: there is probably another one by now.
        return Err(ErrorCode::NotController);
    }
    if *leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if partition.leader != Some(from) {
        return Err(ErrorCode::InvalidRequest);
    }
    if *partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let unique: BTreeSet<NodeId> = members(&one.proposal).collect();
    let of_replicas = unique.len() == isr.len() && unique.iter().all(|id| partition.replicas.contains(id));
    let recovers_beside_others = one.recovering && isr.len() > 1;
    let recovers_again = one.recovering && !partition.is_recovering();
    if !of_replicas || !unique.contains(&from) || recovers_beside_others || recovers_again {
        return Err(ErrorCode::InvalidRequest);
    }
    // Who has no room would hold up everybody who waits for all that are in sync. Who is in already is left to its leader.
    let finds_room = |id: &NodeId| partition.isr.contains(id) || !leadership::is_full(view, partition, *id);
    match isr.iter().all(|member| may_be_in_sync(view, member)) && unique.iter().all(finds_room) {
        true => Ok(()),
        false => Err(ErrorCode::IneligibleReplica),
    }
}

// A broker that was fenced or that restarted since it fetched may have lost records (KIP-841, KIP-903).
fn may_be_in_sync(view: &View<'_>, member: &InSyncMember) -> bool {
    let broker = view.image.broker(member.replica);
    broker.is_some_and(|b| b.is_active() && member.broker_epoch.is_none_or(|epoch| epoch == b.epoch.0))
}

fn members(proposal: &Proposal) -> impl Iterator<Item = NodeId> {
    proposal.isr.iter().map(|member| member.replica)
}

fn after(partition: &Partition, change: Option<&MetadataRecord>) -> Partition {
    match change {
        Some(MetadataRecord::PartitionChange(change)) => {
            partition.merge(change).expect("a decided change applies")
        }
        _ => partition.clone(),
    }
}

fn altered(partition: &Partition) -> Altered {
    Altered {
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: partition.isr.clone(),
        recovering: partition.is_recovering(),
    }
}
