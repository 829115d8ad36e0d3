//! A controller over its log, through snapshots and restarts.

use std::path::{Path, PathBuf};

use ottla_core::controller::{Bootstrap, CreateTopics, Heartbeat, NewTopic, Registration};
use ottla_core::question::Question;
use ottla_log::Disk;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{Log, Opening};
use ottla_model::config::{Sources, TopicConfig, load};
use ottla_model::{CLUSTER_METADATA_TOPIC, METADATA_TOPIC_ID, TopicPartition};

use super::*;
use crate::quorum::{Membership, Store, Voters};

const DIR: &str = "/data/__cluster_metadata-0";

struct Stage {
    disk: MemoryDisk,
    controller: Controller<u32>,
    replies: Vec<u32>,
    snapshots: Vec<SnapshotId>,
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
            chance: Box::new(move || {
                draws += 1;
                draws.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }),
        };
        let controller = Controller::new(Quorum::new(store, &voters, Box::new(|| 0))?, settings);
        let mut stage = Stage { disk, controller, replies: Vec::new(), snapshots: Vec::new() };
        let mut out = Vec::new();
        stage.controller.settle(0, &mut out).expect("it settles");
        stage.carry_out(out);
        Ok(stage)
    }

    fn carry_out(&mut self, out: Vec<Output<u32>>) {
        for output in out {
            match output {
                Output::Reply { token, .. } => self.replies.push(token),
                Output::Published(_) | Output::Full(_) | Output::Refused(_) => {}
                Output::Send(message) => panic!("a sole voter says {message:?}"),
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

    fn live(&mut self, from: u32, to: u32) {
        let bootstrap = Bootstrap { metadata_version: 25, features: Vec::new() };
        self.ask(from, bootstrap);
        let broker = Registration {
            id: NodeId(1),
            incarnation: uuid::Uuid::from_u128(u128::from(from) + 1),
            endpoints: Vec::new(),
            rack: None,
            log_dirs: Vec::new(),
            features: Vec::new(),
        };
        self.ask(from, broker);
        let epoch = self.controller.image().broker(NodeId(1)).expect("registered").epoch;
        let (broker, metadata_offset) = (NodeId(1), self.controller.image().offset);
        let beat = Heartbeat { broker, epoch, metadata_offset, want_fence: false, want_shutdown: false };
        self.ask(from, beat);
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
    use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters};
    let founders = Membership {
        version: Some(KRaftVersion { version: 0, kraft_version: 1 }),
        voters: Some(KRaftVoters { version: 0, voters: Vec::new() }),
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
