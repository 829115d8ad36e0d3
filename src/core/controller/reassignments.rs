//! Moving replicas to other brokers (KIP-455, KIP-860), with the checks of Kafka's controller in its order. A move
//! begins with the new replicas beside the old ones, and ends with the old ones gone once the in-sync set allows it;
//! where it allows it already, as with a mere change of order, one record does both.
//! Missing: going on with a move when the in-sync set grows, which no cluster of one broker can see.

use ottla_model::config::TopicConfig;
use ottla_model::feature::ELIGIBLE_LEADER_REPLICAS_VERSION;
use ottla_model::image::{Partition, Topic};
use ottla_model::record::{LEADER_RECOVERING, LeaderChange, MetadataRecord, PartitionChangeRecord};
use ottla_model::{DirectoryId, NodeId, TopicName};
use ottla_protocol::ErrorCode;

use super::brokers::min_insync_replicas;
use super::configs::configured;
use super::placement::{self, Placement};
use super::{Decision, Overrides, Refusal, Reply, View};

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

pub(super) fn reassign(view: &View<'_>, asked: Vec<Reassignment>, factor: FactorChange) -> Decision {
    let mut records = Vec::new();
    let outcomes = asked.into_iter().map(|one| {
        let (topic, partition) = find(view, &one)?;
        let plan = match &one.replicas {
            Some(replicas) => begin(view, partition, replicas, factor)?,
            None => call_off(view, topic, partition, one.partition)?,
        };
        records.extend(change(view, topic, one.partition, plan.completed()));
        Ok(())
    });
    let outcomes = outcomes.collect();
    Decision { records, reply: Reply::Reassigned(outcomes) }
}

fn find<'a>(view: &'a View<'_>, asked: &Reassignment) -> Result<(&'a Topic, &'a Partition), Refusal> {
    let Reassignment { topic: name, partition: index, .. } = asked;
    let unknown = |why: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, why);
    let topic = view.image.topic(name).ok_or_else(|| unknown(format!("There is no topic {name}.")))?;
    let partition = topic.partitions.get(index);
    Ok((topic, partition.ok_or_else(|| unknown(format!("There is no partition {name}-{index}.")))?))
}

/// What a partition is to become.
struct Plan {
    replicas: Vec<NodeId>,
    /// Of the replicas that the partition does not have yet.
    new_directories: Vec<(NodeId, DirectoryId)>,
    removing: Vec<NodeId>,
    adding: Vec<NodeId>,
    isr: Vec<NodeId>,
    /// A replica outside the in-sync set may lead if nobody else can.
    unclean: bool,
}

fn begin(
    view: &View<'_>,
    partition: &Partition,
    replicas: &[NodeId],
    factor: FactorChange,
) -> Result<Plan, Refusal> {
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
    let mut plan = Plan {
        new_directories: replicas.iter().copied().zip(directories).collect(),
        replicas,
        // Where this move takes nothing away or adds nothing, that of the one before goes on.
        removing: if removing.is_empty() { partition.removing.clone() } else { removing.clone() },
        adding: if adding.is_empty() { partition.adding.clone() } else { adding },
        isr: partition.isr.clone(),
        unclean: false,
    };
    plan.replicas.extend(removing);
    Ok(plan)
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
fn call_off(view: &View<'_>, topic: &Topic, partition: &Partition, index: i32) -> Result<Plan, Refusal> {
    if !partition.is_reassigning() {
        return Err(ErrorCode::NoReassignmentInProgress.into());
    }
    let old = |ids: &[NodeId]| -> Vec<NodeId> {
        ids.iter().copied().filter(|id| !partition.adding.contains(id)).collect()
    };
    let (replicas, mut isr) = (old(&partition.replicas), old(&partition.isr));
    let unclean = may_elect_uncleanly(view, topic);
    if isr.is_empty() {
        let first = replicas.first().copied().filter(|_| unclean);
        let why = || {
            let name = &topic.name;
            let why = format!("Calling off the move of {name}-{index} would need an unclean election.");
            Refusal::new(ErrorCode::InvalidReplicaAssignment, why)
        };
        isr.push(first.ok_or_else(why)?);
    }
    let (removing, adding, new_directories) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Plan { replicas, new_directories, removing, adding, isr, unclean })
}

fn may_elect_uncleanly(view: &View<'_>, topic: &Topic) -> bool {
    let none = Overrides::new();
    let own = view.image.configs(ottla_model::record::ResourceType::Topic, &topic.name).unwrap_or(&none);
    let config = TopicConfig::resolve(&configured(view), own);
    config.is_ok_and(|config| config.unclean_leader_election_enable)
}

