//! What the controller decides, told as rows.

mod admin;
mod brokers;
mod directories;
mod duties;
mod features;
mod leadership;
mod placement;
mod proposals;
mod reassignments;

use std::sync::Arc;

use ottla_model::config::{Sources, load};
use ottla_model::dice::Dice;
use ottla_model::feature::ELIGIBLE_LEADER_REPLICAS_VERSION;
use ottla_model::image::{Endpoint, FeatureRange, Image};
use ottla_model::record::{FeatureLevelRecord, LeaderChange, PartitionChangeRecord};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_protocol::{ErrorCode, LeaderEpoch};
use uuid::Uuid;

use super::*;
use crate::question::Question;

/// A controller whose every decision is agreed on at once.
struct Cluster {
    image: Image,
    sessions: Sessions,
    now_ms: i64,
    dice: Dice,
    config: BrokerConfig,
}

impl Cluster {
    fn new(brokers: i32) -> Cluster {
        let overrides = [("num.partitions".to_owned(), "3".to_owned())];
        let sources = Sources { file: None, env: Vec::new(), overrides: &overrides };
        let (config, _) = load(sources).expect("Kafka's own defaults");
        let sessions = Sessions::new(config.broker_session_timeout_ms.into());
        let mut cluster = Cluster { image: Image::empty(), sessions, now_ms: 0, dice: Dice(0), config };
        for id in 1..=brokers {
            let epoch = cluster.register(id, u128::from(id as u32)).expect("a new broker");
            cluster.beat(id, epoch).expect("it is registered");
        }
        cluster
    }

    fn ask<Q: Question<Command = Command, Reply = Reply>>(&mut self, question: Q) -> Q::Answer {
        let Decision { records, answer } = self.with_view(|view| decide(view, question.command()));
        self.apply(&records);
        Q::answer(answer)
    }

    fn with_view<T>(&mut self, act: impl FnOnce(&mut View<'_>) -> T) -> T {
        let dice = &mut self.dice;
        let mut chance = || dice.roll();
        act(&mut View {
            image: &self.image,
            next_offset: self.image.offset + 1,
            now_ms: self.now_ms,
            sessions: &self.sessions,
            kraft_version: 0,
            may_voters_change: &|| Err("Not all voters are known.".into()),
            voters: &[NodeId(1)],
            config: &self.config,
            chance: &mut chance,
        })
    }

    fn apply(&mut self, records: &[MetadataRecord]) {
        for record in records {
            let offset = self.image.offset + 1;
            self.image.apply_in_place(offset, LeaderEpoch(1), record).expect("a decided record applies");
        }
    }

    fn register(&mut self, id: i32, incarnation: u128) -> Result<BrokerEpoch, ErrorCode> {
        self.ask(registration(id, incarnation)).map_err(|refusal| refusal.code)
    }

    /// A new process registers after a clean stop of the one before.
    fn register_cleanly(&mut self, id: i32, incarnation: u128) -> BrokerEpoch {
        let previous_epoch = Some(self.epoch(id));
        let registration = Registration { previous_epoch, ..registration(id, incarnation) };
        self.ask(registration).expect("it is registered")
    }

    fn epoch(&self, id: i32) -> BrokerEpoch {
        self.image.broker(NodeId(id)).expect("it is registered").epoch
    }

    fn beat(&mut self, id: i32, epoch: BrokerEpoch) -> Result<HeartbeatAnswer, Refusal> {
        self.hear(Heartbeat::of(NodeId(id), epoch, self.image.offset))
    }

    /// A heartbeat, which the controller keeps in mind.
    fn hear(&mut self, beat: Heartbeat) -> Result<HeartbeatAnswer, Refusal> {
        let id = beat.broker;
        let answer = self.ask(beat.clone())?;
        match answer.should_shut_down {
            true => self.sessions.forget(id),
            false => self.sessions.heard(&beat, self.now_ms),
        }
        if self.image.broker(id).is_some_and(|broker| broker.in_controlled_shutdown && !broker.fenced) {
            self.sessions.leaves(id, self.image.offset);
        }
        Ok(answer)
    }

    /// Everybody's session ends.
    fn wait(&mut self) {
        self.now_ms += i64::from(self.config.broker_session_timeout_ms) + 1;
    }

    fn create(&mut self, topic: NewTopic) -> Result<Created, ErrorCode> {
        let mut outcomes = self.ask(CreateTopics { topics: vec![topic], validate_only: false });
        outcomes.remove(0).1.map_err(|refusal| refusal.code)
    }
}

fn registration(id: i32, incarnation: u128) -> Registration {
    let endpoint =
        Endpoint { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092, security_protocol: 0 };
    Registration {
        id: NodeId(id),
        incarnation: Uuid::from_u128(incarnation),
        endpoints: vec![endpoint],
        rack: None,
        log_dirs: vec![home(id)],
        features: supported(),
        previous_epoch: None,
    }
}

/// The directory of a broker.
const fn home(id: i32) -> DirectoryId {
    Uuid::from_u128(1_000 + id as u128)
}

fn supported() -> Vec<FeatureRange> {
    let all = ottla_model::feature::supported(false);
    all.map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max }).collect()
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: Arc::from(name),
        partitions,
        replication_factor,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let replicas = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect();
    let assignments = assignments.iter().map(|(index, ids)| (*index, replicas(ids))).collect();
    NewTopic { assignments, ..topic(name, -1, -1) }
}

