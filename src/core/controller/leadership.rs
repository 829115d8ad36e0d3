//! Who leads a partition, who is in sync then, and who is eligible to lead (KIP-966). This is the one place that writes
//! a change of a partition, as Kafka's `PartitionChangeBuilder` is: whoever wants a change says what the partition is
//! to become ([`Target`]), and the rules here turn that into a record. Nothing here waits, counts time or asks a broker.
//!
use ottla_model::feature::MetadataVersion;
use ottla_model::image::{Image, Partition, Topic};
use ottla_model::record::{
    LEADER_RECOVERING, LeaderChange, MetadataRecord, PartitionChangeRecord, PartitionRecord, ResourceType,
};
use ottla_model::{DIRECTORY_UNASSIGNED, DirectoryId, NodeId, TopicId};
use ottla_protocol::LeaderEpoch;

use super::configs::{MIN_INSYNC_REPLICAS, UNCLEAN_LEADER_ELECTION_ENABLE};
use super::placement::Placement;
use super::{Sessions, View};

/// Which replicas may be elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidates {
    /// The first replica if it is in sync, otherwise as `InSync`.
    PreferredFirst,
    /// The leader if it is still in sync, otherwise the first replica that is.
    InSync,
    /// As `InSync`, and where none of those can lead, the first replica that is alive. Records may be lost.
    Anybody,
}

/// What a partition is to become. [`Target::of`] is what it is now.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub replicas: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    /// May have lost records, so it is not eligible to lead (KAFKA-15586).
    pub doubtful: Option<NodeId>,
    /// The directories of the replicas that are new, or that are in another directory now.
    pub directories: Vec<(NodeId, DirectoryId)>,
    /// Whether the leader recovers from an unclean election (KIP-704): `LEADER_RECOVERED` or `LEADER_RECOVERING`.
    pub recovery: i8,
    pub candidates: Candidates,
}

impl Target {
    pub(super) fn of(partition: &Partition) -> Target {
        Target {
            replicas: partition.replicas.clone(),
            removing: partition.removing.clone(),
            adding: partition.adding.clone(),
            isr: partition.isr.clone(),
            doubtful: None,
            directories: Vec::new(),
            recovery: partition.leader_recovery_state,
            candidates: Candidates::InSync,
        }
    }

    /// Takes `id` out of the in-sync set.
    pub(super) fn without(mut self, id: NodeId) -> Target {
        self.isr.retain(|other| *other != id);
        self
    }

    pub(super) fn with_candidates(self, candidates: Candidates) -> Target {
        Target { candidates, ..self }
    }
}

/// The record that makes the partition what it is to become. `None`: nothing changes.
pub(super) fn change(view: &View<'_>, topic: &Topic, index: i32, target: Target) -> Option<MetadataRecord> {
    let partition = topic.partitions.get(&index)?;
    Rules::of(view, topic, BrokerChange::None).change(partition, topic.id, index, target)
}

/// The first record of a partition: the first replica that is alive leads.
pub(super) fn new_partition(topic_id: TopicId, partition_id: i32, placement: Placement) -> MetadataRecord {
    MetadataRecord::Partition(PartitionRecord {
        partition_id,
        topic_id,
        directories: placement.directories,
        leader: placement.isr.first().copied(),
        replicas: placement.replicas,
        isr: placement.isr,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        ..PartitionRecord::default()
    })
}

/// A broker has lost directories: its replicas there leave the in-sync sets, and others lead on where they can.
pub(super) fn directories_lost(view: &View<'_>, broker: NodeId, lost: &[DirectoryId]) -> Vec<MetadataRecord> {
    let was_there = |partition: &Partition| partition.directory(broker).is_some_and(|d| lost.contains(&d));
    each(view, BrokerChange::Leaves(broker), was_there, |partition| Target::of(partition).without(broker))
}

/// Directories of a broker have no room: its replicas there leave the in-sync sets, where another member can lead and has room. Where
/// none has, nothing is gained by a change: the leader goes on, and takes records once it has room.
pub(super) fn directories_full(view: &View<'_>, broker: NodeId, full: &[DirectoryId]) -> Vec<MetadataRecord> {
    let goes_on = |partition: &Partition, id: &NodeId| {
        let known = view.image.broker(*id).filter(|known| *id != broker && known.is_active());
        let directory = partition.directory(*id);
        known.is_some_and(|known| directory.is_none_or(|d| known.has_online(d)))
            && !is_full(view, partition, *id)
    };
    let Some(known) = view.image.broker(broker) else { return Vec::new() };
    let concerned = |partition: &Partition| {
        is_in_sync(partition, broker)
            && partition.directory(broker).is_some_and(|directory| known.has_full(directory, full))
            && partition.isr.iter().any(|id| goes_on(partition, id))
    };
    let without = |partition: &Partition| Target::of(partition).without(broker);
    let mut records = each(view, BrokerChange::Leaves(broker), concerned, without);
    records.truncate(FULL_MAX);
    records
}

