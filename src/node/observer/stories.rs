//! One observer and the leader of a quorum of one: what is asked is answered at once, unless a story says otherwise.

use std::path::{Path, PathBuf};

use ottla_log::disk::{Fault, MemoryDisk, Operation};
use ottla_log::log::Opening;
use ottla_model::config::TopicConfig;
use ottla_model::record::{MetadataRecord, TopicRecord};
use ottla_model::{CLUSTER_METADATA_TOPIC, METADATA_TOPIC_ID, NodeId, TopicPartition};
use uuid::Uuid;

use super::*;
use crate::applying::apply_batch;
use crate::quorum::{Agreed, Keep, Quorum, Served, Store, Voters, metadata_batch};

const DIR: &str = "/data/__cluster_metadata-0";
const LEADER: NodeId = NodeId(1);

fn open_log(disk: &MemoryDisk) -> (Arc<dyn Disk>, Log, Arc<TopicConfig>) {
    let config = Arc::new(TopicConfig {
        segment_bytes: 2_000,
        retention_bytes: -1,
        retention_ms: -1,
        max_message_bytes: i32::MAX,
        ..TopicConfig::default()
    });
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let opening = Opening {
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
    };
    (shared, Log::open(opening).expect("a healthy disk").0, config)
}

fn blank(seed: u64) -> MemoryDisk {
    let disk = MemoryDisk::new(seed);
    disk.create_dir_all(Path::new("/data")).expect("an empty disk");
    disk.write_back();
    disk
}

/// The leader, and the image of what it has agreed on.
struct Source {
    disk: MemoryDisk,
    quorum: Quorum,
    image: Image,
}

impl Source {
    fn new() -> Source {
        let disk = blank(1);
        let (shared, log, config) = open_log(&disk);
        let voters = Voters { cluster_id: "one".into(), ..Voters::only(LEADER) };
        let store = Store::open(shared, log, config, voters.clone()).expect("it opens");
        let quorum = Quorum::new(store, &voters, Box::new(|| 0)).expect("it begins");
        let mut source = Source { disk, quorum, image: Image::empty() };
        source.settle();
        source
    }

    fn settle(&mut self) {
        for agreed in self.quorum.settle(1_000).expect("a healthy disk").agreed {
            if let Agreed::Batch(batch) = agreed {
                apply_batch(&mut self.image, &batch).expect("it applies");
            }
        }
    }

    fn topics(&mut self, count: u128) {
        for _ in 0..count {
            let n = self.image.topics().count() as u128 + 1;
            let record = TopicRecord { name: format!("t{n}"), topic_id: Uuid::from_u128(n) };
            let record: MetadataRecord = record.into();
            assert!(self.quorum.propose(&metadata_batch([record.encode()], 1_000)));
            self.settle();
        }
    }

    fn snapshot(&mut self) -> SnapshotId {
        let id = self.quorum.snapshot(Arc::new(self.image.clone())).write(&self.disk).expect("it is written");
        self.quorum.snapshotted(id, &Keep { bytes: 0, ms: -1 }, 1_000).expect("a healthy disk");
        id
    }

    fn answer(&mut self, now_ms: i64, question: &Question) -> Answer {
        match question {
            Question::Fetch(fetch) => match self.quorum.fetch(now_ms, fetch) {
                Served::Answer(answer) | Served::NothingNew(answer) => Answer::Fetched(answer),
            },
            Question::FetchSnapshot(fetch) => Answer::Piece(self.quorum.fetch_snapshot(fetch)),
        }
    }
}

fn answered(asked: Asked, answer: Option<Answer>) -> Input {
    Input::Answered(Box::new(Answered { asked, answer }))
}

/// The observer, and what it has wanted.
struct Stage {
    disk: MemoryDisk,
    observer: Observer,
    now_ms: i64,
    asked: Option<Asked>,
    published: Vec<Arc<Image>>,
    refused: Vec<Refused>,
    snapshots: usize,
}

