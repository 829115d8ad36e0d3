//! Moving replicas to other brokers (KIP-455, KIP-860), with the checks of Kafka's controller in its order. A move
//! begins with the new replicas beside the old ones, and ends with the old ones gone once the in-sync set allows it;
//! where it allows it already, as with a mere change of order, one record does both.

use ottla_model::image::{Partition, Topic};
use ottla_model::{NodeId, TopicName};
use ottla_protocol::ErrorCode;

use super::leadership::{self, Target};
use super::placement::{self, Placement};
use super::{AlterPartitionReassignments, Decision, Refusal, View};

/// Where a partition's replicas are to be.
#[derive(Clone, Debug)]
pub struct Reassignment {
    pub topic: TopicName,
    pub partition: i32,
    /// The preferred leader first. `None`: the move that is under way is called off.
    pub replicas: Option<Vec<NodeId>>,
}

/// Whether a partition may get more or fewer replicas than it has (KIP-860).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorChange {
    Allowed,
    Refused,
}

pub(super) fn reassign(
    view: &View<'_>,
    alter: AlterPartitionReassignments,
) -> Decision<Vec<Result<(), Refusal>>> {
    let AlterPartitionReassignments { partitions, factor } = alter;
    let mut records = Vec::new();
    let outcomes = partitions.into_iter().map(|one| {
        let (topic, partition) = find(view, &one)?;
        let target = match &one.replicas {
            Some(replicas) => begin(view, partition, replicas, factor)?,
            None => call_off(view, topic, partition, one.partition)?,
        };
        records.extend(leadership::change(view, topic, one.partition, target));
        Ok(())
    });
    let answer = outcomes.collect();
    Decision { records, answer }
}

fn find<'a>(view: &'a View<'_>, asked: &Reassignment) -> Result<(&'a Topic, &'a Partition), Refusal> {
    let Reassignment { topic: name, partition: index, .. } = asked;
    let unknown = |why: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, why);
    let topic = view.image.topic(name).ok_or_else(|| unknown(format!("There is no topic {name}.")))?;
    let partition = topic.partitions.get(index);
    Ok((topic, partition.ok_or_else(|| unknown(format!("There is no partition {name}-{index}.")))?))
}

fn begin(
    view: &View<'_>,
    partition: &Partition,
    replicas: &[NodeId],
    factor: FactorChange,
) -> Result<Target, Refusal> {
    let wrong = |why| Refusal::new(ErrorCode::InvalidReplicaAssignment, why);
    let placed = placement::by_hand(view, replicas).map_err(wrong)?;
    let before = factor_of(partition);
    if factor == FactorChange::Refused && before != replicas.len() {
        let why = format!("The replication factor is changed from {before} to {}", replicas.len());
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, why));
    }
    let removing = without(&partition.replicas, replicas);
    let adding = without(replicas, &partition.replicas);
    let Placement { replicas, directories, .. } = placed;
    let new = replicas.iter().copied().zip(directories);
    let mut target = Target {
        directories: new.filter(|(id, _)| !partition.replicas.contains(id)).collect(),
        replicas,
        ..Target::of(partition)
    };
    target.replicas.extend(&removing);
    // Where this move takes nothing away or adds nothing, that of the one before goes on.
    if !removing.is_empty() {
        target.removing = removing;
    }
    if !adding.is_empty() {
        target.adding = adding;
    }
    Ok(target)
}

// While replicas move it is the number that there will be.
fn factor_of(partition: &Partition) -> usize {
    partition.replicas.iter().filter(|id| !partition.removing.contains(id)).count()
}

// In the order of the ids, as Kafka writes them.
fn without(from: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    let mut rest: Vec<NodeId> = from.iter().copied().filter(|id| !others.contains(id)).collect();
    rest.sort();
    rest
}

// Everything is as it was before the move. If all that is in sync came with the move, the first of the old replicas
// leads, which may lose records.
fn call_off(view: &View<'_>, topic: &Topic, partition: &Partition, index: i32) -> Result<Target, Refusal> {
    if !partition.is_reassigning() {
        return Err(ErrorCode::NoReassignmentInProgress.into());
    }
    let old = |ids: &[NodeId]| -> Vec<NodeId> {
        ids.iter().copied().filter(|id| !partition.adding.contains(id)).collect()
    };
    let (replicas, mut isr) = (old(&partition.replicas), old(&partition.isr));
    if isr.is_empty() {
        let first = replicas.first().copied().filter(|_| leadership::may_elect_uncleanly(view, topic));
        let why = || {
            let name = &topic.name;
            let why = format!("Calling off the move of {name}-{index} would need an unclean election.");
            Refusal::new(ErrorCode::InvalidReplicaAssignment, why)
        };
        isr.push(first.ok_or_else(why)?);
    }
    let candidates = leadership::candidates(view, topic);
    let (removing, adding) = (Vec::new(), Vec::new());
    Ok(Target { replicas, removing, adding, isr, candidates, ..Target::of(partition) })
}
