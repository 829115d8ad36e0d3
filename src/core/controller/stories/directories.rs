//! Replicas in several directories of their brokers, which fail and come back (KIP-858).

use ottla_model::DirectoryId;
use ottla_model::feature::MetadataVersion;

use super::*;
use crate::partition::{InSyncMember, Proposal};

const GOOD: DirectoryId = Uuid::from_u128(1000);
const BAD: DirectoryId = Uuid::from_u128(2000);

impl Cluster {
    /// A new process of a broker that finds these directories.
    fn start(&mut self, id: i32, incarnation: u128, log_dirs: &[DirectoryId]) -> BrokerEpoch {
        self.sessions.forget(NodeId(id));
        let registration = Registration {
            id: NodeId(id),
            incarnation: Uuid::from_u128(incarnation),
            endpoints: Vec::new(),
            rack: None,
            log_dirs: log_dirs.to_vec(),
            features: supported(),
            previous_epoch: None,
        };
        self.ask(registration).expect("it is registered")
    }

    fn assign(
        &mut self,
        broker: i32,
        epoch: BrokerEpoch,
        partition: i32,
        to: DirectoryId,
    ) -> Result<(), ErrorCode> {
        let topic = self.image.topic("t").map_or(Uuid::nil(), |topic| topic.id);
        let assignments = vec![Assignment { directory: to, topic, partition }];
        let outcomes = self.ask(AssignReplicas { broker: NodeId(broker), epoch, assignments });
        outcomes.map_err(|refusal| refusal.code)?.remove(0)
    }

    fn lose(
        &mut self,
        broker: i32,
        epoch: BrokerEpoch,
        directories: &[DirectoryId],
    ) -> Result<(), ErrorCode> {
        let offline = directories.to_vec();
        let beat = Heartbeat { offline, ..Heartbeat::of(NodeId(broker), epoch, self.image.offset) };
        self.ask(beat).map(drop).map_err(|refusal| refusal.code)
    }

    /// Leader and directories of each partition.
    fn placed(&self) -> Vec<(Option<i32>, Vec<DirectoryId>)> {
        let partitions = self.image.topic("t").expect("it is there").partitions.values();
        partitions.map(|p| (p.leader.map(|id| id.0), p.directories.clone())).collect()
    }
}

#[test]
fn a_broker_says_where_its_replicas_live() {
    use ErrorCode::{
        NotLeaderOrFollower, StaleBrokerEpoch, UnknownTopicId, UnknownTopicOrPartition, UnsupportedVersion,
    };
    let mut cluster = Cluster::new(2);
    let epoch = cluster.start(1, 7, &[GOOD, BAD]);
    cluster.beat(1, epoch).expect("it is registered");
    assert_eq!(cluster.assign(1, epoch, 0, BAD), Err(UnknownTopicId));
    cluster.create(assigned("t", &[(0, &[1]), (1, &[1]), (2, &[2])])).expect("created");
    let unassigned = ottla_model::DIRECTORY_UNASSIGNED;
    assert_eq!(cluster.placed()[0], (Some(1), vec![unassigned]), "the broker chooses");
    assert_eq!(cluster.assign(1, epoch, 0, BAD), Ok(()));
    assert_eq!(cluster.placed()[0], (Some(1), vec![BAD]));
    let before = cluster.image.offset;
    assert_eq!(cluster.assign(1, epoch, 0, BAD), Ok(()));
    assert_eq!(cluster.image.offset, before, "nothing new is nothing to write");
    assert_eq!(cluster.assign(1, epoch, 9, BAD), Err(UnknownTopicOrPartition));
    assert_eq!(cluster.assign(1, epoch, 2, BAD), Err(NotLeaderOrFollower), "it is another's");
    assert_eq!(cluster.assign(1, BrokerEpoch(0), 0, BAD), Err(StaleBrokerEpoch));
    assert_eq!(cluster.assign(9, epoch, 0, BAD), Err(StaleBrokerEpoch));
    // Before 3.7 there was no way to write it down.
    let metadata_version = MetadataVersion::DIRECTORIES.level() - 1;
    cluster.ask(Bootstrap { metadata_version, features: Vec::new() });
    assert_eq!(cluster.assign(1, epoch, 0, GOOD), Err(UnsupportedVersion));
    assert_eq!(cluster.lose(1, epoch, &[GOOD]), Ok(()));
    assert_eq!(cluster.image.broker(NodeId(1)).expect("registered").log_dirs, [GOOD, BAD], "nor this");
}