impl Stage {
    fn open(disk: MemoryDisk) -> Stage {
        let (shared, log, _) = open_log(&disk);
        let settings = Settings {
            cluster_id: "one".into(),
            me: ReplicaKey { id: NodeId(9), directory_id: Uuid::from_u128(9) },
            snapshots: Snapshots { bytes: 3_000, interval_ms: 0, keep: Keep { bytes: 6_000, ms: -1 } },
            fetch_bytes: 700,
            snapshot_bytes: 300,
            retry_backoff_ms: 20,
            request_timeout_ms: 2_000,
        };
        let observer = Observer::open(shared, log, settings, 0).expect("it opens");
        let (asked, published, refused, snapshots) = Default::default();
        let mut stage = Stage { disk, observer, now_ms: 1_000, asked, published, refused, snapshots };
        stage.step(Input::Tick);
        stage
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.observer.step(self.now_ms, input, &mut out).expect("it goes on");
        for output in out {
            match output {
                Output::Ask(asked) => self.asked = Some(asked),
                Output::Published(image) => self.published.push(image),
                Output::Refused(refused) => self.refused.push(refused),
                Output::Led(_) => {}
                Output::Snapshot(snapshot) => {
                    self.snapshots += 1;
                    let id = snapshot.write(&self.disk).expect("it is written");
                    self.step(Input::Snapshotted(Some(id)));
                }
            }
        }
    }

    fn wait(&mut self) {
        self.now_ms = self.now_ms.max(self.observer.wakes_ms());
        self.step(Input::Tick);
    }

    fn asked(&self) -> Asked {
        self.asked.clone().expect("it has asked")
    }

    fn answer(&mut self, answer: Option<Answer>) {
        let asked = self.asked.take().expect("it has asked");
        self.step(answered(asked, answer));
        if self.asked.is_none() {
            self.wait();
        }
    }

    /// Until everything that is agreed on is shown.
    fn follow(&mut self, source: &mut Source) {
        for _ in 0..10_000 {
            if self.published.last().is_some_and(|image| **image == source.image) {
                return;
            }
            let question = self.asked().question;
            let answer = source.answer(self.now_ms, &question);
            self.answer(Some(answer));
        }
        panic!("it never catches up: {:?}", self.refused);
    }

    /// An answer of the leader that has this to say.
    fn told(&mut self, source: &mut Source, fetched: Fetched) {
        let leadership = Leadership { epoch: source.quorum.epoch(), leader: Some(LEADER), endpoint: None };
        let high_watermark = Some(source.quorum.high_watermark());
        self.answer(Some(Answer::Fetched(FetchAnswer {
            leadership,
            fetched: Ok(fetched),
            high_watermark,
            log_start: 0,
        })));
    }

    fn bytes_from(&self, offset: Offset) -> Bytes {
        let read = crate::quorum::batches::read(
            self.observer.log(),
            offset,
            1 << 24,
            ottla_log::log::Isolation::LogEnd,
        );
        read.expect("it reads").unwrap_or_default()
    }
}

fn records(source: &Source, from: Offset) -> Bytes {
    let log = source.quorum.store().log();
    let read = crate::quorum::batches::read(log, from, 1 << 24, ottla_log::log::Isolation::LogEnd);
    read.expect("it reads").unwrap_or_default()
}

