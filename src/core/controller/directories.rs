//! Which directory of its broker a replica lives in, and what becomes of it when that fails (KIP-858). A partition
//! whose only replica is in a directory that is offline has no leader.

use ottla_model::image::{Broker, Image, Partition, Topic};
use ottla_model::record::{BrokerRegistrationChangeRecord, MetadataRecord};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicId};
use ottla_protocol::ErrorCode;

use super::brokers::known;
use super::heartbeats::change;
use super::leadership::{self, Target};
use super::{AssignReplicas, Decision, Heartbeat, Refusal, View};

/// Where a broker says that its replica of a partition lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub directory: DirectoryId,
    pub topic: TopicId,
    pub partition: i32,
}

pub(super) fn assign(
    view: &View<'_>,
    assign: AssignReplicas,
) -> Decision<Result<Vec<Result<(), ErrorCode>>, Refusal>> {
    let AssignReplicas { broker: id, epoch, assignments } = assign;
    let broker = match broker_with_directories(view, id, epoch) {
        Ok(broker) => broker,
        Err(refusal) => return Decision::only(Err(refusal)),
    };
    let mut records = Vec::new();
    let mut outcomes = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        outcomes.push(find(view.image, id, assignment).map(|(topic, partition)| {
            let target = moved(view, topic, partition, broker, assignment.directory);
            records.extend(leadership::change(view, topic, assignment.partition, target));
        }));
    }
    Decision { records, answer: Ok(outcomes) }
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

fn find(image: &Image, id: NodeId, assignment: Assignment) -> Result<(&Topic, &Partition), ErrorCode> {
    let topic = image.topic_by_id(assignment.topic).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partitions.get(&assignment.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    match partition.replicas.contains(&id) {
        true => Ok((topic, partition)),
        false => Err(ErrorCode::NotLeaderOrFollower),
    }
}

// A replica that is found where nobody looked for it may lead again. One that is in a directory that is offline leaves
// the in-sync set.
fn moved(view: &View<'_>, topic: &Topic, partition: &Partition, broker: &Broker, to: DirectoryId) -> Target {
    let target = Target { directories: vec![(broker.id, to)], ..Target::of(partition) };
    match broker.has_online(to) {
        true => target,
        false => target.without(broker.id).with_candidates(leadership::candidates(view, topic)),
    }
}

/// What changes by what a heartbeat says of directories.
pub(super) fn reported(view: &View<'_>, broker: &Broker, beat: &Heartbeat) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    if view.knows_directories() {
        records.extend(lose(view, broker, &beat.offline));
    }
    // One thing at a time: the next heartbeat finds what has failed changed.
    if records.is_empty() && !beat.full.is_empty() {
        records = leadership::directories_full(view, broker.id, &beat.full);
    }
    if view.knows_cordoned_directories()
        && let Some(cordoned) = &beat.cordoned
        // Whoever has not said so yet has cordoned none.
        && broker.cordoned_log_dirs.as_deref().unwrap_or_default() != cordoned.as_slice()
    {
        let cordoned_log_dirs = Some(cordoned.clone());
        records.push(BrokerRegistrationChangeRecord { cordoned_log_dirs, ..change(broker) }.into());
    }
    records
}

// Those that are offline already are nothing new.
fn lose(view: &View<'_>, broker: &Broker, directories: &[DirectoryId]) -> Vec<MetadataRecord> {
    let (lost, left): (Vec<DirectoryId>, Vec<DirectoryId>) =
        broker.log_dirs.iter().partition(|directory| directories.contains(directory));
    if lost.is_empty() {
        return Vec::new();
    }
    let mut records = leadership::directories_lost(view, broker.id, &lost);
    records.push(BrokerRegistrationChangeRecord { log_dirs: left, ..change(broker) }.into());
    records
}
