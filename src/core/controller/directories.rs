//! Which directory of its broker a replica lives in, and what becomes of it when that fails (KIP-858). A partition
//! whose only replica is in a directory that is offline has no leader.

use ottla_model::image::{Broker, Image, Partition};
use ottla_model::record::{
    BrokerRegistrationChangeRecord, LeaderChange, MetadataRecord, PartitionChangeRecord,
};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicId};
use ottla_protocol::ErrorCode;

use super::brokers::known;
use super::{Decision, Refusal, Reply, View};

/// Where a broker says that its replica of a partition lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub directory: DirectoryId,
    pub topic: TopicId,
    pub partition: i32,
}

pub(super) fn assign(
    view: &View<'_>,
    id: NodeId,
    epoch: BrokerEpoch,
    assignments: Vec<Assignment>,
) -> Decision {
    let broker = match broker_with_directories(view, id, epoch) {
        Ok(broker) => broker,
        Err(refusal) => return Decision::only(Reply::ReplicasAssigned(Err(refusal))),
    };
    let mut records = Vec::new();
    let mut outcomes = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        outcomes.push(find(view.image, id, assignment).map(|partition| {
            records.extend(moved(broker, partition, assignment));
        }));
    }
    Decision { records, reply: Reply::ReplicasAssigned(Ok(outcomes)) }
}

fn broker_with_directories<'a>(
    view: &'a View<'_>,
    id: NodeId,
    epoch: BrokerEpoch,
) -> Result<&'a Broker, Refusal> {
    if !view.knows_directories() {
        let why = "Directory assignment is not supported yet.";
        return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
    }
    known(view.image, id, epoch)
}

fn find(image: &Image, id: NodeId, assignment: Assignment) -> Result<&Partition, ErrorCode> {
    let topic = image.topic_by_id(assignment.topic).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partitions.get(&assignment.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    match partition.replicas.contains(&id) {
        true => Ok(partition),
        false => Err(ErrorCode::NotLeaderOrFollower),
    }
}

// A replica that is found where nobody looked for it may lead again.
fn moved(broker: &Broker, partition: &Partition, to: Assignment) -> Option<MetadataRecord> {
    if partition.directory(broker.id) == Some(to.directory) {
        return None;
    }
    let at = |(replica, directory): (&NodeId, &DirectoryId)| {
        if *replica == broker.id { to.directory } else { *directory }
    };
    let directories = partition.replicas.iter().zip(&partition.directories).map(at).collect();
    let online = broker.has_online(to.directory);
    let leader = match partition.leader {
        Some(leader) if leader == broker.id && !online => LeaderChange::Nobody,
        None if online && broker.is_active() && partition.isr.contains(&broker.id) => {
            LeaderChange::To(broker.id)
        }
        _ => LeaderChange::Unchanged,
    };
    Some(MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: to.partition,
        topic_id: to.topic,
        directories: Some(directories),
        leader,
        ..PartitionChangeRecord::default()
    }))
}

/// A broker has lost directories. Those that are offline already are nothing new.
pub(super) fn offline(
    view: &View<'_>,
    id: NodeId,
    epoch: BrokerEpoch,
    directories: &[DirectoryId],
) -> Decision {
    let broker = match broker_with_directories(view, id, epoch) {
        Ok(broker) => broker,
        Err(refusal) => return Decision::only(Reply::DirectoriesOffline(Err(refusal))),
    };
    let (lost, left): (Vec<DirectoryId>, Vec<DirectoryId>) =
        broker.log_dirs.iter().partition(|directory| directories.contains(directory));
    let mut records = Vec::new();
    if !lost.is_empty() {
        records.extend(leaderless(view.image, id, &lost));
        records.push(MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: epoch,
            log_dirs: left,
            ..BrokerRegistrationChangeRecord::default()
        }));
    }
    Decision { records, reply: Reply::DirectoriesOffline(Ok(())) }
}

// Another replica of the in-sync set leads on; where there is none, this one leads again when its directory is back.
fn leaderless(image: &Image, id: NodeId, lost: &[DirectoryId]) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let may_lead = |partition: &Partition, other: NodeId| {
        let broker = image.broker(other).filter(|broker| other != id && broker.is_active());
        broker.is_some_and(|broker| partition.directory(other).is_none_or(|d| broker.has_online(d)))
    };
    for topic in image.topics() {
        for (index, partition) in &topic.partitions {
            let there = partition.directory(id).is_some_and(|directory| lost.contains(&directory));
            if !there {
                continue;
            }
            let rest: Vec<NodeId> = partition.isr.iter().copied().filter(|other| *other != id).collect();
            let next = partition
                .replicas
                .iter()
                .copied()
                .find(|other| rest.contains(other) && may_lead(partition, *other));
            let leader = match (partition.leader == Some(id), next) {
                (false, _) => LeaderChange::Unchanged,
                (true, Some(next)) => LeaderChange::To(next),
                (true, None) => LeaderChange::Nobody,
            };
            let isr = (rest.len() < partition.isr.len() && !rest.is_empty()).then_some(rest);
            if leader != LeaderChange::Unchanged || isr.is_some() {
                records.push(MetadataRecord::PartitionChange(PartitionChangeRecord {
                    partition_id: *index,
                    topic_id: topic.id,
                    leader,
                    isr,
                    ..PartitionChangeRecord::default()
                }));
            }
        }
    }
    records
}
