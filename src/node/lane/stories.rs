//! What a lane answers, and when, told step by step over a disk in memory.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::disk::MemoryDisk;
use ottla_log::log::Opening;
use ottla_model::TopicPartition;
use ottla_model::config::CleanupPolicy;
use ottla_protocol::batch::{BatchBuilder, Compression};

use super::*;

/// A lane, what it put out, and the flushes it asked for.
struct Bench {
    lane: Lane<u32>,
    config: Arc<TopicConfig>,
    tickets: Vec<FlushTicket>,
    now_ms: i64,
}

impl Bench {
    fn new(config: TopicConfig, isr: &[i32]) -> Bench {
        let config = Arc::new(config);
        let (log, _) = Log::open(Opening {
            disk: Arc::new(MemoryDisk::new(1)),
            dir: PathBuf::from("/data/t-0"),
            partition: TopicPartition::new("t", 0),
            topic_id: None,
            config: config.clone(),
            clean_shutdown: false,
            recovery_point: 0,
            log_start: 0,
            now_ms: 0,
            producer_id_expiration_ms: i64::MAX,
            jitter_seed: 0,
        })
        .expect("an empty log");
        let nodes: Vec<NodeId> = isr.iter().map(|id| NodeId(*id)).collect();
        let leadership = Leadership { epoch: LeaderEpoch(0), replicas: nodes.clone(), isr: nodes };
        let lane = Lane::new(NodeId(1), log, leadership, config.clone());
        Bench { lane, config, tickets: Vec::new(), now_ms: 0 }
    }

    fn append(&self, token: u32, acks: Acks, deadline_ms: i64) -> Input<u32> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, None, Some(b"value"), &[]);
        let batch: Bytes = builder.build(0, LeaderEpoch(0));
        let partition = TopicPartition::new("t", 0);
        let rules = Rules {
            partition: &partition,
            topic: &self.config,
            origin: Origin::Client,
            now_ms: 0,
            produce_version: 13,
        };
        let batch = check(batch, &rules).expect("a good batch").remove(0);
        Input::Append(Append {
            token,
            batch,
            acks,
            answered: Answered::WhenSafe,
            checked_against: self.config.clone(),
            deadline_ms,
        })
    }

    /// Steps once; the answers are offsets or error codes by token.
    fn step(&mut self, inputs: Vec<Input<u32>>) -> Vec<(u32, Result<Offset, ErrorCode>)> {
        let mut out = Vec::new();
        self.lane.step(self.now_ms, inputs, &mut out);
        let mut answers = Vec::new();
        for output in out {
            match output {
                Output::Reply { token, outcome } => {
                    answers.push((token, outcome.map(|a| a.base_offset).map_err(|r| r.code)));
                }
                Output::Flush(ticket) => self.tickets.push(ticket),
                Output::Advanced
                | Output::Deleted { .. }
                | Output::Swapped { .. }
                | Output::Retire(_)
                | Output::Offline(_) => {}
            }
        }
        answers
    }

    fn finish_flush(&mut self) -> Vec<(u32, Result<Offset, ErrorCode>)> {
        let ticket = self.tickets.remove(0);
        let up_to = ticket.up_to;
        let result = ticket.run();
        self.step(vec![Input::Flushed { up_to, result }])
    }

    fn high_watermark(&self) -> Offset {
        self.lane.reader().offsets().high_watermark
    }
}

fn flush_each() -> TopicConfig {
    TopicConfig { flush_messages: 1, ..TopicConfig::default() }
}

#[test]
fn a_sole_replica_answers_at_once() {
    let mut bench = Bench::new(TopicConfig::default(), &[1]);
    let inputs = vec![
        bench.append(1, Acks::All, 1_000),
        bench.append(2, Acks::Leader, 1_000),
        bench.append(3, Acks::None, 1_000),
    ];
    assert_eq!(bench.step(inputs), [(1, Ok(0)), (2, Ok(1)), (3, Ok(2))]);
    assert_eq!(bench.high_watermark(), 3);
    assert!(bench.tickets.is_empty(), "nobody asked for a flush");
}

