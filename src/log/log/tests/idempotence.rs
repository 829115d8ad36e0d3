//! Every rule about producers and their sequences, one row each (KIP-98, KIP-360).

use super::*;

/// A batch of producer 1, and the expected outcome.
struct Step {
    what: &'static str,
    epoch: i16,
    sequence: i32,
    records: usize,
    expected: Expected,
}

#[derive(Clone, Copy)]
enum Expected {
    At(Offset),
    Duplicate(Offset),
    Refused(ErrorCode),
}

use Expected::{At, Duplicate};
const OUT_OF_ORDER: Expected = Expected::Refused(ErrorCode::OutOfOrderSequenceNumber);
const STALE_EPOCH: Expected = Expected::Refused(ErrorCode::InvalidProducerEpoch);

fn send(what: &'static str, (epoch, sequence, records): (i16, i32, usize), expected: Expected) -> Step {
    Step { what, epoch, sequence, records, expected }
}

/// Runs a story on a new log, and again with the log closed, or killed, and opened again between any two steps.
#[track_caller]
fn check(story: &str, steps: &[Step]) {
    for reopening in 0..4 {
        let mut world = World::memory(TopicConfig { segment_bytes: 400, ..config() });
        for step in steps {
            match reopening {
                1 => world.reopen_clean(),
                2 => world.reopen(|_| ()),
                3 => {
                    world.flush();
                    world.reopen(|opening| opening.recovery_point = 0);
                }
                _ => {}
            }
            world.log.advance_high_watermark(world.log.log_end_offset());
            run(&mut world, step, &format!("{story}: {} (reopening {reopening})", step.what));
        }
    }
}

#[track_caller]
fn run(world: &mut World, step: &Step, what: &str) {
    let values = vec!["v"; step.records];
    let batch = world.checked(idempotent(1, step.epoch, step.sequence, START_MS, &values), Origin::Client);
    let end = world.log.log_end_offset();
    let result = world.append(&batch);
    match (result, step.expected) {
        (Ok(a), At(offset)) => {
            assert_eq!((a.base_offset, a.duplicate), (offset, false), "{what}");
            assert_eq!(a.last_offset, offset + step.records as i64 - 1, "{what}");
        }
        (Ok(a), Duplicate(offset)) => {
            assert_eq!((a.base_offset, a.duplicate), (offset, true), "{what}");
            assert_eq!(a.last_offset, offset + step.records as i64 - 1, "{what}");
            assert_eq!(world.log.log_end_offset(), end, "{what}: nothing is written");
        }
        (Err(refused), Expected::Refused(code)) => {
            assert_eq!(refused.code, code, "{what}: {refused}");
            assert_eq!(world.log.log_end_offset(), end, "{what}: nothing is written");
        }
        (result, _) => panic!("{what}: {result:?}"),
    }
}

#[test]
fn sequences_follow_each_other() {
    check(
        "in order",
        &[
            send("the first", (0, 0, 2), At(0)),
            send("the next", (0, 2, 1), At(2)),
            send("a gap", (0, 4, 1), OUT_OF_ORDER),
            send("back, and not as it was", (0, 1, 1), OUT_OF_ORDER),
            send("still the next", (0, 3, 1), At(3)),
        ],
    );
}

#[test]
fn what_comes_again_is_answered_as_then() {
    check("again", &[send("the first", (0, 0, 3), At(0)), send("again", (0, 0, 3), Duplicate(0))]);
    let mut world = World::memory(config());
    let steps = [
        send("1", (0, 0, 1), At(0)),
        send("2", (0, 1, 1), At(1)),
        send("3", (0, 2, 1), At(2)),
        send("4", (0, 3, 1), At(3)),
        send("5", (0, 4, 1), At(4)),
        send("6", (0, 5, 1), At(5)),
        send("the fifth last", (0, 1, 1), Duplicate(1)),
        send("the last", (0, 5, 1), Duplicate(5)),
        send("the sixth last is forgotten", (0, 0, 1), OUT_OF_ORDER),
        send("same start, other length", (0, 4, 2), OUT_OF_ORDER),
    ];
    steps.iter().for_each(|step| run(&mut world, step, step.what));
}

