//! What a lane answers, and when, step by step, with a disk in memory.

use std::path::{Path, PathBuf};

use ottla_log::Disk;
use ottla_log::disk::{Fault, MemoryDisk, Operation};
use ottla_log::log::{FlushTicket, Opening, Relocation};
use ottla_model::config::CleanupPolicy;
use ottla_protocol::batch::{BatchBuilder, Compression};
use uuid::Uuid;

use super::fixtures::{checked, host, open, opening};
use super::flushing::WRITE_BEHIND_BYTES;
use super::*;

/// Node 1 leads, and all replicas are in sync.
fn leadership(epoch: i32, replicas: &[i32]) -> Leadership {
    let nodes: Vec<NodeId> = replicas.iter().map(|id| NodeId(*id)).collect();
    Leadership { epoch: LeaderEpoch(epoch), partition_epoch: epoch, replicas: nodes.clone(), isr: nodes }
}

/// A lane, its outputs, and the flushes that it has asked for.
struct Bench {
    disk: MemoryDisk,
    lane: Lane<u32>,
    config: Arc<TopicConfig>,
    tickets: Vec<FlushTicket>,
    /// Its outputs about the disk.
    told: Vec<&'static str>,
    /// Position and number of bytes of each range.
    written_out: Vec<(u64, u64)>,
    now_ms: i64,
}

impl Bench {
    fn new(config: TopicConfig, isr: &[i32]) -> Bench {
        let config = Arc::new(config);
        let disk = MemoryDisk::new(1);
        let log = open(&disk, &config);
        let lane = Lane::new(host(1), log, Role::Leader(leadership(0, isr)), config.clone(), 0);
        let (tickets, told, written_out) = Default::default();
        Bench { disk, lane, config, tickets, told, written_out, now_ms: 0 }
    }

    fn append(&self, token: u32, acks: Acks, deadline_ms: i64) -> Input<u32> {
        self.append_of(token, b"value", acks, deadline_ms)
    }

    /// An append of one record with this many bytes.
    fn append_value(&self, token: u32, bytes: usize) -> Input<u32> {
        self.append_of(token, &vec![7; bytes], Acks::All, 1_000)
    }

    fn append_of(&self, token: u32, value: &[u8], acks: Acks, deadline_ms: i64) -> Input<u32> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, None, Some(value), &[]);
        let batch = checked(builder, &self.config);
        Input::Append(Append {
            token,
            batch,
            acks,
            answered: Answered::WhenSafe,
            checked_against: self.config.clone(),
            deadline_ms,
        })
    }

    /// One step. Returns the answers by token: offsets or error codes.
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
                Output::WriteOut(range) => {
                    self.written_out.push((range.at, range.len));
                    range.run();
                }
                Output::Advanced | Output::Grown | Output::Deleted { .. } | Output::Swapped { .. } => {}
                Output::Noted { .. } | Output::Followed { .. } | Output::Propose(_) => {}
                Output::Verifying { .. } => {}
                Output::Relocated { outcome: Ok(_), .. } => self.told.push("moved"),
                Output::Relocated { outcome: Err(_), .. } => self.told.push("not moved"),
                Output::Retire(retired) => {
                    self.told.push("retired");
                    retired.into_iter().for_each(|files| files.run().expect("they are there"));
                }
                Output::Offline { disk: true, .. } => self.told.push("the disk failed"),
                Output::Offline { disk: false, .. } => self.told.push("offline"),
                Output::Full => self.told.push("full"),
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

    /// A copy of the log in another directory, complete up to now.
    fn copied(&self) -> Box<Relocation> {
        let disk = self.disk.clone();
        let live = PathBuf::from("/other/t-0");
        let opening = Opening { dir: live.clone(), ..opening(&self.disk, &self.config) };
        let from = PathBuf::from("/other/t-0.1f-future");
        let go_live = {
            let from = from.clone();
            move |_| disk.rename(&from, &live)
        };
        let copy = Relocation::begin(opening, from, self.lane.reader(), Box::new(go_live));
        let mut copy = copy.expect("a copy begins");
        while copy.step(1_000, 0).expect("it is copied") > 0 {}
        Box::new(copy)
    }

    fn high_watermark(&self) -> Offset {
        self.lane.reader().offsets().high_watermark
    }
}

const UNIQUE: Uuid = Uuid::from_u128(7);

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
        bench.lane.step(0, [Input::DeleteRecords { token: 9, before, deadline_ms: 1_000 }], &mut out);
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
    bench.lane.offline = true;
    assert_eq!(delete(&mut bench, None), Err(KafkaStorageError));
}