#[test]
fn the_first_image_that_is_shown_has_all_that_was_agreed_on() {
    let mut source = Source::new();
    source.topics(30);
    let mut stage = Stage::open(blank(9));
    stage.follow(&mut source);
    assert_eq!(stage.published.len(), 1, "nothing is shown on the way");
    assert_eq!(stage.bytes_from(0), records(&source, 0), "the log is the leader's, byte for byte");
    source.topics(3);
    stage.follow(&mut source);
    assert_eq!(stage.refused, []);
    let path = Path::new(DIR).join("quorum-state");
    let text = String::from_utf8(stage.disk.read_to_vec(&path).expect("it is there")).expect("text");
    assert!(text.starts_with("{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":-1,"), "{text}");
}

#[test]
fn it_goes_on_where_it_was_and_loses_what_was_not_flushed() {
    let mut source = Source::new();
    let mut stage = Stage::open(blank(9));
    for round in 0..6 {
        source.topics(20);
        stage.follow(&mut source);
        if round % 2 == 0 {
            stage.disk.crash();
        }
        stage = Stage::open(stage.disk);
        assert!(stage.published.is_empty(), "only the leader can say what is agreed on");
    }
    stage.follow(&mut source);
    assert!(stage.observer.image().topics().count() == 120);
}

#[test]
fn it_writes_snapshots_of_its_own_that_a_voter_could_begin_with() {
    let mut source = Source::new();
    let mut stage = Stage::open(blank(9));
    source.topics(200);
    stage.follow(&mut source);
    assert!(stage.snapshots > 0);
    assert!(stage.observer.log().log_start_offset() > 0, "the log does not grow for ever");
    let (disk, names) = (stage.disk.clone(), stage.disk.list(Path::new(DIR)).expect("a folder"));
    let kept = names.iter().filter(|entry| entry.name.ends_with(".checkpoint")).count();
    assert_eq!(kept, 1, "{names:?}");
    let (shared, log, config) = open_log(&disk);
    let voters = Voters { cluster_id: "one".into(), ..Voters::only(LEADER) };
    let store = Store::open(shared, log, config, voters.clone()).expect("it opens");
    let quorum = Quorum::new(store, &voters, Box::new(|| 0)).expect("it begins");
    let at = quorum.snapshot(Arc::new(source.image.clone()));
    assert_eq!(at.raft_index(), source.quorum.snapshot(Arc::new(source.image.clone())).raft_index());
}

#[test]
fn a_late_observer_begins_with_a_snapshot_in_pieces() {
    let mut source = Source::new();
    source.topics(5);
    let mut stage = Stage::open(blank(9));
    stage.follow(&mut source);
    let before = stage.disk.clone();
    source.topics(300);
    let id = source.snapshot();
    source.topics(3);
    stage = Stage::open(before);
    stage.follow(&mut source);
    assert_eq!(stage.observer.log().log_start_offset(), id.end);
    let mut stage = Stage::open(stage.disk);
    stage.follow(&mut source);
    // What it is given may be gone before it has all of it.
    let mut stage = {
        let mut late = Stage::open(blank(8));
        while !matches!(late.asked().question, Question::FetchSnapshot(_)) {
            let answer = source.answer(late.now_ms, &late.asked().question);
            late.answer(Some(answer));
        }
        let _ = stage;
        late
    };
    source.topics(300);
    source.snapshot();
    stage.follow(&mut source);
    assert_eq!(stage.refused, []);
    let names = stage.disk.list(Path::new(DIR)).expect("a folder");
    assert!(names.iter().all(|entry| !entry.name.ends_with(".part")), "{names:?}");
}

/// A leader says how much is agreed on once a batch of its own epoch is. Until then nobody knows whether the snapshot is old.
#[test]
fn a_snapshot_is_not_shown_before_it_is_known_how_much_is_agreed_on() {
    let mut source = Source::new();
    source.topics(30);
    let id = source.snapshot();
    source.topics(10);
    let mut stage = Stage::open(blank(9));
    // It hears who leads, and then that there is a snapshot.
    for _ in 0..2 {
        let leadership = Leadership { epoch: source.quorum.epoch(), leader: Some(LEADER), endpoint: None };
        let (fetched, high_watermark) = (Ok(Fetched::Snapshot(id)), None);
        let answer = FetchAnswer { leadership, fetched, high_watermark, log_start: id.end };
        stage.answer(Some(Answer::Fetched(answer)));
    }
    while matches!(stage.asked().question, Question::FetchSnapshot(_)) {
        let answer = source.answer(stage.now_ms, &stage.asked().question);
        stage.answer(Some(answer));
    }
    assert_eq!(stage.observer.image().topics().count(), 30, "the snapshot is here");
    assert!(stage.published.is_empty(), "and it may be older than what the process before has shown");
    stage.follow(&mut source);
    assert_eq!(stage.published.len(), 1);
    assert_eq!(stage.published[0].topics().count(), 40);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut source = Source::new();
    source.topics(10);
    let mut stage = Stage::open(blank(9));
    stage.follow(&mut source);
    source.topics(2);
    let (end, image) = (stage.observer.log().log_end_offset(), stage.observer.image().clone());
    let all = records(&source, end);
    let first = BatchSize::of(&all);
    let flipped = |at: usize| {
        let mut bytes = all.to_vec();
        bytes[at] ^= 1;
        Fetched::Records(bytes.into())
    };
    let agreed = stage.observer.log().high_watermark();
    let snapshot = |end, epoch| Fetched::Snapshot(SnapshotId { end, epoch: LeaderEpoch(epoch) });
    let rows = [
        ("a damaged record", flipped(first - 2)),
        ("another offset", flipped(7)),
        ("an epoch to come", flipped(13)),
        ("no whole batch", Fetched::Records(all.slice(..first - 1))),
        ("what is here already", Fetched::Records(records(&source, end - 1))),
        ("with a gap", Fetched::Records(records(&source, end + 1))),
        ("a cut below what is agreed on", Fetched::Diverging { epoch: LeaderEpoch(1), end: agreed - 1 }),
        ("a cut of nothing", Fetched::Diverging { epoch: LeaderEpoch(1), end: end + 7 }),
        ("a snapshot of what is here", snapshot(agreed, 1)),
        ("a snapshot of an epoch to come", snapshot(agreed + 100, 7)),
    ];
    let count = rows.len();
    for (what, fetched) in rows {
        let before = stage.refused.len();
        stage.told(&mut source, fetched);
        assert_eq!(stage.refused.len(), before + 1, "{what}");
        assert_eq!((stage.observer.log().log_end_offset(), stage.observer.image()), (end, &image), "{what}");
    }
    assert_eq!(stage.refused.len(), count);
    stage.follow(&mut source);
}

#[test]
fn a_log_that_parts_from_the_leaders_is_not_agreed_on_by_being_short() {
    let mut source = Source::new();
    source.topics(5);
    let mut stage = Stage::open(blank(9));
    stage.follow(&mut source);
    // What a leader of before has written, and nobody else has.
    let end = stage.observer.log().log_end_offset();
    source.topics(1);
    let agreed_on = stage.observer.log().high_watermark();
    let leadership = Leadership { epoch: LeaderEpoch(1), leader: Some(LEADER), endpoint: None };
    let answer = |fetched, high_watermark| {
        let (leadership, high_watermark) = (leadership.clone(), Some(high_watermark));
        Some(Answer::Fetched(FetchAnswer { leadership, fetched: Ok(fetched), high_watermark, log_start: 0 }))
    };
    stage.answer(answer(Fetched::Records(records(&source, end)), agreed_on));
    assert_eq!(stage.observer.log().log_end_offset(), end + 1);
    // The leader of now says that more than that is agreed on, and that the logs part.
    let published = stage.published.len();
    let id = SnapshotId { end: end + 50, epoch: LeaderEpoch(1) };
    stage.answer(answer(Fetched::Snapshot(id), end + 50));
    assert_eq!(stage.observer.log().high_watermark(), agreed_on);
    let gone = PieceAnswer { leadership: leadership.clone(), piece: Err(ErrorCode::SnapshotNotFound) };
    stage.answer(Some(Answer::Piece(gone)));
    stage.answer(answer(Fetched::Diverging { epoch: LeaderEpoch(1), end }, end + 50));
    assert_eq!((stage.observer.log().log_end_offset(), stage.published.len()), (end, published));
    assert_eq!(stage.observer.log().high_watermark(), agreed_on);
}

#[test]
fn answers_that_come_late_or_twice_change_nothing() {
    let mut source = Source::new();
    source.topics(3);
    let mut stage = Stage::open(blank(9));
    stage.follow(&mut source);
    source.topics(3);
    let asked = stage.asked();
    let answer = source.answer(stage.now_ms, &asked.question);
    stage.answer(Some(answer.clone()));
    let end = stage.observer.log().log_end_offset();
    for _ in 0..3 {
        stage.step(answered(asked.clone(), Some(answer.clone())));
        stage.step(answered(asked.clone(), None));
    }
    assert_eq!((stage.observer.log().log_end_offset(), stage.refused.len()), (end, 0));
    stage.follow(&mut source);
}

#[test]
fn a_leader_that_is_silent_is_looked_for_elsewhere() {
    let mut source = Source::new();
    let mut stage = Stage::open(blank(9));
    assert_eq!(stage.asked().to, To::Anybody(0), "nobody is known");
    stage.answer(None);
    assert_eq!(stage.asked().to, To::Anybody(1));
    stage.follow(&mut source);
    assert!(matches!(&stage.asked().to, To::Leader(leader) if leader.id == LEADER));
    // No answer comes for so long that it is given up.
    let since_ms = stage.now_ms;
    stage.asked = None;
    stage.wait();
    stage.wait();
    assert!(stage.now_ms - since_ms >= 2_000);
    assert!(matches!(stage.asked().to, To::Anybody(_)));
    // Somebody says that it leads still, and then that another one does.
    let said = |epoch, id| {
        let endpoint = Some(("host".to_owned(), 9_093));
        let leadership = Leadership { epoch: LeaderEpoch(epoch), leader: Some(NodeId(id)), endpoint };
        let fetched = Err(ErrorCode::NotLeaderOrFollower);
        Some(Answer::Fetched(FetchAnswer { leadership, fetched, high_watermark: None, log_start: 0 }))
    };
    stage.answer(said(1, 1));
    assert!(matches!(&stage.asked().to, To::Leader(leader) if leader.id == LEADER));
    stage.answer(None);
    stage.answer(said(3, 2));
    let leader = Leader { id: NodeId(2), endpoint: Some(("host".to_owned(), 9_093)) };
    assert_eq!(stage.asked().to, To::Leader(leader));
    assert_eq!(stage.observer.epoch(), LeaderEpoch(3));
    // In one epoch one leads, and what is said of an earlier epoch does not count.
    stage.answer(said(3, 1));
    let second = Refused::SecondLeader { epoch: LeaderEpoch(3), known: NodeId(2), other: NodeId(1) };
    assert_eq!(stage.refused, [second]);
    stage.answer(said(2, 1));
    assert_eq!(stage.observer.leader().map(|leader| leader.id), Some(NodeId(2)));
    let stage = Stage::open(stage.disk);
    assert_eq!(stage.observer.epoch(), LeaderEpoch(3), "after a restart, too");
}

#[test]
fn a_full_disk_is_waited_for_and_a_broken_one_is_the_end() {
    let mut source = Source::new();
    source.topics(3);
    let mut stage = Stage::open(blank(9));
    stage.follow(&mut source);
    source.topics(3);
    stage.disk.fail_next(Operation::Write, Fault::Full);
    let answer = source.answer(stage.now_ms, &stage.asked().question);
    stage.answer(Some(answer));
    assert!(matches!(stage.refused[..], [Refused::Disk(_)]), "{:?}", stage.refused);
    stage.follow(&mut source);
    source.topics(3);
    stage.disk.fail_next(Operation::Write, Fault::Broken);
    let asked = stage.asked();
    let answer = Some(source.answer(stage.now_ms, &asked.question));
    let ended = stage.observer.step(stage.now_ms, answered(asked, answer), &mut Vec::new());
    assert!(ended.is_err());
}

/// The size of the first of some batches.
struct BatchSize;

impl BatchSize {
    fn of(bytes: &Bytes) -> usize {
        let (_, first) = ottla_protocol::batch::batches(bytes).next().expect("a batch").expect("a whole one");
        first.len()
    }
}