#[test]
fn a_failed_directory_takes_the_lead_from_what_lives_in_it_until_it_is_back() {
    let mut cluster = Cluster::new(0);
    let epoch = cluster.start(1, 7, &[GOOD, BAD]);
    cluster.beat(1, epoch).expect("it is registered");
    cluster.create(topic("t", 3, 1)).expect("created");
    for (partition, directory) in [(0, GOOD), (1, BAD), (2, BAD)] {
        cluster.assign(1, epoch, partition, directory).expect("assigned");
    }
    assert_eq!(cluster.lose(1, epoch, &[BAD]), Ok(()));
    let lost = [(Some(1), vec![GOOD]), (None, vec![BAD]), (None, vec![BAD])];
    assert_eq!(cluster.placed(), lost);
    assert_eq!(cluster.image.broker(NodeId(1)).expect("registered").log_dirs, [GOOD]);
    let before = cluster.image.offset;
    assert_eq!(cluster.lose(1, epoch, &[BAD]), Ok(()));
    assert_eq!(cluster.image.offset, before, "it is known");

    // It starts without the directory: nothing changes, but for what it finds elsewhere.
    let epoch = cluster.start(1, 8, &[GOOD]);
    cluster.assign(1, epoch, 2, GOOD).expect("assigned");
    cluster.beat(1, epoch).expect("it is registered");
    assert_eq!(cluster.placed(), [(Some(1), vec![GOOD]), (None, vec![BAD]), (Some(1), vec![GOOD])]);

    let epoch = cluster.start(1, 9, &[GOOD, BAD]);
    cluster.beat(1, epoch).expect("it is registered");
    assert_eq!(cluster.placed(), [(Some(1), vec![GOOD]), (Some(1), vec![BAD]), (Some(1), vec![GOOD])]);
}

#[test]
fn another_replica_of_the_in_sync_set_leads_on() {
    let mut cluster = Cluster::new(2);
    let epoch = cluster.start(1, 7, &[GOOD, BAD]);
    cluster.beat(1, epoch).expect("it is registered");
    cluster.create(assigned("t", &[(0, &[1, 2]), (1, &[2, 1])])).expect("created");
    for partition in [0, 1] {
        cluster.assign(1, epoch, partition, BAD).expect("assigned");
    }
    assert_eq!(cluster.lose(1, epoch, &[BAD]), Ok(()));
    let partitions = &cluster.image.topic("t").expect("it is there").partitions;
    let seen = |index: i32| (partitions[&index].leader, partitions[&index].isr.clone());
    assert_eq!(seen(0), (Some(NodeId(2)), vec![NodeId(2)]));
    assert_eq!(seen(1), (Some(NodeId(2)), vec![NodeId(2)]), "a follower leaves the in-sync set");
}

impl Cluster {
    /// A heartbeat that says that the broker's only directory is full, or has room.
    fn beat_full(&mut self, id: i32, full: bool) {
        let full = if full { vec![home(id)] } else { Vec::new() };
        let beat = Heartbeat { full, ..Heartbeat::of(NodeId(id), self.epoch(id), self.image.offset) };
        assert!(!self.hear(beat).expect("it is registered").fenced);
    }

    /// Leader and in-sync set of each partition.
    fn led(&self) -> Vec<(i32, Vec<i32>)> {
        let partitions = self.image.topic("t").expect("it is there").partitions.values();
        let of = |p: &ottla_model::image::Partition| {
            (p.leader.map_or(-1, |id| id.0), p.isr.iter().map(|id| id.0).collect())
        };
        partitions.map(|p| of(p)).collect()
    }
}