#[test]
fn records_are_deleted_up_to_what_everybody_may_read() {
    use ErrorCode::{KafkaStorageError, OffsetOutOfRange, PolicyViolation};
    let mut bench = Bench::new(TopicConfig::default(), &[1]);
    let inputs = (1..=5).map(|token| bench.append(token, Acks::All, 1_000)).collect();
    bench.step(inputs);
    let delete = |bench: &mut Bench, before: Option<Offset>| {
        let mut out = Vec::new();
        bench.lane.step(0, [Input::DeleteRecords { token: 9, before }], &mut out);
        match out.pop() {
            Some(Output::Deleted { token: 9, outcome }) => outcome.map_err(|refused| refused.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut bench, Some(2)), Ok(2));
    assert_eq!(delete(&mut bench, Some(1)), Ok(2), "never back");
    assert_eq!(delete(&mut bench, Some(6)), Err(OffsetOutOfRange));
    assert_eq!(delete(&mut bench, Some(-2)), Err(OffsetOutOfRange));
    assert_eq!(delete(&mut bench, None), Ok(5), "as far as the high watermark");
    let cleanup_policy = CleanupPolicy { delete: false, compact: true };
    let compacted = TopicConfig { cleanup_policy, ..TopicConfig::default() };
    bench.step(vec![Input::Configure(Arc::new(compacted))]);
    assert_eq!(delete(&mut bench, None), Err(PolicyViolation));
    bench.lane.offline = Some("gone".to_owned());
    assert_eq!(delete(&mut bench, None), Err(KafkaStorageError));
}

#[test]
fn nothing_is_told_before_it_is_flushed() {
    let mut bench = Bench::new(flush_each(), &[1]);
    let first = bench.append(1, Acks::All, 1_000);
    assert_eq!(bench.step(vec![first]), []);
    assert_eq!(bench.high_watermark(), 0, "a consumer must not see what a loss of power could take");
    // Two more come while the disk is at work; they share the next flush.
    let more = vec![bench.append(2, Acks::Leader, 1_000), bench.append(3, Acks::All, 1_000)];
    assert_eq!(bench.step(more), []);
    assert_eq!(bench.tickets.len(), 1, "one flush at a time");
    assert_eq!(bench.finish_flush(), [(1, Ok(0))]);
    assert_eq!(bench.high_watermark(), 1);
    assert_eq!(bench.finish_flush(), [(2, Ok(1)), (3, Ok(2))]);
    assert_eq!(bench.high_watermark(), 3);
    assert!(bench.tickets.is_empty());
}

#[test]
fn a_failed_flush_ends_the_log() {
    let mut bench = Bench::new(flush_each(), &[1]);
    let first = bench.append(1, Acks::All, 1_000);
    bench.step(vec![first]);
    let up_to = bench.tickets.remove(0).up_to;
    let result = Err(std::io::Error::other("the device is gone"));
    let answers = bench.step(vec![Input::Flushed { up_to, result }]);
    assert_eq!(answers, [(1, Err(ErrorCode::KafkaStorageError))]);
    let second = bench.append(2, Acks::All, 1_000);
    assert_eq!(bench.step(vec![second]), [(2, Err(ErrorCode::KafkaStorageError))]);
    assert_eq!(bench.high_watermark(), 0);
}

#[test]
fn a_follower_that_does_not_fetch_holds_acks_all_until_the_deadline() {
    let mut bench = Bench::new(TopicConfig::default(), &[1, 2]);
    let inputs = vec![bench.append(1, Acks::All, 1_000), bench.append(2, Acks::Leader, 1_000)];
    assert_eq!(bench.step(inputs), [(2, Ok(1))]);
    assert_eq!(bench.high_watermark(), 0);
    bench.now_ms = 1_000;
    assert_eq!(bench.step(vec![Input::Tick]), [(1, Err(ErrorCode::RequestTimedOut))]);
}

#[test]
fn a_batch_checked_against_an_older_config_is_sent_back() {
    let mut bench = Bench::new(TopicConfig::default(), &[1]);
    let stale = bench.append(1, Acks::All, 1_000);
    let changed = Arc::new(TopicConfig { max_message_bytes: 10, ..TopicConfig::default() });
    assert_eq!(
        bench.step(vec![Input::Configure(changed), stale]),
        [(1, Err(ErrorCode::NotLeaderOrFollower))]
    );
}
