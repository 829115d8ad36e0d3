//! What a shard does for any machine: gathering, transactions, refusals, time and metadata. Played with the counter.

use ottla_protocol::ProducerEpoch;

use super::counter::{Command, Counter, Reply};
use super::*;

type Story = Stage<Counter>;

const SEVEN: Producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(0) };

fn empty(linger: Linger) -> Shard<Counter> {
    let terms = ShardSettings { compression: Compression::None, linger, write_timeout_ms: 5_000 };
    Shard::new(Counter::new(), terms)
}

fn story(linger: Linger) -> Story {
    Stage::new(empty(linger))
}

fn add(name: &'static str, by: i64) -> Command {
    Command::Add { name, by, transaction: None }
}

fn add_in_transaction(name: &'static str, by: i64) -> Command {
    Command::Add { name, by, transaction: Some(SEVEN) }
}

fn read(name: &'static str) -> Command {
    Command::Read { name }
}

fn ending(result: TransactionResult) -> Ending {
    Ending { producer: SEVEN, result, coordinator_epoch: 3, version: TransactionVersion::ORIGINAL }
}

/// What was said: to which question, and the count or the error.
fn told(out: Outputs<Counter>) -> Vec<(u32, Result<i64, ErrorCode>)> {
    let one = |output| match output {
        Output::Reply { token, reply: Reply::Done(ErrorCode::None) } => (token, Ok(0)),
        Output::Reply { token, reply: Reply::Done(error) } => (token, Err(error)),
        Output::Reply { token, reply: Reply::Count(count) } => (token, count.map(|(count, _)| count)),
        Output::Append(_) => panic!("nothing is to be written"),
        Output::Note(note) => panic!("{note}"),
    };
    out.into_iter().map(one).collect()
}

fn records_in(out: &Outputs<Counter>) -> i32 {
    let [Output::Append(batch)] = &out[..] else { panic!("one append is expected") };
    BatchHeader::parse(&batch.bytes).expect("a batch").record_count
}

impl Story {
    /// What somebody is told who asks now, once everything is written.
    fn count(&mut self, name: &'static str) -> i64 {
        let out = self.feed(Input::Idle);
        self.settle(out);
        let out = self.ask(read(name));
        let told = told(self.settle(out));
        told.last().expect("an answer").1.expect("a count")
    }
}

#[test]
fn what_came_together_goes_out_as_one_batch() {
    let mut story = story(Linger::Adaptive);
    for (name, by) in [("a", 1), ("b", 10), ("a", 2)] {
        assert_eq!(told(story.ask(add(name, by))), []);
    }
    assert!(story.shard.is_gathering());
    let out = story.feed(Input::Idle);
    assert_eq!(records_in(&out), 3);
    assert_eq!(told(story.append(out)), [], "it may yet be lost");
    assert_eq!(told(story.feed(Input::Replicated(2))), [], "each waits for the whole batch");
    assert_eq!(told(story.feed(Input::Replicated(3))), [(1, Ok(0)), (2, Ok(0)), (3, Ok(0))]);
    assert_eq!(story.shard.machine.applied_at, [0, 1, 2]);
    assert_eq!((story.count("a"), story.count("b")), (3, 10));
}

#[test]
fn a_refused_batch_fails_everybody_in_it_and_nobody_else() {
    let mut story = story(Linger::Adaptive);
    story.ask(add("a", 1));
    assert_eq!(story.count("a"), 1);
    story.ask(add("a", 2));
    story.ask(add("b", 3));
    story.feed(Input::Idle);
    let refused: Result<_, ErrorCode> = Err(ErrorCode::NotEnoughReplicas);
    let out = story.feed(Input::Appended(refused.map(|()| (0, 0))));
    assert_eq!(told(out), [(3, refused.map(|()| 0)), (4, refused.map(|()| 0))]);
    assert_eq!((story.count("a"), story.count("b")), (1, 0));
}

