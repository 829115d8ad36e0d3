//! Replicas in several directories of their brokers, which fail and come back (KIP-858).

use ottla_model::DirectoryId;
use ottla_model::feature::MetadataVersion;

use super::*;

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