#[test]
fn nothing_is_told_before_it_is_flushed() {
    let mut bench = Bench::new(flush_each(), &[1]);
    let first = bench.append(1, Acks::All, 1_000);
    assert_eq!(bench.step(vec![first]), []);
    assert_eq!(bench.high_watermark(), 0, "a consumer must not see what a loss of power could take");
    // Two more arrive during the flush; they share the next one.
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
fn a_leadership_is_written_down_before_a_producer_comes() {
    let mut bench = Bench::new(TopicConfig::default(), &[1]);
    let writes = |bench: &Bench| bench.disk.changes();
    let before = writes(&bench);
    bench.step(vec![Input::Settle]);
    assert!(writes(&bench) > before);
    assert_eq!(bench.lane.log().last_epoch(), Some(LeaderEpoch(0)));
    let settled = writes(&bench);
    bench.step(vec![Input::Settle]);
    assert_eq!(writes(&bench), settled, "once");
    // A batch takes one write. The epoch does not have to be written again.
    let first = bench.append(1, Acks::All, 1_000);
    assert_eq!(bench.step(vec![first]), [(1, Ok(0))]);
    assert_eq!(writes(&bench), settled + 1);
}

#[test]
fn a_log_moves_between_two_flushes() {
    let mut bench = Bench::new(flush_each(), &[1]);
    let first = bench.append(1, Acks::All, 1_000);
    bench.step(vec![first]);
    let (copy, second) = (bench.copied(), bench.append(2, Acks::All, 1_000));
    assert_eq!(bench.step(vec![Input::Relocate { token: 9, copy, unique: UNIQUE }, second]), []);
    assert_eq!(bench.told, [""; 0], "the flush that is under way is of the log as it is");
    assert_eq!(bench.finish_flush(), [(1, Ok(0)), (2, Ok(1))], "what has moved is flushed");
    assert_eq!(bench.told, ["moved"]);
    assert_eq!(bench.lane.log().dir(), Path::new("/other/t-0"));
    let names = bench.disk.list(Path::new("/data")).expect("it is there").into_iter().map(|entry| entry.name);
    assert_eq!(names.collect::<Vec<_>>(), [format!("t-0.{}-delete", UNIQUE.as_simple())], "only one is live");
    assert_eq!(bench.high_watermark(), 2);
    assert!(bench.tickets.is_empty());
    let third = bench.append(3, Acks::All, 1_000);
    assert_eq!(bench.step(vec![third]), []);
    assert_eq!(bench.finish_flush(), [(3, Ok(2))]);
}

#[test]
fn a_log_that_is_closed_does_not_move() {
    let mut bench = Bench::new(flush_each(), &[1]);
    let first = bench.append(1, Acks::All, 1_000);
    bench.step(vec![first]);
    let copy = bench.copied();
    bench.step(vec![Input::Relocate { token: 9, copy, unique: UNIQUE }]);
    let mut out = Vec::new();
    let log = bench.lane.into_log(&mut out);
    assert!(
        matches!(out[..], [Output::Reply { token: 1, .. }, Output::Relocated { outcome: Err(_), .. }]),
        "{out:?}"
    );
    assert_eq!(log.dir(), Path::new("/data/t-0"));
    assert!(bench.disk.list(Path::new("/other")).expect("it is there").is_empty(), "the copy is gone");
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
fn a_full_disk_refuses_producers_until_there_is_room() {
    use ErrorCode::KafkaStorageError;
    let small = TopicConfig { segment_bytes: 400, retention_ms: 1_000, ..TopicConfig::default() };
    let mut bench = Bench::new(small, &[1]);
    let produce = |bench: &mut Bench, token| {
        let append = bench.append(token, Acks::All, 1_000);
        bench.step(vec![append]).remove(0).1
    };
    // The first append writes its epoch. From here on there is room for some batches, but not for all.
    assert_eq!(produce(&mut bench, 0), Ok(0));
    bench.disk.set_capacity(Some(1_500));
    let mut next = 1;
    while let Ok(offset) = produce(&mut bench, next as u32) {
        assert_eq!(offset, next);
        next += 1;
    }
    assert!((5..30).contains(&next), "{next}");
    assert_eq!(produce(&mut bench, 90), Err(KafkaStorageError), "again");
    assert_eq!(bench.high_watermark(), next, "what was acknowledged stays readable");
    assert_eq!(bench.told, ["full"], "the second one did not find out anything");
    // Retention makes room after some time.
    bench.now_ms = 10_000;
    bench.step(vec![Input::Tick]);
    assert_eq!(bench.told, ["full", "retired"]);
    // The refused batch was cut off, and the cut has to be durable before anything is appended in its place.
    assert_eq!(produce(&mut bench, 91), Err(KafkaStorageError), "not before a flush");
    while !bench.tickets.is_empty() {
        bench.finish_flush();
    }
    assert_eq!(produce(&mut bench, 92), Ok(next));
    assert_eq!(bench.told, ["full", "retired"], "and what only waits for a flush has room");
}

#[test]
fn turns_that_may_wait_for_the_disk_are_known_before_they_are_taken() {
    let small = TopicConfig { segment_bytes: 200, ..TopicConfig::default() };
    let mut bench = Bench::new(small, &[1]);
    let waits = |bench: &Bench, inputs: &[Input<u32>]| bench.lane.may_wait(bench.now_ms, inputs.iter());
    let append = |bench: &Bench| bench.append(1, Acks::All, 1_000);
    let first = append(&bench);
    assert!(waits(&bench, std::slice::from_ref(&first)), "the epoch is synced before the first batch");
    bench.step(vec![first]);
    let two = [append(&bench), append(&bench)];
    assert!(!waits(&bench, &two[..1]), "a write, and nothing else");
    assert!(waits(&bench, &two), "the second batch has no room in the segment");
    bench.step(two.into());
    assert!(!waits(&bench, &[append(&bench)]), "the flush of the segment that was rolled is under way");
    let flushed = Input::Flushed { up_to: bench.tickets[0].up_to, result: Ok(()) };
    assert!(waits(&bench, &[flushed]), "another one may follow it");
    while !bench.tickets.is_empty() {
        bench.finish_flush();
    }
    assert!(!waits(&bench, &[append(&bench)]), "that is done");
    assert!(waits(&bench, &[Input::Tick]) && waits(&bench, &[append(&bench), Input::Settle]));
    assert!(!waits(&bench, &[Input::Flushed { up_to: 3, result: Ok(()) }]));
    assert!(
        waits(&bench, &[Input::Lead(leadership(1, &[1])), append(&bench)]),
        "an append under a new epoch"
    );
    assert!(waits(&bench, &[Input::Configure(bench.config.clone()), append(&bench)]), "other segments");
}

#[test]
fn a_lot_that_nobody_flushes_is_flushed_all_the_same() {
    let mut bench = Bench::new(TopicConfig { max_message_bytes: i32::MAX, ..TopicConfig::default() }, &[1]);
    let half = WRITE_BEHIND_BYTES as usize / 2;
    for (flushes, token) in [(0, 1), (1, 2), (1, 3)] {
        let append = bench.append_value(token, half);
        assert_eq!(bench.step(vec![append]), [(token, Ok(i64::from(token) - 1))], "nobody waits for it");
        assert_eq!(bench.tickets.len(), flushes, "after {token}");
    }
    bench.finish_flush();
    assert_eq!(bench.lane.log().recovery_point(), 2);
}

#[test]
fn the_disk_begins_to_write_long_before_a_flush_in_pieces_that_meet() {
    let mut bench = Bench::new(TopicConfig::default(), &[1]);
    for token in 1..=40 {
        let append = bench.append_value(token, 100_000);
        bench.step(vec![append]);
    }
    assert!(bench.tickets.is_empty());
    let size = bench.lane.log().size();
    let (mut end, ranges) = (0, std::mem::take(&mut bench.written_out));
    for (at, len) in ranges {
        assert!(at == end && (1..1 << 20).contains(&len), "{len} bytes at {at}, behind {end}");
        end += len;
    }
    assert!(end <= size && size - end < 1 << 20, "{end} of {size}");
}

#[test]
fn an_epoch_that_finds_no_room_is_written_before_the_first_batch_all_the_same() {
    let mut bench = Bench::new(TopicConfig::default(), &[1]);
    bench.disk.set_capacity(Some(0));
    for token in 1..3 {
        let refused = bench.append(token, Acks::All, 1_000);
        assert_eq!(bench.step(vec![refused]), [(token, Err(ErrorCode::KafkaStorageError))]);
    }
    bench.disk.set_capacity(None);
    let stored = bench.append(3, Acks::All, 1_000);
    assert_eq!(bench.step(vec![stored]), [(3, Ok(0))]);
    let epochs = bench.disk.read_to_vec(&PathBuf::from("/data/t-0/leader-epoch-checkpoint"));
    assert_eq!(epochs.expect("it is there"), b"0\n1\n0 0\n");
    assert_eq!(bench.told, ["full", "full"]);
}

#[test]
fn a_failed_write_is_told_apart_from_a_full_disk() {
    let mut bench = Bench::new(TopicConfig::default(), &[1]);
    let first = bench.append(1, Acks::All, 1_000);
    bench.step(vec![first]);
    bench.disk.fail_next(Operation::Write, Fault::Broken);
    for token in 2..4 {
        let refused = bench.append(token, Acks::All, 1_000);
        assert_eq!(bench.step(vec![refused]), [(token, Err(ErrorCode::KafkaStorageError))]);
    }
    assert_eq!(bench.told, ["the disk failed"], "once, and not tried again");
    assert_eq!(bench.high_watermark(), 1);
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

/// The high watermark moves without an append, and the append that waited only for that is answered.
#[test]
fn a_follower_that_leaves_the_in_sync_set_holds_nobody_any_more() {
    let mut bench = Bench::new(TopicConfig::default(), &[1, 2]);
    let inputs = vec![bench.append(1, Acks::All, 1_000), bench.append(2, Acks::Leader, 1_000)];
    assert_eq!(bench.step(inputs), [(2, Ok(1))]);
    let alone = Leadership { isr: vec![NodeId(1)], partition_epoch: 1, ..leadership(0, &[1, 2]) };
    assert_eq!(bench.step(vec![Input::Lead(alone)]), [(1, Ok(0))]);
    assert_eq!(bench.high_watermark(), 2);
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