fn configured(key: &str, value: Option<&str>) -> NewTopic {
    let configs = vec![(key.to_owned(), value.map(str::to_owned))];
    NewTopic { configs, ..topic("configured", 1, 1) }
}

#[test]
fn topics_are_created_or_refused_as_kafka_does() {
    use ErrorCode::{
        InvalidConfig, InvalidPartitions, InvalidReplicaAssignment, InvalidReplicationFactor, InvalidRequest,
        InvalidTopicException, PolicyViolation, TopicAlreadyExists,
    };
    let rows = [
        ("defaults", topic("a", -1, -1), Ok(3)),
        ("numbers", topic("a", 7, 2), Ok(7)),
        ("more replicas than brokers", topic("a", 1, 4), Err(InvalidReplicationFactor)),
        ("no replicas", topic("a", 1, 0), Err(InvalidReplicationFactor)),
        ("no partitions", topic("a", 0, 1), Err(InvalidPartitions)),
        ("negative partitions", topic("a", -2, 1), Err(InvalidPartitions)),
        ("too many partitions at once", topic("a", 10_001, 1), Err(PolicyViolation)),
        ("a bad name", topic("a b", 1, 1), Err(InvalidTopicException)),
        ("an empty name", topic("", 1, 1), Err(InvalidTopicException)),
        ("a name that is there", topic("there.is", 1, 1), Err(TopicAlreadyExists)),
        ("a name that collides", topic("there_is", 1, 1), Err(InvalidTopicException)),
        ("by hand", assigned("a", &[(0, &[1, 2]), (1, &[2, 3])]), Ok(2)),
        ("by hand, with a gap", assigned("a", &[(0, &[1]), (2, &[1])]), Err(InvalidReplicaAssignment)),
        ("by hand, uneven", assigned("a", &[(0, &[1]), (1, &[1, 2])]), Err(InvalidReplicaAssignment)),
        ("by hand, to nobody", assigned("a", &[(0, &[])]), Err(InvalidReplicaAssignment)),
        ("by hand, to a stranger", assigned("a", &[(0, &[9])]), Err(InvalidReplicaAssignment)),
        ("by hand, twice to one", assigned("a", &[(0, &[1, 1])]), Err(InvalidReplicaAssignment)),
        ("by hand, a partition twice", assigned("a", &[(0, &[1]), (0, &[2])]), Err(InvalidReplicaAssignment)),
        (
            "by hand and by number",
            NewTopic { partitions: 1, ..assigned("a", &[(0, &[1])]) },
            Err(InvalidRequest),
        ),
        ("a config", configured("retention.ms", Some("1000")), Ok(1)),
        ("a config that does not exist", configured("retention", Some("1")), Err(InvalidConfig)),
        ("a config with a bad value", configured("retention.ms", Some("soon")), Err(InvalidConfig)),
        ("a config without a value", configured("retention.ms", None), Err(InvalidConfig)),
    ];
    for (story, asked, expected) in rows {
        let mut cluster = Cluster::new(3);
        cluster.create(topic("there.is", 1, 1)).expect("a first topic");
        let name = asked.name.clone();
        let outcome = cluster.create(asked);
        assert_eq!(outcome.clone().map(|created| created.partitions), expected, "{story}");
        if let Ok(created) = outcome {
            let known = cluster.image.topic(&name).expect(story);
            assert_eq!(
                (known.id, known.partitions.len() as i32),
                (created.id, created.partitions),
                "{story}"
            );
        }
    }
}