impl Plan {
    /// The end of the move, if its in-sync set has all that it needs: every replica that was added, and at least one
    /// that stays. Where there will be fewer replicas than before, every one that stays: the set must not shrink more
    /// than the number does.
    fn completed(self) -> Plan {
        let stays = |ids: &[NodeId]| -> Vec<NodeId> {
            ids.iter().copied().filter(|id| !self.removing.contains(id)).collect()
        };
        let (replicas, isr) = (stays(&self.replicas), stays(&self.isr));
        let in_sync = |ids: &[NodeId]| ids.iter().all(|id| isr.contains(id));
        let shrinks = self.adding.len() < self.removing.len();
        let moves = !self.removing.is_empty() || !self.adding.is_empty();
        let emptied = !self.removing.is_empty() && (isr.is_empty() || replicas.is_empty());
        if !moves || emptied || !in_sync(&self.adding) || (shrinks && !in_sync(&replicas)) {
            return self;
        }
        Plan { replicas, isr, removing: Vec::new(), adding: Vec::new(), ..self }
    }
}

// Nothing, if nothing is to be changed.
fn change(view: &View<'_>, topic: &Topic, index: i32, plan: Plan) -> Option<MetadataRecord> {
    let partition = &topic.partitions[&index];
    let mut record =
        PartitionChangeRecord { partition_id: index, topic_id: topic.id, ..PartitionChangeRecord::default() };
    let nothing = record.clone();
    let mut isr = plan.isr.clone();
    elect(view, partition, &plan, &mut isr, &mut record);
    let leaves = partition.replicas.iter().any(|id| !plan.replicas.contains(id));
    if leaves && record.leader == LeaderChange::Unchanged {
        // Who leaves must hear of it: the leader epoch goes up.
        record.leader = partition.leader.map_or(LeaderChange::Nobody, LeaderChange::To);
    }
    record.isr = (isr != partition.isr).then_some(isr);
    keep_eligible(view, topic, partition, &plan, &mut record);
    if plan.replicas != partition.replicas {
        // Both lists together always have the same length, whatever else this request changes.
        record.directories = view.knows_directories().then(|| directories(partition, &plan));
        record.replicas = Some(plan.replicas);
    }
    record.removing_replicas = (plan.removing != partition.removing).then_some(plan.removing);
    record.adding_replicas = (plan.adding != partition.adding).then_some(plan.adding);
    (record != nothing).then_some(MetadataRecord::PartitionChange(record))
}

// The leader stays if it can.
fn elect(
    view: &View<'_>,
    partition: &Partition,
    plan: &Plan,
    isr: &mut Vec<NodeId>,
    record: &mut PartitionChangeRecord,
) {
    let acceptable = |id: &NodeId| {
        let broker = view.image.broker(*id).filter(|broker| broker.is_active());
        broker.is_some_and(|broker| partition.directory(*id).is_none_or(|d| broker.has_online(d)))
    };
    let in_sync = |id: &NodeId| plan.isr.contains(id) || (plan.isr.is_empty() && partition.elr.contains(id));
    let candidates = || partition.leader.iter().chain(&plan.replicas).copied();
    let clean = candidates().find(|id| in_sync(id) && acceptable(id));
    let unclean = || plan.replicas.iter().copied().find(|id| plan.unclean && acceptable(id));
    let next = clean.or_else(unclean);
    if next == partition.leader {
        return;
    }
    record.leader = next.map_or(LeaderChange::Nobody, LeaderChange::To);
    if let Some(next) = next.filter(|id| !plan.isr.contains(id)) {
        *isr = vec![next];
        if clean.is_none() && !partition.is_recovering() {
            record.leader_recovery_state = LEADER_RECOVERING;
        }
    }
}

// A replica that was in sync, or eligible, may lead while the set is below its minimum (KIP-966).
fn keep_eligible(
    view: &View<'_>,
    topic: &Topic,
    partition: &Partition,
    plan: &Plan,
    record: &mut PartitionChangeRecord,
) {
    let enabled = view.image.feature(ELIGIBLE_LEADER_REPLICAS_VERSION) > 0;
    let isr = record.isr.as_ref().unwrap_or(&partition.isr);
    let min_isr = min_insync_replicas(view.image, &topic.name).min(plan.replicas.len());
    let uncertain = record.leader_recovery_state == LEADER_RECOVERING;
    let mut elr = Vec::new();
    if enabled && !uncertain && isr.len() < min_isr {
        let known = partition.elr.iter().chain(&partition.isr).copied();
        elr.extend(known.filter(|id| !isr.contains(id) && plan.replicas.contains(id)));
        elr.sort();
        elr.dedup();
    }
    record.eligible_leader_replicas = (elr != partition.elr).then_some(elr);
    match (record.leader, partition.leader) {
        (LeaderChange::Nobody, Some(last)) if enabled && partition.last_known_elr.is_empty() => {
            record.last_known_elr = Some(vec![last]);
        }
        (LeaderChange::To(_), _) if !partition.last_known_elr.is_empty() => {
            record.last_known_elr = Some(Vec::new());
        }
        _ => {}
    }
}

fn directories(partition: &Partition, plan: &Plan) -> Vec<DirectoryId> {
    let new = |id: NodeId| {
        let found = plan.new_directories.iter().find(|(replica, _)| *replica == id);
        found.map_or(ottla_model::DIRECTORY_UNASSIGNED, |(_, directory)| *directory)
    };
    plan.replicas.iter().map(|id| partition.directory(*id).unwrap_or_else(|| new(*id))).collect()
}