/// Where the metadata log shares the disk, what is set aside for it has room for so many changes at once. The next heartbeat finds the
/// others.
const FULL_MAX: usize = 4_000;

/// Whether a replica is where its broker has said that there is no room.
pub(super) fn is_full(view: &View<'_>, partition: &Partition, id: NodeId) -> bool {
    partition.directory(id).is_some_and(|directory| view.sessions.is_full(view.image, id, directory))
}

/// A broker is fenced or shuts down: it leaves the in-sync sets, and others lead on where they can.
pub(super) fn broker_gone(view: &View<'_>, broker: NodeId) -> Vec<MetadataRecord> {
    let concerned = |partition: &Partition| is_in_sync(partition, broker);
    each(view, BrokerChange::Leaves(broker), concerned, |partition| Target::of(partition).without(broker))
}

/// A broker is gone for good, or what it had may be incomplete: it is not even eligible to lead.
pub(super) fn broker_lost(view: &View<'_>, broker: NodeId) -> Vec<MetadataRecord> {
    let concerned = |partition: &Partition| is_in_sync(partition, broker) || partition.elr.contains(&broker);
    each(view, BrokerChange::Leaves(broker), concerned, |partition| Target {
        doubtful: Some(broker),
        ..Target::of(partition).without(broker)
    })
}

/// Another process of a broker registers. Where the one before has not proven that it stopped cleanly, the broker may
/// have lost the last records that it acknowledged.
pub(super) fn broker_restarted(
    view: &View<'_>,
    broker: NodeId,
    stopped_cleanly: bool,
) -> Vec<MetadataRecord> {
    match view.knows_eligible_leaders() && !stopped_cleanly {
        true => broker_lost(view, broker),
        false => broker_gone(view, broker),
    }
}

fn is_in_sync(partition: &Partition, broker: NodeId) -> bool {
    partition.isr.contains(&broker) || partition.leader == Some(broker)
}

/// A broker is back: partitions without a leader may have one again. What the broker led before it went it leads under
/// a new epoch, because its log may have lost what was not flushed, and a consumer that has read further must be able
/// to tell (KIP-320).
pub(super) fn broker_returned(view: &View<'_>, broker: NodeId) -> Vec<MetadataRecord> {
    let vacant = |partition: &Partition| partition.leader.is_none_or(|leader| leader == broker);
    each(view, BrokerChange::Returns(broker), vacant, Target::of)
}

/// How the leader of this topic's partitions is found when the old one is gone.
pub(super) fn candidates(view: &View<'_>, topic: &Topic) -> Candidates {
    if may_elect_uncleanly(view, topic) { Candidates::Anybody } else { Candidates::InSync }
}

/// Whether a replica that is not in sync may lead rather than nobody.
pub(super) fn may_elect_uncleanly(view: &View<'_>, topic: &Topic) -> bool {
    match setting(view, topic, UNCLEAN_LEADER_ELECTION_ENABLE) {
        Some(value) => value.trim().eq_ignore_ascii_case("true"),
        None => view.config.topic_defaults.unclean_leader_election_enable,
    }
}

fn each(
    view: &View<'_>,
    broker_change: BrokerChange,
    concerned: impl Fn(&Partition) -> bool,
    target: impl Fn(&Partition) -> Target,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in view.image.topics() {
        let mut partitions = topic.partitions.iter().filter(|(_, p)| concerned(p)).peekable();
        if partitions.peek().is_none() {
            continue;
        }
        let rules = Rules::of(view, topic, broker_change);
        let candidates = candidates(view, topic);
        records.extend(partitions.filter_map(|(index, partition)| {
            rules.change(partition, topic.id, *index, target(partition).with_candidates(candidates))
        }));
    }
    records
}

// The topic's own value, or that of the node that decides, or that of all brokers.
fn setting<'a>(view: &View<'a>, topic: &Topic, key: &str) -> Option<&'a str> {
    let node = view.config.node_id.to_string();
    let places =
        [(ResourceType::Topic, &*topic.name), (ResourceType::Broker, &*node), (ResourceType::Broker, "")];
    places.into_iter().find_map(|(kind, name)| view.image.configs(kind, name)?.get(key)).map(String::as_str)
}

