//! A controller over its log, through snapshots and restarts.

use std::path::{Path, PathBuf};

use ottla_core::controller::{Bootstrap, CreateTopics, Heartbeat, NewTopic, Registration};
use ottla_core::question::Question;
use ottla_log::Disk;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{Log, Opening};
use ottla_model::config::{Sources, TopicConfig, load};
use ottla_model::image::FeatureRange;
use ottla_model::{CLUSTER_METADATA_TOPIC, METADATA_TOPIC_ID, TopicPartition};

use super::*;
use crate::quorum::{Keep, Membership, Store, Voters};

const DIR: &str = "/data/__cluster_metadata-0";

struct Stage {
    disk: MemoryDisk,
    controller: Controller<u32>,
    replies: Vec<u32>,
    snapshots: Vec<SnapshotId>,
    fenced: Vec<NodeId>,
    looked_for: Vec<Missing>,
}

impl Stage {
    fn open(disk: MemoryDisk, founders: Membership) -> Result<Stage, QuorumError> {
        let config = Arc::new(TopicConfig {
            segment_bytes: 16_000,
            retention_bytes: -1,
            retention_ms: -1,
            max_message_bytes: i32::MAX,
            ..TopicConfig::default()
        });
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, _) = Log::open(Opening {
            disk: shared.clone(),
            dir: PathBuf::from(DIR),
            partition: TopicPartition::new(CLUSTER_METADATA_TOPIC, 0),
            topic_id: Some(METADATA_TOPIC_ID),
            config: config.clone(),
            clean_shutdown: false,
            recovery_point: 0,
            log_start: 0,
            now_ms: 0,
            producer_id_expiration_ms: i64::MAX,
            jitter_seed: 0,
        })?;
        let voters = Voters { founders, ..Voters::only(NodeId(1)) };
        let store = Store::open(shared, log, config, voters.clone())?;
        // Other numbers in each life.
        let mut draws = store.next_offset() as u64 * 1_000;
        let settings = Settings {
            config: kafkas_own(),
            snapshots: Snapshots { bytes: 3_000, interval_ms: 0, keep: Keep { bytes: 6_000, ms: -1 } },
            bootstrap: Bootstrap { metadata_version: 25, features: Vec::new() },
            chance: Box::new(move || {
                draws += 1;
                draws.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }),
        };
        let controller = Controller::new(Quorum::new(store, &voters, Box::new(|| 0))?, settings);
        let mut stage = Stage {
            disk,
            controller,
            replies: Vec::new(),
            snapshots: Vec::new(),
            fenced: Vec::new(),
            looked_for: Vec::new(),
        };
        let mut out = Vec::new();
        stage.controller.settle(0, &mut out).expect("it settles");
        stage.carry_out(out);
        Ok(stage)
    }

    fn carry_out(&mut self, out: Vec<Output<u32>>) {
        for output in out {
            match output {
                Output::Reply { token, .. } => self.replies.push(token),
                Output::Fenced(id) => self.fenced.push(id),
                Output::LookFor(missing) => self.looked_for.push(missing),
                Output::Published(_) | Output::Full(_) | Output::Refused(_) => {}
                Output::Send(message) => panic!("a sole voter says {message:?}"),
                Output::Ask(asked) => panic!("a sole voter asks {asked:?}"),
                Output::CannotFollow(refused) => panic!("a sole voter follows: {refused}"),
                Output::VotersChanged { .. } => {}
                Output::Snapshot(snapshot) => {
                    let id = snapshot.write(&self.disk).expect("the disk is well");
                    self.snapshots.push(id);
                    let mut out = Vec::new();
                    self.controller.step(0, Input::Snapshotted(Some(id)), &mut out).expect("it goes on");
                    self.carry_out(out);
                }
            }
        }
    }

    fn ask(&mut self, token: u32, question: impl Question<Command = Command>) {
        let mut out = Vec::new();
        let command = question.command();
        self.controller.step(0, Input::Command { token, command }, &mut out).expect("it goes on");
        self.carry_out(out);
    }

    fn tick(&mut self, now_ms: i64) {
        self.step(now_ms, Input::Tick);
    }

    fn step(&mut self, now_ms: i64, input: Input<u32>) {
        let mut out = Vec::new();
        self.controller.step(now_ms, input, &mut out).expect("it goes on");
        self.carry_out(out);
    }

    /// Another broker than this node's registers and is unfenced. Returns its epoch.
    fn second_broker(&mut self) -> BrokerEpoch {
        let other = Registration {
            id: NodeId(2),
            incarnation: uuid::Uuid::from_u128(77),
            endpoints: Vec::new(),
            rack: None,
            log_dirs: vec![uuid::Uuid::from_u128(2_000)],
            features: supported(),
            previous_epoch: None,
        };
        self.ask(5, other);
        let epoch = self.controller.image().broker(NodeId(2)).expect("registered").epoch;
        self.ask(6, Heartbeat::of(NodeId(2), epoch, self.controller.image().offset));
        epoch
    }

    fn live(&mut self, from: u32, to: u32) {
        let broker = Registration {
            id: NodeId(1),
            incarnation: uuid::Uuid::from_u128(u128::from(from) + 1),
            endpoints: Vec::new(),
            rack: None,
            log_dirs: vec![uuid::Uuid::from_u128(1_000)],
            features: supported(),
            previous_epoch: None,
        };
        self.ask(from, broker);
        let epoch = self.controller.image().broker(NodeId(1)).expect("registered").epoch;
        self.ask(from, Heartbeat::of(NodeId(1), epoch, self.controller.image().offset));
        for n in from..to {
            let config = ("retention.ms".to_owned(), Some(n.to_string()));
            let topic = NewTopic {
                name: format!("topic-{n}").into(),
                partitions: 1,
                replication_factor: 1,
                assignments: Vec::new(),
                configs: vec![config],
            };
            self.ask(n, CreateTopics { topics: vec![topic], validate_only: false });
        }
    }

    fn records(&self) -> Vec<MetadataRecord> {
        self.controller.image().records()
    }
}

