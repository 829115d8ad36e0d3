//! Producers that retry, and lanes that restart after a kill: the answers, as rows.

use ottla_log::disk::{Fault, MemoryDisk, Operation};
use ottla_log::log::FlushTicket;
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::{ProducerEpoch, ProducerId};

use super::fixtures::{checked, host};
use super::*;

/// A sole replica on a disk that can lose power.
struct Stage {
    disk: MemoryDisk,
    config: Arc<TopicConfig>,
    lane: Lane<u32>,
    tickets: VecDeque<FlushTicket>,
}

enum Row {
    /// One record of an idempotent producer with acks=all: token and sequence.
    Append(u32, i32),
    /// The oldest running flush is completed, and its result comes back.
    Flush,
    /// The process is killed without a loss of power, and the log is opened again.
    Kill,
    Tick(i64),
}

use Row::{Append as Send, Flush, Kill, Tick};

fn open(disk: &MemoryDisk, config: &Arc<TopicConfig>) -> Lane<u32> {
    let (epoch, replicas) = (LeaderEpoch(0), vec![NodeId(1)]);
    let leadership = Leadership { epoch, partition_epoch: 0, replicas: replicas.clone(), isr: replicas };
    Lane::new(host(1), fixtures::open(disk, config), Role::Leader(leadership), config.clone(), 0)
}

impl Stage {
    fn new(flush_messages: i64) -> Stage {
        let disk = MemoryDisk::new(1);
        let config = Arc::new(TopicConfig { flush_messages, ..TopicConfig::default() });
        let lane = open(&disk, &config);
        Stage { disk, config, lane, tickets: VecDeque::new() }
    }

    fn append(&self, token: u32, sequence: i32) -> Input<u32> {
        let mut builder =
            BatchBuilder::new(Compression::None).producer(ProducerId(7), ProducerEpoch(0), sequence);
        builder.append(0, None, Some(b"value"), &[]);
        let batch = checked(builder, &self.config);
        let checked_against = self.config.clone();
        Input::Append(Append {
            token,
            batch,
            acks: Acks::All,
            answered: Answered::WhenSafe,
            checked_against,
            deadline_ms: 1_000,
        })
    }

    /// The answers of this row: a token, and an offset or an error.
    fn play(&mut self, row: &Row) -> Vec<(u32, Result<Offset, ErrorCode>)> {
        let (now_ms, input) = match row {
            Row::Append(token, sequence) => (0, self.append(*token, *sequence)),
            Tick(now_ms) => (*now_ms, Input::Tick),
            Flush => {
                let ticket = self.tickets.pop_front().expect("a flush is under way");
                let up_to = ticket.up_to;
                (0, Input::Flushed { up_to, result: ticket.run() })
            }
            Kill => {
                self.disk.kill();
                self.tickets.clear();
                self.lane = open(&self.disk, &self.config);
                return Vec::new();
            }
        };
        let mut out = Vec::new();
        self.lane.step(now_ms, [input], &mut out);
        let mut told = Vec::new();
        for output in out {
            match output {
                Output::Reply { token, outcome } => {
                    told.push((token, outcome.map(|a| a.base_offset).map_err(|r| r.code)));
                }
                Output::Flush(ticket) => self.tickets.push_back(ticket),
                _ => {}
            }
        }
        told
    }
}

type Told<'a> = &'a [(u32, Result<Offset, ErrorCode>)];

/// Each row is followed by its answers and the high watermark.
fn check(story: &str, flush_messages: i64, rows: &[(Row, Told<'_>, Offset)]) {
    let mut stage = Stage::new(flush_messages);
    for (at, (row, told, high_watermark)) in rows.iter().enumerate() {
        assert_eq!(stage.play(row), *told, "{story}, row {at}");
        assert_eq!(stage.lane.log().high_watermark(), *high_watermark, "{story}, row {at}");
    }
}

#[test]
fn a_batch_that_is_sent_again_is_told_when_it_is_true() {
    check(
        "a batch that is sent again waits for the same flush",
        1,
        &[(Send(1, 0), &[], 0), (Send(2, 0), &[], 0), (Flush, &[(1, Ok(0)), (2, Ok(0))], 1)],
    );
    check(
        "whoever has waited too long is told so, and the batch stays",
        1,
        &[
            (Send(1, 0), &[], 0),
            (Tick(1_000), &[(1, Err(ErrorCode::RequestTimedOut))], 0),
            (Flush, &[], 1),
            (Send(2, 0), &[(2, Ok(0))], 1),
        ],
    );
}

#[test]
fn what_a_killed_process_left_is_flushed_before_anyone_hears_of_it() {
    let mut stage = Stage::new(1);
    stage.play(&Send(1, 0));
    stage.play(&Kill);
    assert_eq!(stage.lane.log().high_watermark(), 1);
    assert_eq!(stage.play(&Send(2, 0)), [(2, Ok(0))], "it was sent again, and is stored");
    stage.disk.crash();
    assert_eq!(open(&stage.disk, &stage.config).log().log_end_offset(), 1, "and it outlives the power");
}

#[test]
fn without_the_disk_nothing_that_was_left_is_heard_of() {
    let mut stage = Stage::new(1);
    stage.play(&Send(1, 0));
    stage.disk.fail_nth(Operation::Sync, 1, Fault::Broken);
    stage.play(&Kill);
    assert_eq!(stage.lane.log().high_watermark(), 0);
    assert_eq!(stage.play(&Send(2, 0)), [(2, Err(ErrorCode::KafkaStorageError))]);
}