/// The broker whose state changes with this decision. The image does not show it yet.
#[derive(Clone, Copy)]
enum BrokerChange {
    None,
    Leaves(NodeId),
    Returns(NodeId),
}

/// What the cluster and the topic say about leading its partitions.
struct Rules<'a> {
    image: &'a Image,
    sessions: &'a Sessions,
    broker_change: BrokerChange,
    min_insync_replicas: usize,
    /// Whether eligible leader replicas are in use.
    eligible: bool,
    directories: bool,
    /// Up to 3.5 brokers missed a shrinking in-sync set whose leader epoch stayed (KAFKA-15021).
    epoch_rises_as_isr_shrinks: bool,
}

struct Elected {
    leader: NodeId,
    /// It may lack records that were acknowledged.
    unclean: bool,
}

impl Rules<'_> {
    fn of<'a>(view: &View<'a>, topic: &Topic, broker_change: BrokerChange) -> Rules<'a> {
        let image = view.image;
        let min_insync_replicas =
            setting(view, topic, MIN_INSYNC_REPLICAS).and_then(|value| value.parse().ok());
        let default = || usize::try_from(view.config.topic_defaults.min_insync_replicas).unwrap_or(1);
        let level = image.metadata_version();
        Rules {
            image,
            sessions: view.sessions,
            broker_change,
            min_insync_replicas: min_insync_replicas.unwrap_or_else(default),
            eligible: view.knows_eligible_leaders(),
            directories: view.knows_directories(),
            epoch_rises_as_isr_shrinks: level
                .is_some_and(|level| level < MetadataVersion::NO_EPOCH_BUMP_ON_SHRINK),
        }
    }

    fn change(
        &self,
        partition: &Partition,
        topic_id: TopicId,
        partition_id: i32,
        target: Target,
    ) -> Option<MetadataRecord> {
        let nothing = PartitionChangeRecord { partition_id, topic_id, ..PartitionChangeRecord::default() };
        let mut record = nothing.clone();
        let target = target.completed();
        let elected = self.elect(partition, &target);
        let next = elected.as_ref().map(|elected| elected.leader);
        let new_term = next != partition.leader || self.is_back(next);
        let isr = match &elected {
            Some(elected) if new_term && (elected.unclean || !target.isr.contains(&elected.leader)) => {
                vec![elected.leader]
            }
            _ => target.isr.clone(),
        };
        let unclean = new_term && elected.is_some_and(|elected| elected.unclean);
        if new_term {
            record.leader = leader_change(next);
        }
        let recovery = if unclean { LEADER_RECOVERING } else { target.recovery };
        if recovery != partition.leader_recovery_state {
            record.leader_recovery_state = recovery;
        }
        let elr = if unclean { Vec::new() } else { self.eligible_beside(partition, &target, &isr) };
        record.eligible_leader_replicas = (elr != partition.elr).then_some(elr);
        // Without eligible leader replicas the last of the in-sync set stays in it: it is all that is known.
        let may_be_empty = self.eligible;
        record.isr = (isr != partition.isr && (may_be_empty || !isr.is_empty())).then_some(isr);
        self.raise_epoch(partition, &target, &mut record);
        record.last_known_elr = self.last_known(partition, record.leader);
        self.assign(partition, target, &mut record);
        (record != nothing).then_some(MetadataRecord::PartitionChange(record))
    }

    fn elect(&self, partition: &Partition, target: &Target) -> Option<Elected> {
        let elr = self.eligible_beside(partition, target, &target.isr);
        let in_sync = if target.isr.is_empty() { &elr } else { &target.isr };
        let alive = |id: &NodeId| self.may_lead(partition, target, *id);
        let clean = |id: &NodeId| in_sync.contains(id) && alive(id);
        let preferred = target.replicas.first().filter(|_| target.candidates == Candidates::PreferredFirst);
        let in_order = preferred.into_iter().chain(&partition.leader).chain(&target.replicas).copied();
        // Whoever has no room refuses all records, so another one is better.
        let with_room = in_order.clone().find(|id| clean(id) && self.has_room(partition, target, *id));
        if let Some(leader) = with_room.or_else(|| in_order.clone().find(clean)) {
            return Some(Elected { leader, unclean: false });
        }
        // Where nobody is in sync and nobody is eligible, the last leader is as good as any.
        let last_leader = match partition.last_known_elr.as_slice() {
            [last] if self.eligible && in_sync.is_empty() && target.replicas.contains(last) => Some(*last),
            _ => None,
        };
        let anybody = match target.candidates {
            Candidates::Anybody => target.replicas.as_slice(),
            Candidates::PreferredFirst | Candidates::InSync => &[],
        };
        let leader = last_leader.into_iter().chain(anybody.iter().copied()).find(alive)?;
        Some(Elected { leader, unclean: true })
    }

    fn may_lead(&self, partition: &Partition, target: &Target, id: NodeId) -> bool {
        let Some(broker) = self.image.broker(id) else { return false };
        let alive = match self.broker_change {
            BrokerChange::Leaves(leaving) if leaving == id => false,
            BrokerChange::Returns(returning) if returning == id => true,
            _ => broker.is_active(),
        };
        alive && target.directory(partition, id).is_none_or(|directory| broker.has_online(directory))
    }

    fn has_room(&self, partition: &Partition, target: &Target, id: NodeId) -> bool {
        let directory = target.directory(partition, id);
        directory.is_none_or(|directory| !self.sessions.is_full(self.image, id, directory))
    }

    fn is_back(&self, leader: Option<NodeId>) -> bool {
        matches!(self.broker_change, BrokerChange::Returns(returning) if leader == Some(returning))
    }

    // A replica that leaves the in-sync set while that is below its minimum has everything that was acknowledged, until
    // the set reaches the minimum again. The minimum is at most the number of replicas. A replica that leaves the
    // partition is eligible no more, which Kafka forgets: if it came back later it would lead without its records.
    fn eligible_beside(&self, partition: &Partition, target: &Target, isr: &[NodeId]) -> Vec<NodeId> {
        if !self.eligible || isr.len() >= self.min_insync_replicas.min(target.replicas.len()) {
            return Vec::new();
        }
        let before = partition.elr.iter().chain(&partition.isr).copied();
        let eligible =
            |id: &NodeId| !isr.contains(id) && target.replicas.contains(id) && target.doubtful != Some(*id);
        let mut elr: Vec<NodeId> = before.filter(eligible).collect();
        elr.sort();
        elr.dedup();
        elr
    }

    // Naming the leader raises its epoch, even if it is the same one. Who leaves the partition must hear of it.
    fn raise_epoch(&self, partition: &Partition, target: &Target, record: &mut PartitionChangeRecord) {
        let loses = |before: &[NodeId], after: &[NodeId]| before.iter().any(|id| !after.contains(id));
        let shrinks = record.isr.as_ref().is_some_and(|isr| loses(&partition.isr, isr));
        let leaves = loses(&partition.replicas, &target.replicas);
        if record.leader == LeaderChange::Unchanged
            && (leaves || (shrinks && self.epoch_rises_as_isr_shrinks))
        {
            record.leader = leader_change(partition.leader);
        }
    }

    // The last leader is remembered from the moment that nobody leads until somebody does.
    fn last_known(&self, partition: &Partition, leader: LeaderChange) -> Option<Vec<NodeId>> {
        match (leader, partition.leader) {
            (LeaderChange::Nobody, Some(last)) if partition.last_known_elr.is_empty() => Some(vec![last]),
            (LeaderChange::To(_), _) if !partition.last_known_elr.is_empty() => Some(Vec::new()),
            _ => None,
        }
        .filter(|_| self.eligible)
    }

    fn assign(&self, partition: &Partition, target: Target, record: &mut PartitionChangeRecord) {
        let directory = |id: &NodeId| target.directory(partition, *id).unwrap_or(DIRECTORY_UNASSIGNED);
        let directories: Vec<DirectoryId> = target.replicas.iter().map(directory).collect();
        // Both lists always have the same length, whatever else changes.
        let moves = target.replicas != partition.replicas || directories != partition.directories;
        record.directories = (self.directories && moves).then_some(directories);
        record.replicas = (target.replicas != partition.replicas).then_some(target.replicas);
        record.removing_replicas = (target.removing != partition.removing).then_some(target.removing);
        record.adding_replicas = (target.adding != partition.adding).then_some(target.adding);
    }
}

impl Target {
    /// The end of a move, if the in-sync set has all that it needs: every replica that is added, and at least one that
    /// stays. Where there will be fewer replicas than before, every one that stays: the set must not shrink more than
    /// the number does.
    fn completed(self) -> Target {
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
        Target { replicas, isr, removing: Vec::new(), adding: Vec::new(), ..self }
    }

    fn directory(&self, partition: &Partition, id: NodeId) -> Option<DirectoryId> {
        let moved = self.directories.iter().find(|(replica, _)| *replica == id).map(|(_, to)| *to);
        moved.or_else(|| partition.directory(id))
    }
}

fn leader_change(leader: Option<NodeId>) -> LeaderChange {
    leader.map_or(LeaderChange::Nobody, LeaderChange::To)
}