#[test]
fn leaders_go_round_the_brokers() {
    let mut cluster = Cluster::new(3);
    cluster.create(topic("a", 6, 2)).expect("created");
    let mut led: BTreeMap<i32, usize> = BTreeMap::new();
    for partition in cluster.image.topic("a").expect("there").partitions.values() {
        assert_eq!(partition.replicas.len(), 2);
        assert_ne!(partition.replicas[0], partition.replicas[1]);
        *led.entry(partition.leader.expect("a leader").0).or_default() += 1;
    }
    assert_eq!(led.into_values().collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn trying_out_creates_nothing() {
    let mut cluster = Cluster::new(1);
    let before = cluster.image.clone();
    let outcomes = cluster.ask(CreateTopics { topics: vec![topic("a", 1, 1)], validate_only: true });
    assert!(outcomes[0].1.is_ok());
    assert_eq!(cluster.image, before);
}

#[test]
fn deleting_is_by_id_and_once() {
    let mut cluster = Cluster::new(1);
    let id = cluster.create(topic("a", 1, 1)).expect("created").id;
    let stranger = Uuid::from_u128(77);
    let outcomes = cluster.ask(DeleteTopics { topics: vec![id, stranger, id] });
    let codes: Vec<_> = outcomes.into_iter().map(|(_, o)| o.map_err(|refusal| refusal.code)).collect();
    assert_eq!(codes, [Ok(()), Err(ErrorCode::UnknownTopicId), Err(ErrorCode::UnknownTopicId)]);
    assert!(cluster.image.topic("a").is_none());
}

#[test]
fn a_second_process_with_the_same_id_has_to_wait() {
    let mut cluster = Cluster::new(1);
    assert_eq!(cluster.register(1, 2), Err(ErrorCode::DuplicateBrokerRegistration));
    cluster.wait();
    assert!(cluster.register(1, 2).is_ok(), "the first one is not heard of any more");
}

#[test]
fn a_broker_that_is_back_leads_under_a_new_epoch() {
    let mut cluster = Cluster::new(1);
    cluster.create(topic("a", 1, 1)).expect("created");
    let epoch = |cluster: &Cluster| cluster.image.partition("a", 0).expect("there").leader_epoch;
    assert_eq!(epoch(&cluster), LeaderEpoch(0));
    cluster.wait();
    let broker_epoch = cluster.register(1, 2).expect("back");
    let leader = cluster.image.partition("a", 0).expect("there").leader;
    assert_eq!(leader, None, "nothing is led before the broker is unfenced");
    cluster.beat(1, broker_epoch).expect("it is registered");
    assert_eq!(epoch(&cluster), LeaderEpoch(2));
}

// A Kafka node that shut down cleanly leaves its partitions like this.
#[test]
fn an_eligible_replica_leads_where_nobody_is_in_sync() {
    type Row<'a> = (&'a str, &'a [i32], &'a [i32], Option<i32>, &'a [i32]);
    let rows: [Row<'_>; 4] = [
        ("the only one that is eligible", &[1], &[1], Some(1), &[]),
        ("one of two, and the other stays eligible", &[1, 2], &[], Some(1), &[2]),
        ("nobody is eligible, and it was the last leader", &[], &[1], Some(1), &[]),
        ("another one is eligible", &[2], &[1], None, &[2]),
    ];
    for (story, elr, last_known, leader, elr_then) in rows {
        let mut cluster = Cluster::new(2);
        let ids = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let mut new = topic("a", 1, 2);
        let min_isr = if elr.len() > 1 { "2" } else { "1" };
        new.configs = vec![("min.insync.replicas".into(), Some(min_isr.into()))];
        let topic_id = cluster.create(new).expect("created").id;
        let name = ELIGIBLE_LEADER_REPLICAS_VERSION.to_owned();
        cluster.apply(&[MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level: 1 })]);
        let left = PartitionChangeRecord {
            partition_id: 0,
            topic_id,
            isr: Some(Vec::new()),
            leader: LeaderChange::Nobody,
            eligible_leader_replicas: Some(ids(elr)),
            last_known_elr: Some(ids(last_known)),
            ..PartitionChangeRecord::default()
        };
        cluster.apply(&[left.into()]);
        let epoch = cluster.image.broker(NodeId(2)).expect("there").epoch;
        let leaves = Heartbeat { want_fence: true, ..Heartbeat::of(NodeId(2), epoch, cluster.image.offset) };
        assert!(cluster.ask(leaves).is_ok(), "{story}");
        cluster.wait();
        let epoch = cluster.register_cleanly(1, 9);
        cluster.beat(1, epoch).expect("it is registered");
        let partition = cluster.image.partition("a", 0).expect("there");
        assert_eq!(partition.leader, leader.map(NodeId), "{story}");
        assert_eq!(partition.isr, leader.map_or(Vec::new(), |id| ids(&[id])), "{story}");
        assert_eq!(partition.elr, ids(elr_then), "{story}");
    }
}

