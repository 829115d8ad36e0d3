//! What the owner of a shard decides, played with the counter: when it loads, what shares a batch, what it does when it is not
//! known what was written, and when the partition goes.

use ottla_log::log::Offsets;
use ottla_model::TopicPartition;
use ottla_model::config::TopicConfig;

use super::counter::{Command, Counter, Reply};
use super::*;
use crate::coordinator::keeper::{Keeper, KeeperNote, KeeperOutput, RETRY_MS, ShardLog};

struct Stage {
    keeper: Keeper<Counter>,
    log: ShardLog,
    now_ms: i64,
    said: Vec<KeeperOutput<Counter>>,
}

/// What the keeper says, shortened: a reply by its token, and its error if it has one.
#[derive(Debug, PartialEq, Eq)]
enum Short {
    Done(u32),
    Refused(u32, ErrorCode),
    Load,
    Append { records: i32 },
    NotLoaded,
    InDoubt,
}

fn offsets(log_end: Offset) -> Offsets {
    Offsets { log_start: 0, last_stable: log_end, high_watermark: log_end, log_end }
}

impl Stage {
    /// The partition's log is empty.
    fn new(linger: Linger) -> Stage {
        let terms = ShardSettings { compression: Compression::None, linger, write_timeout_ms: 5_000 };
        let config = Arc::new(TopicConfig::default());
        Stage {
            keeper: Keeper::new(TopicPartition::new("counters", 0), terms, |_| Counter::new()),
            log: ShardLog { leader_epoch: LeaderEpoch(1), offsets: offsets(0), config },
            now_ms: 1_000,
            said: Vec::new(),
        }
    }

    fn add(&mut self, token: u32) {
        let command = Command::Add { name: "a", by: 1, transaction: None };
        self.keeper.send(self.now_ms, Input::Ask { token, command }, &mut self.said);
    }

    fn turn(&mut self) -> Vec<Short> {
        self.keeper.turn(self.now_ms, Some(&self.log), &Arc::new(Image::empty()), &mut self.said);
        self.heard()
    }

    fn turn_without_partition(&mut self) -> Vec<Short> {
        self.keeper.turn(self.now_ms, None, &Arc::new(Image::empty()), &mut self.said);
        self.heard()
    }

    fn appended(&mut self, outcome: Result<(Offset, Offset), ErrorCode>, log_end: Offset) -> Vec<Short> {
        self.log.offsets = offsets(log_end);
        self.keeper.appended(self.now_ms, outcome, &self.log, &mut self.said);
        self.heard()
    }

    fn heard(&mut self) -> Vec<Short> {
        let short = |output| match output {
            KeeperOutput::Reply { token, reply: Reply::Done(ErrorCode::None) } => Short::Done(token),
            KeeperOutput::Reply { token, reply: Reply::Done(code) } => Short::Refused(token, code),
            KeeperOutput::Reply { reply, .. } => panic!("nobody has read: {reply:?}"),
            KeeperOutput::Load(_) => Short::Load,
            KeeperOutput::Errand(never) => match never {},
            KeeperOutput::Append { batch, .. } => Short::Append { records: batch.header.record_count },
            KeeperOutput::Note(KeeperNote::NotLoaded(_)) => Short::NotLoaded,
            KeeperOutput::Note(KeeperNote::InDoubt) => Short::InDoubt,
            KeeperOutput::Note(note) => panic!("{note}"),
        };
        self.said.drain(..).map(short).collect()
    }
}

#[test]
fn what_has_come_together_shares_a_batch_and_what_comes_later_has_the_next() {
    let mut stage = Stage::new(Linger::Adaptive);
    assert_eq!(stage.turn(), []);
    stage.add(1);
    stage.add(2);
    assert_eq!(stage.turn(), [Short::Append { records: 2 }]);
    stage.add(3);
    assert_eq!(stage.turn(), [], "the outcome comes first");
    assert_eq!(stage.appended(Ok((0, 1)), 2), [Short::Done(1), Short::Done(2)]);
    assert_eq!(stage.turn(), [Short::Append { records: 1 }]);
}