fn supported() -> Vec<FeatureRange> {
    let all = ottla_model::feature::supported(false);
    all.map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max }).collect()
}

fn kafkas_own() -> BrokerConfig {
    let sources = Sources { file: None, env: Vec::new(), overrides: &[] };
    load(sources).expect("Kafka's own defaults").0
}

#[test]
fn an_image_survives_its_log_being_cut_off_behind_a_snapshot() {
    let mut stage = Stage::open(MemoryDisk::new(3), Membership::default()).expect("new");
    let mut asked = 0;
    for life in 1..=4 {
        let (before, from) = (stage.records(), asked);
        asked += 60;
        stage.live(from, asked);
        assert!(stage.records().len() > before.len(), "life {life}");
        assert!(!stage.snapshots.is_empty(), "life {life}: some were due");
        let log = stage.controller.quorum().store().log();
        assert!(log.log_start_offset() > 0 && log.size() < 40_000, "life {life}: {} bytes", log.size());
        let files = stage.disk.list(Path::new(DIR)).expect("the folder");
        let kept = files.iter().filter(|entry| entry.name.ends_with(".checkpoint")).count();
        assert_eq!(kept, 1, "life {life}: the newest is enough");

        let expected = stage.records();
        stage.disk.crash();
        stage = Stage::open(stage.disk, Membership::default()).expect("back");
        assert_eq!(stage.records(), expected, "life {life}");
    }
}

#[test]
fn a_log_that_lost_what_the_snapshot_holds_begins_after_it() {
    let mut stage = Stage::open(MemoryDisk::new(3), Membership::default()).expect("new");
    stage.live(0, 40);
    let newest = *stage.snapshots.last().expect("some");
    let disk = stage.disk;
    for entry in disk.list(Path::new(DIR)).expect("the folder") {
        let is_log = entry.name.ends_with(".log") || entry.name.ends_with("index");
        if is_log {
            disk.remove_file(&Path::new(DIR).join(entry.name)).expect("removed");
        }
    }
    let mut stage = Stage::open(disk, Membership::default()).expect("back");
    assert!(stage.controller.image().offset >= newest.end - 1);
    assert!(stage.controller.quorum().next_offset() > newest.end);
    let topics = stage.controller.image().topics().count();
    stage.live(100, 110);
    assert_eq!(stage.controller.image().topics().count(), topics + 10, "and it goes on");
}

#[test]
fn a_log_without_its_beginning_or_a_snapshot_is_refused() {
    let mut stage = Stage::open(MemoryDisk::new(3), Membership::default()).expect("new");
    stage.live(0, 400);
    let disk = stage.disk;
    for entry in disk.list(Path::new(DIR)).expect("the folder") {
        if entry.name.ends_with(".checkpoint") {
            disk.remove_file(&Path::new(DIR).join(entry.name)).expect("removed");
        }
    }
    let refused =
        Stage::open(disk, Membership::default()).err().expect("nobody knows what was before").to_string();
    assert!(refused.contains("there is no snapshot"), "{refused}");
}

#[test]
fn the_first_batch_founds_the_quorum_and_snapshots_remember_it() {
    use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters, VoterNode};
    let (directory_id, endpoints) = Default::default();
    let me = VoterNode { id: 1, directory_id, endpoints, kraft_version_min: 0, kraft_version_max: 1 };
    let founders = Membership {
        version: Some(KRaftVersion { version: 0, kraft_version: 1 }),
        voters: Some(KRaftVoters { version: 0, voters: vec![me] }),
    };
    let mut stage = Stage::open(MemoryDisk::new(3), founders.clone()).expect("new");
    stage.live(0, 80);
    assert!(!stage.snapshots.is_empty());
    for _ in 0..2 {
        assert_eq!(*stage.controller.quorum().membership(), founders);
        stage = Stage::open(stage.disk, Membership::default()).expect("back");
    }
    let mut plain = Stage::open(MemoryDisk::new(4), Membership::default()).expect("new");
    plain.live(0, 1);
    assert_eq!(*plain.controller.quorum().membership(), Membership::default(), "the configuration says it");
}