#[test]
fn heartbeats_are_answered_only_to_the_registered() {
    let mut cluster = Cluster::new(1);
    let epoch = cluster.image.broker(NodeId(1)).expect("there").epoch;
    let rows = [
        (1, epoch, None),
        (1, BrokerEpoch(epoch.0 + 1), Some(ErrorCode::StaleBrokerEpoch)),
        (2, epoch, Some(ErrorCode::StaleBrokerEpoch)),
    ];
    for (id, epoch, expected) in rows {
        let outcome = cluster.beat(id, epoch);
        assert_eq!(outcome.err().map(|refusal| refusal.code), expected, "node {id}, {epoch:?}");
    }
}

#[test]
fn a_broker_is_fenced_until_it_has_seen_its_own_registration() {
    let mut cluster = Cluster::new(0);
    let epoch = cluster.register(1, 1).expect("new");
    let beat = |offset| Heartbeat::of(NodeId(1), epoch, offset);
    let rows = [(epoch.0 - 1, true), (epoch.0, false)];
    for (offset, fenced) in rows {
        let answer = cluster.ask(beat(offset)).expect("it is registered");
        assert_eq!(answer.fenced, fenced, "metadata offset {offset}");
        assert_eq!(cluster.image.broker(NodeId(1)).expect("there").fenced, fenced);
    }
}

#[test]
fn producer_ids_are_given_once() {
    let mut cluster = Cluster::new(2);
    let mut firsts = Vec::new();
    for id in [1, 2, 1] {
        let epoch = cluster.image.broker(NodeId(id)).expect("there").epoch;
        let block = cluster.ask(AllocateProducerIds { broker: NodeId(id), epoch }).expect("a block");
        firsts.push((block.first, block.len));
    }
    assert_eq!(firsts, [(0, 1000), (1000, 1000), (2000, 1000)]);
    let stale = AllocateProducerIds { broker: NodeId(1), epoch: BrokerEpoch(999) };
    let refused = cluster.ask(stale).map_err(|refusal| refusal.code);
    assert_eq!(refused, Err(ErrorCode::StaleBrokerEpoch));
}

#[test]
fn a_cluster_of_an_old_level_writes_no_directories() {
    for (level, knows) in [(7, false), (16, false), (17, true), (30, true)] {
        let mut cluster = Cluster::new(0);
        cluster.ask(Bootstrap { metadata_version: level, features: Vec::new() });
        let epoch = cluster.register(1, 1).expect("registered");
        cluster.beat(1, epoch).expect("it is registered");
        cluster.create(topic("t", 1, 1)).expect("created");
        // A record of that level must have a place for all that was decided.
        let version = MetadataVersion::from_level(level).expect("a level");
        for record in cluster.image.records() {
            assert!(record.encode_for(version).is_ok(), "level {level}: {record:?}");
        }
        let broker = cluster.image.broker(NodeId(1)).expect("registered");
        assert_eq!(!broker.log_dirs.is_empty(), knows, "level {level}");
    }
}

#[test]
fn a_cluster_is_bootstrapped_once() {
    let mut cluster = Cluster::new(0);
    for _ in 0..2 {
        cluster.ask(Bootstrap { metadata_version: 25, features: vec![("group.version".into(), 1)] });
        assert_eq!(cluster.image.feature("metadata.version"), 25);
        assert_eq!(cluster.image.offset, 1, "two records, and no more");
    }
}