#[test]
fn whoever_asks_while_it_is_loaded_is_told_to_wait() {
    let mut stage = Stage::new(Linger::Ms(0));
    stage.log.offsets = offsets(3);
    assert_eq!(stage.turn(), [Short::Load]);
    stage.add(1);
    assert_eq!(stage.heard(), [Short::Refused(1, ErrorCode::CoordinatorLoadInProgress)]);
    assert_eq!(stage.turn(), []);
    let why = LoadError::Read { offset: 0, why: "the disk says no".into() };
    stage.keeper.loaded(stage.now_ms, Err(why), &mut stage.said);
    stage.add(2);
    assert_eq!(stage.turn(), [Short::NotLoaded, Short::Refused(2, ErrorCode::NotCoordinator)]);
    assert_eq!(stage.keeper.next_deadline_ms(), Some(stage.now_ms + RETRY_MS));
    stage.now_ms += RETRY_MS;
    assert_eq!(stage.turn(), [Short::Load]);
}

#[test]
fn what_was_led_under_another_epoch_is_loaded_again() {
    let mut stage = Stage::new(Linger::Ms(0));
    stage.add(1);
    assert_eq!(stage.turn(), [Short::Append { records: 1 }]);
    assert_eq!(stage.appended(Ok((0, 0)), 1), [Short::Done(1)]);
    stage.log.leader_epoch = LeaderEpoch(2);
    stage.add(2);
    assert_eq!(stage.turn(), [Short::Refused(2, ErrorCode::CoordinatorLoadInProgress), Short::Load]);
}

#[test]
fn a_write_in_doubt_has_the_shard_loaded_again() {
    let mut stage = Stage::new(Linger::Ms(0));
    stage.add(1);
    assert_eq!(stage.turn(), [Short::Append { records: 1 }]);
    let refused = Short::Refused(1, ErrorCode::NotCoordinator);
    assert_eq!(stage.appended(Err(ErrorCode::KafkaStorageError), 1), [Short::InDoubt, refused]);
    assert_eq!(stage.turn(), [Short::Load]);
}

#[test]
fn a_batch_that_met_another_configuration_is_checked_anew() {
    let mut stage = Stage::new(Linger::Ms(0));
    stage.add(1);
    assert_eq!(stage.turn(), [Short::Append { records: 1 }]);
    stage.log.config = Arc::new(TopicConfig::default());
    let again = [Short::Append { records: 1 }];
    assert_eq!(stage.appended(Err(ErrorCode::NotLeaderOrFollower), 0), again);
    assert_eq!(stage.appended(Ok((0, 0)), 1), [Short::Done(1)]);
}

#[test]
fn a_batch_that_the_topic_does_not_take_is_refused() {
    let mut stage = Stage::new(Linger::Ms(0));
    stage.log.config = Arc::new(TopicConfig { max_message_bytes: 10, ..TopicConfig::default() });
    stage.add(1);
    assert_eq!(stage.turn(), [Short::Refused(1, ErrorCode::MessageTooLarge)]);
    assert!(!stage.keeper.is_busy());
}

#[test]
fn what_was_appended_under_another_leader_is_in_doubt() {
    let mut stage = Stage::new(Linger::Ms(0));
    stage.add(1);
    assert_eq!(stage.turn(), [Short::Append { records: 1 }]);
    // The log was cut and grew again, before anybody heard what became of the append: it looks as if all had gone well.
    stage.log.leader_epoch = LeaderEpoch(2);
    assert_eq!(stage.appended(Ok((0, 0)), 1), [Short::Refused(1, ErrorCode::NotCoordinator)]);
    assert_eq!(stage.turn(), [Short::Load]);
}

#[test]
fn no_batch_grows_larger_than_a_segment() {
    let mut stage = Stage::new(Linger::Adaptive);
    let segment_bytes = HEADER_BYTES as i32 + 70;
    stage.log.config = Arc::new(TopicConfig { segment_bytes, ..TopicConfig::default() });
    (1..=3).for_each(|token| stage.add(token));
    assert_eq!(stage.turn(), [Short::Append { records: 2 }]);
    assert_eq!(stage.appended(Ok((0, 1)), 2), [Short::Done(1), Short::Done(2), Short::Append { records: 1 }]);
}

#[test]
fn nobody_is_served_without_the_partition() {
    let mut stage = Stage::new(Linger::Ms(0));
    assert_eq!(stage.turn(), []);
    stage.add(1);
    assert_eq!(stage.turn_without_partition(), [Short::Refused(1, ErrorCode::NotCoordinator)]);
    stage.add(2);
    assert_eq!(stage.turn(), [Short::Append { records: 1 }], "it is here again, and its log is empty");
    assert_eq!(stage.turn_without_partition(), [], "the outcome comes first");
    stage.keeper.resign(stage.now_ms, &mut stage.said);
    assert_eq!(stage.heard(), [Short::Refused(2, ErrorCode::NotCoordinator)]);
}