#[test]
fn sequences_wrap() {
    check(
        "wrapping",
        &[
            send("just before", (0, i32::MAX - 1, 1), At(0)),
            send("across", (0, i32::MAX, 3), At(1)),
            send("after", (0, 2, 1), At(4)),
            send("again", (0, 2, 1), Duplicate(4)),
        ],
    );
    check(
        "wrapping at a batch's end",
        &[
            send("the last number", (0, i32::MAX, 1), At(0)),
            send("one too many", (0, 1, 1), OUT_OF_ORDER),
            send("zero", (0, 0, 1), At(1)),
        ],
    );
    let mut world = World::memory(config());
    run(&mut world, &send("before", (0, i32::MAX - 1, 1), At(0)), "before");
    run(&mut world, &send("across", (0, i32::MAX, 3), At(1)), "across");
    run(&mut world, &send("across again", (0, i32::MAX, 3), Duplicate(1)), "across again");
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    check(
        "epochs",
        &[
            send("the first", (0, 0, 1), At(0)),
            send("a new epoch, not from zero", (1, 1, 1), OUT_OF_ORDER),
            send("a new epoch", (1, 0, 1), At(1)),
            send("the old one", (0, 1, 1), STALE_EPOCH),
            send("the old one's duplicate", (0, 0, 1), STALE_EPOCH),
            send("an epoch left out", (5, 0, 1), At(2)),
            send("on", (5, 1, 1), At(3)),
        ],
    );
}

#[test]
fn of_an_unknown_producer_any_sequence_will_do() {
    check("unknown", &[send("from the middle", (3, 77, 1), At(0)), send("on", (3, 78, 1), At(1))]);
}

#[test]
fn a_producer_expires_when_it_is_idle() {
    let mut world = World::memory(config());
    run(&mut world, &send("the first", (0, 0, 1), At(0)), "the first");
    world.log.expire_producers(START_MS + EXPIRATION_MS - 1);
    assert_eq!(world.log.active_producers().len(), 1);
    run(&mut world, &send("a gap", (0, 5, 1), OUT_OF_ORDER), "a gap");
    world.log.expire_producers(START_MS + EXPIRATION_MS);
    assert_eq!(world.log.active_producers(), []);
    run(&mut world, &send("any will do", (0, 5, 1), At(1)), "any will do");
    world.log.close().unwrap();
    world.now_ms += 2 * EXPIRATION_MS;
    world.reopen(|opening| opening.clean_shutdown = true);
    assert_eq!(world.log.active_producers(), [], "nor does it come back from a snapshot");
}

#[test]
fn within_one_call_each_batch_stands_on_the_one_before() {
    let mut world = World::memory(config());
    let batch = |sequence| idempotent(1, 0, sequence, START_MS, &["v"]);
    let batches = [0, 1, 1, 3, 2].map(|sequence| world.checked(batch(sequence), Origin::Client));
    let results = world.try_append(&batches).unwrap();
    let results = results.into_iter().map(|r| r.map(|a| (a.base_offset, a.duplicate)).map_err(|e| e.code));
    let gap = Err(ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(
        results.collect::<Vec<_>>(),
        [Ok((0, false)), Ok((1, false)), Ok((1, true)), gap, Ok((2, false))]
    );
}

#[test]
fn the_coordinators_batches_have_no_sequence_but_an_epoch() {
    let mut world = World::memory(config());
    let batch = |epoch| idempotent(1, epoch, -1, START_MS, &["v"]).transactional();
    for (epoch, expected) in [
        (3, ErrorCode::None),
        (3, ErrorCode::None),
        (2, ErrorCode::InvalidProducerEpoch),
        (4, ErrorCode::None),
    ] {
        let batch = world.checked(batch(epoch), Origin::Coordinator);
        assert_eq!(code(world.append(&batch)), expected, "epoch {epoch}");
    }
}

#[test]
fn a_follower_believes_its_leader() {
    let mut world = World::memory(config());
    for (offset, epoch, sequence) in [(0, 5, 0), (1, 5, 40), (2, 3, 7)] {
        let bytes = idempotent(1, epoch, sequence, START_MS, &["v"]).build(offset, LeaderEpoch(0));
        world.log.append_as_follower(bytes, LeaderEpoch(0), START_MS).unwrap().unwrap();
    }
    assert_eq!(world.log.log_end_offset(), 3);
}

#[test]
fn retention_takes_batches_but_not_what_is_known_of_their_producer() {
    let mut world = World::memory(TopicConfig { segment_bytes: 100, retention_bytes: 0, ..config() });
    for sequence in 0..5 {
        run(&mut world, &send("one", (0, sequence, 1), At(sequence.into())), "one");
    }
    for retired in world.log.delete_old_segments(START_MS).unwrap() {
        retired.run().unwrap();
    }
    assert_eq!(world.log.log_start_offset(), 5);
    run(&mut world, &send("a gap", (0, 9, 1), OUT_OF_ORDER), "a gap");
    run(&mut world, &send("the last", (0, 4, 1), Duplicate(4)), "the last");
    world.reopen_clean();
    run(&mut world, &send("a gap", (0, 9, 1), OUT_OF_ORDER), "a gap after reopening");
    run(&mut world, &send("the next", (0, 5, 1), At(5)), "the next");
}