#[test]
fn who_asks_for_what_is_being_written_has_it_written_first() {
    let mut story = story(Linger::Ms(60_000));
    story.ask(add("a", 1));
    assert_eq!(told(story.ask(read("b"))), [(2, Ok(0))], "another counter does not depend on it");
    let out = story.ask(read("a"));
    assert_eq!(told(story.append(out)), []);
    assert_eq!(told(story.feed(Input::Replicated(1))), [(1, Ok(0)), (3, Ok(1))]);
}

#[test]
fn a_batch_grows_until_it_is_full() {
    let mut story = story(Linger::Adaptive);
    story.shard.limit_batches(HEADER_BYTES + 70);
    assert_eq!(told(story.ask(add("a", 1))), []);
    assert_eq!(told(story.ask(add("a", 2))), []);
    let out = story.ask(add("a", 3));
    assert_eq!(records_in(&out), 2, "the third does not fit");
    let out = story.append(out);
    assert!(matches!(out[..], [Output::Append(_)]), "and goes out behind them");
    story.settle(out);
    assert_eq!(story.count("a"), 6);
    story.shard.limit_batches(1);
    let out = story.ask(add("a", 4));
    assert_eq!(records_in(&out), 1, "what is larger than a batch is the log's to refuse");
}

#[test]
fn a_batch_lingers_as_long_as_it_is_told() {
    let mut story = story(Linger::Ms(5));
    story.ask(add("a", 1));
    story.now_ms += 3;
    story.ask(add("a", 2));
    assert_eq!(told(story.feed(Input::Idle)), [], "more may come");
    assert_eq!(story.shard.next_deadline_ms(), Some(1_005));
    story.now_ms = 1_005;
    let out = story.feed(Input::Tick);
    assert_eq!(records_in(&out), 2);
    story.settle(out);
    assert_eq!(story.shard.next_deadline_ms(), None);
    let out = self::story(Linger::Ms(0)).ask(add("a", 1));
    assert_eq!(records_in(&out), 1, "with no time to linger, each goes out alone");
}

#[test]
fn a_transaction_counts_once_its_marker_is_written() {
    let play = |result, count| {
        let mut story = story(Linger::Adaptive);
        story.ask(add("a", 1));
        let out = story.ask(add_in_transaction("a", 10));
        assert_eq!(records_in(&out), 1, "what was gathered before goes before the transaction's");
        let out = story.append(out);
        assert_eq!(records_in(&out), 1, "which waits for nobody");
        assert_eq!(told(story.settle(out)), [(1, Ok(0)), (2, Ok(0))]);
        assert_eq!(story.count("a"), 1);
        story.ask(add("a", 100));
        let out = story.end_transaction(ending(result));
        let out = story.append(out);
        let [Output::Append(batch)] = &out[..] else { panic!("the marker follows") };
        let marker = BatchHeader::parse(&batch.bytes).expect("a batch");
        assert!(marker.is_control() && marker.is_transactional());
        assert_eq!(told(story.append(out)), [], "it may yet be lost");
        assert_eq!(story.shard.applied(), story.log_end);
        assert_eq!(told(story.feed(Input::Replicated(story.log_end))).last(), Some(&(5, Ok(0))));
        assert_eq!(story.count("a"), count);
        let mut loaded = story.loaded_into(empty(Linger::Adaptive));
        assert_eq!(loaded.count("a"), count, "whoever loads the log finds the same");
        assert_eq!(loaded.shard.machine.applied_at, story.shard.machine.applied_at);
    };
    play(TransactionResult::Commit, 111);
    play(TransactionResult::Abort, 101);
}