#[test]
fn what_a_full_directory_led_somebody_with_room_leads() {
    let mut cluster = Cluster::new(3);
    cluster.create(assigned("t", &[(0, &[1, 2, 3]), (1, &[2, 1, 3])])).expect("created");
    cluster.beat_full(1, true);
    assert_eq!(cluster.led(), [(2, vec![2, 3]), (2, vec![2, 3])], "a follower leaves the in-sync set");
    let before = cluster.image.offset;
    cluster.beat_full(1, true);
    assert_eq!(cluster.image.offset, before, "nothing new is nothing to write");

    // It cannot come back before it has room.
    let join = |cluster: &mut Cluster| {
        let (topic, partition) =
            (cluster.image.topic("t").expect("there").id, cluster.image.partition("t", 0));
        let partition = partition.expect("it is there");
        let isr = [2, 3, 1].map(|id| InSyncMember { replica: NodeId(id), broker_epoch: None }).to_vec();
        let (leader_epoch, partition_epoch) = (partition.leader_epoch, partition.partition_epoch);
        let proposal = Proposal { leader_epoch, partition_epoch, isr };
        let proposals = vec![IsrProposal { topic, partition: 0, proposal, recovering: false }];
        let asked = AlterPartition { broker: NodeId(2), epoch: cluster.epoch(2), proposals };
        cluster.ask(asked).expect("the broker is known").remove(0).map(drop)
    };
    assert_eq!(join(&mut cluster), Err(ErrorCode::IneligibleReplica));
    cluster.beat_full(1, false);
    assert_eq!(join(&mut cluster), Ok(()));
    assert_eq!(cluster.led()[0], (2, vec![2, 3, 1]));

    // Without room it is not even elected as the one who is preferred.
    let prefer = |cluster: &mut Cluster| {
        let records = cluster.with_view(|view| perform(view, Duty::ElectPreferred));
        cluster.apply(&records);
        cluster.led()[0].0
    };
    let beat = Heartbeat::of(NodeId(1), cluster.epoch(1), cluster.image.offset);
    cluster.sessions.heard(&Heartbeat { full: vec![home(1)], ..beat }, 0);
    assert_eq!(prefer(&mut cluster), 2);
    cluster.beat_full(1, false);
    assert_eq!(prefer(&mut cluster), 1);
}

#[test]
fn a_replica_that_is_in_no_directory_yet_has_room_where_any_has() {
    let mut cluster = Cluster::new(2);
    let epoch = cluster.start(1, 7, &[GOOD, BAD]);
    cluster.beat(1, epoch).expect("it is registered");
    cluster.create(assigned("t", &[(0, &[1, 2])])).expect("created");
    for (full, expected) in [(vec![BAD], (1, vec![1, 2])), (vec![BAD, GOOD], (2, vec![2]))] {
        let beat = Heartbeat { full, ..Heartbeat::of(NodeId(1), epoch, cluster.image.offset) };
        cluster.hear(beat).expect("it is registered");
        assert_eq!(cluster.led(), [expected]);
    }
}

#[test]
fn a_heartbeat_changes_no_more_than_the_metadata_logs_reserve_takes() {
    for (partitions, left) in [(3_999, 0), (4_000, 0), (4_001, 1)] {
        let mut cluster = Cluster::new(2);
        cluster.create(topic("t", partitions, 2)).expect("created");
        let not_moved = |cluster: &Cluster| cluster.led().iter().filter(|(_, isr)| isr.contains(&1)).count();
        cluster.beat_full(1, true);
        assert_eq!(not_moved(&cluster), left, "{partitions}");
        cluster.beat_full(1, true);
        assert_eq!(not_moved(&cluster), 0, "{partitions}: the next one finds the others");
    }
}

#[test]
fn where_nobody_has_room_nothing_changes() {
    let mut cluster = Cluster::new(3);
    cluster.create(assigned("t", &[(0, &[1, 2, 3])])).expect("created");
    for (full, expected) in [(3, (1, vec![1, 2])), (2, (1, vec![1])), (1, (1, vec![1]))] {
        cluster.beat_full(full, true);
        assert_eq!(cluster.led(), [expected], "{full} has no room either");
    }
    // Another directory of the same broker is another matter.
    let epoch = cluster.epoch(1);
    let beat = Heartbeat { full: vec![GOOD], ..Heartbeat::of(NodeId(1), epoch, cluster.image.offset) };
    cluster.hear(beat).expect("it is registered");
    assert_eq!(cluster.led(), [(1, vec![1])]);
    // The next process says it anew.
    cluster.sessions.forget(NodeId(1));
    let epoch = cluster.register_cleanly(1, 70);
    cluster.beat(1, epoch).expect("it is registered");
    assert!(!cluster.sessions.is_full(&cluster.image, NodeId(1), home(1)));
}