#[test]
fn a_full_disk_refuses_new_topics_until_there_is_room() {
    let mut stage = Stage::open(MemoryDisk::new(1), Membership::default()).expect("a new log");
    stage.live(0, 3);
    stage.disk.set_capacity(Some(0));
    let create = |name: &str| {
        let (assignments, configs) = Default::default();
        let topic =
            NewTopic { name: name.into(), partitions: 1, replication_factor: 1, assignments, configs };
        CreateTopics { topics: vec![topic], validate_only: false }
    };
    let mut out = Vec::new();
    let input = Input::Command { token: 90, command: create("refused").command() };
    stage.controller.step(0, input, &mut out).expect("it goes on");
    let code = out.iter().find_map(|output| match output {
        Output::Reply { reply: Ok(Reply::TopicsCreated(outcomes)), .. } => outcomes[0].1.as_ref().err(),
        _ => None,
    });
    assert_eq!(code.map(|refusal| refusal.code), Some(ErrorCode::KafkaStorageError));
    assert!(matches!(out[0], Output::Full(true)), "{out:?}");
    // The disk in memory promises room and keeps none: it is given some for what was reserved.
    stage.disk.set_capacity(None);
    stage.ask(91, create("taken"));
    assert_eq!(stage.replies.last(), Some(&91));
    assert!(stage.controller.image().topic("taken").is_some());
    assert!(stage.controller.image().topic("refused").is_none(), "what was refused leaves no trace");
}

#[test]
fn a_silent_broker_is_fenced_unless_it_was_the_controller_that_slept() {
    let mut stage = Stage::open(MemoryDisk::new(5), Membership::default()).expect("new");
    // All of that happens at time 0.
    stage.live(0, 1);
    for now_ms in (0..=5_000).step_by(100) {
        stage.tick(now_ms);
    }
    stage.tick(60_000);
    stage.tick(60_100);
    assert_eq!(stage.fenced, [], "nobody was listening for most of the time");
    for now_ms in (60_200..=63_900).step_by(100) {
        stage.tick(now_ms);
    }
    assert_eq!(stage.fenced, [], "its session has just not ended");
    stage.tick(64_000);
    stage.tick(64_100);
    assert_eq!(stage.fenced, [NodeId(1)], "once");
    let image = stage.controller.image();
    assert!(image.broker(NodeId(1)).expect("registered").fenced);
    assert_eq!(image.partition("topic-0", 0).expect("created").leader, None);
}

#[test]
fn brokers_that_fall_silent_together_are_fenced_one_after_the_other() {
    let mut stage = Stage::open(MemoryDisk::new(6), Membership::default()).expect("new");
    stage.live(0, 1);
    stage.second_broker();
    for now_ms in (0..=10_000).step_by(100) {
        stage.tick(now_ms);
    }
    assert_eq!(stage.fenced, [NodeId(1), NodeId(2)]);
    assert!(stage.controller.image().brokers().all(|broker| broker.fenced));
}

#[test]
fn a_broker_that_is_gone_is_fenced_before_its_session_ends() {
    let mut stage = Stage::open(MemoryDisk::new(7), Membership::default()).expect("new");
    stage.live(0, 1);
    let epoch = stage.second_broker();
    let missing = Missing::Broker(NodeId(2), epoch);
    stage.step(2_900, Input::Gone(missing));
    assert_eq!(stage.fenced, [], "nothing is late yet");
    for now_ms in (0..=3_100).step_by(100) {
        stage.tick(now_ms);
    }
    assert_eq!(stage.looked_for, [missing], "the broker of this node is here, whatever is late");
    stage.step(3_150, Input::Gone(Missing::Broker(NodeId(2), BrokerEpoch(epoch.0 + 1))));
    assert_eq!(stage.fenced, [], "that is another process");
    stage.step(3_150, Input::Gone(missing));
    stage.step(3_151, Input::Gone(missing));
    assert_eq!(stage.fenced, [NodeId(2)], "once");
}

#[test]
fn a_new_cluster_begins_with_its_levels() {
    let stage = Stage::open(MemoryDisk::new(6), Membership::default()).expect("new");
    assert_eq!(stage.controller.image().feature("metadata.version"), 25);
    let written = stage.controller.image().offset;
    let again = Stage::open(stage.disk, Membership::default()).expect("back");
    let records = again.controller.image().records();
    assert_eq!(records.len(), stage.controller.image().records().len(), "and only once");
    assert!(again.controller.image().offset > written, "a new term has begun");
}