#[test]
fn a_transaction_stays_open_while_its_marker_cannot_be_written() {
    let mut story = story(Linger::Adaptive);
    let out = story.ask(add_in_transaction("a", 10));
    story.settle(out);
    let out = story.end_transaction(ending(TransactionResult::Commit));
    assert_eq!(records_in(&out), 1);
    let refused = Err(ErrorCode::NotEnoughReplicas);
    assert!(story.shard.is_in_step(&refused, story.log_end));
    let out = story.feed(Input::Appended(refused));
    assert_eq!(told(out), [(2, Err(ErrorCode::NotEnoughReplicas))]);
    assert_eq!(story.count("a"), 0);
    // Loaded by another broker, it can still be ended.
    let mut loaded = story.loaded_into(empty(Linger::Adaptive));
    let out = loaded.end_transaction(ending(TransactionResult::Commit));
    loaded.settle(out);
    assert_eq!(loaded.count("a"), 10);
}

#[test]
fn time_passes_for_the_machine_once_all_is_written() {
    let mut story = story(Linger::Adaptive);
    assert_eq!(told(story.ask(Command::AddAt { name: "a", at_ms: 2_000 })), [(1, Ok(0))]);
    assert_eq!(story.shard.next_deadline_ms(), Some(2_000));
    story.ask(add("a", 10));
    story.now_ms = 2_000;
    let out = story.feed(Input::Tick);
    let out = story.append(out);
    assert!(story.shard.is_gathering() && out.is_empty(), "the alarm has gone off, and waits to be written");
    assert_eq!(told(story.feed(Input::Replicated(1))), [(2, Ok(0))]);
    assert_eq!(story.shard.next_deadline_ms(), None);
    assert_eq!(story.count("a"), 11);
}

#[test]
fn metadata_comes_in_as_an_input() {
    let mut story = story(Linger::Adaptive);
    let image = |offset| {
        let mut image = Image::default();
        image.offset = offset;
        Arc::new(image)
    };
    let known = |out: Outputs<Counter>| match &out[..] {
        [Output::Reply { reply: Reply::Count(Ok((_, metadata))), .. }] => *metadata,
        _ => panic!("one count is expected"),
    };
    assert_eq!(known(story.ask(read("a"))), -1);
    story.feed(Input::Image(image(4)));
    assert_eq!(known(story.ask(read("a"))), 4);
    story.ask(add("b", 1));
    let out = story.feed(Input::Image(image(5)));
    assert_eq!(records_in(&out), 1, "what was decided by the old metadata is written first");
    assert!(matches!(story.append(out)[..], []), "its reply is held");
    story.feed(Input::Replicated(1));
    assert_eq!(known(story.ask(read("a"))), 5);
}

#[test]
fn a_shard_that_moves_tells_everybody_and_takes_nothing_more() {
    let moved = Err(ErrorCode::NotCoordinator);
    let resign = || Input::Resign(ErrorCode::NotCoordinator);
    let mut story = story(Linger::Adaptive);
    let out = story.ask(add("a", 1));
    assert_eq!(told(out), []);
    let out = story.feed(Input::Idle);
    story.append(out);
    story.ask(add("a", 2));
    story.ask(add("b", 3));
    assert_eq!(told(story.feed(resign())), [(1, moved), (2, moved), (3, moved)], "held and gathered");
    assert_eq!(told(story.ask(read("a"))), [(4, moved)]);
    assert_eq!(told(story.end_transaction(ending(TransactionResult::Abort))), [(5, moved)]);
    assert_eq!(told(story.feed(Input::Tick)), []);

    let mut story = self::story(Linger::Adaptive);
    story.ask(add("a", 1));
    story.end_transaction(ending(TransactionResult::Abort));
    assert_eq!(told(story.feed(resign())), [(1, moved), (2, moved)], "being appended, and behind it");
}

#[test]
fn what_somebody_else_has_written_is_noticed() {
    let mut story = story(Linger::Adaptive);
    story.ask(add("a", 1));
    story.feed(Input::Idle);
    let refused = Err(ErrorCode::NotEnoughReplicas);
    let rows = [(Ok((0, 0)), 1, true), (Ok((1, 1)), 2, false), (refused, 0, true), (refused, 1, false)];
    for (outcome, log_end, in_step) in rows {
        assert_eq!(story.shard.is_in_step(&outcome, log_end), in_step, "{outcome:?} {log_end}");
    }
}
