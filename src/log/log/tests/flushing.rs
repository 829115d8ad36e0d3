//! What a flush promises, and when the recovery point moves.

use super::*;
use crate::disk::{Fault, Operation};

#[test]
fn the_recovery_point_moves_when_a_flush_has_succeeded() {
    let mut world = World::memory(config());
    world.put(&["a", "b"]);
    assert_eq!((world.log.recovery_point(), world.log.unflushed_messages()), (0, 2));
    let ticket = world.log.flush_begin().unwrap();
    world.put(&["c"]);
    assert_eq!(ticket.up_to, 2);
    ticket.run().unwrap();
    assert_eq!(world.log.recovery_point(), 0, "not before it is told");
    world.log.flush_end(2);
    assert_eq!(
        (world.log.recovery_point(), world.log.unflushed_messages()),
        (2, 1),
        "not past what was synced"
    );
    world.log.flush_end(3);
    assert_eq!(world.log.recovery_point(), 2, "nobody synced that (KAFKA-10101)");
}

#[test]
fn flushed_batches_survive_the_loss_of_power() {
    for seed in 0..50 {
        let mut world = World::memory(TopicConfig { segment_bytes: 300, ..config() });
        for n in 0..10 {
            world.put(&[&n.to_string()]);
        }
        world.flush();
        let flushed = world.read_all();
        for n in 10..20 {
            world.put(&[&n.to_string()]);
        }
        let everything = world.read_all();
        let recovery_point = world.log.recovery_point();
        let fork = world.memory.as_ref().unwrap().fork(seed);
        fork.crash();
        (world.disk, world.memory) = (Arc::new(fork.clone()), Some(fork));
        world.reopen(|opening| opening.recovery_point = recovery_point);
        let left = world.read_all();
        assert!(
            left.len() >= flushed.len(),
            "seed {seed}: {left:?} {:?} {:?}",
            world.recovery,
            world.files()
        );
        assert_eq!(left, everything[..left.len()], "seed {seed}");
    }
}

#[test]
fn a_failed_sync_is_the_end() {
    let mut world = World::memory(config());
    world.put(&["a"]);
    let ticket = world.log.flush_begin().unwrap();
    let up_to = ticket.up_to;
    world.memory.as_ref().unwrap().fail_next(Operation::Sync, Fault::Broken);
    assert!(ticket.run().is_err());
    world.log.flush_end(up_to);
    assert_eq!(world.log.recovery_point(), 0, "even if its owner errs");
    let batch = world.checked(plain(0, &["b"]), Origin::Client);
    assert!(matches!(world.try_append(&[batch]), Err(AppendError::Io(LogError::Offline { .. }))));
    assert!(matches!(world.log.flush_begin(), Err(LogError::Offline { .. })));
    assert!(matches!(world.log.close(), Err(LogError::Offline { .. })));
    assert_eq!(world.values(), ["a"]);
}

#[test]
fn a_truncation_takes_back_what_a_flush_was_to_cover() {
    let mut world = World::memory(config());
    for value in ["a", "b", "c", "d"] {
        world.put(&[value]);
    }
    let ticket = world.log.flush_begin().unwrap();
    world.log.truncate_to(1, START_MS).unwrap();
    for value in ["x", "y", "z"] {
        world.put(&[value]);
    }
    ticket.run().unwrap();
    world.log.flush_end(4);
    assert_eq!(world.log.recovery_point(), 1, "x, y and z are not what was synced");
    world.flush();
    assert_eq!(world.log.recovery_point(), 4);
}

#[test]
fn flushes_are_due_by_number_by_time_and_after_a_roll() {
    let config = TopicConfig { flush_messages: 3, flush_ms: 1000, ..config() };
    let mut world = World::memory(config);
    assert!(!world.log.flush_due(START_MS + 5000), "nothing to flush");
    world.put(&["a", "b"]);
    assert!(!world.log.flush_due(START_MS + 999));
    assert!(world.log.flush_due(START_MS + 1000));
    world.put(&["c"]);
    assert!(world.log.flush_due(START_MS));
    world.now_ms += 1500;
    world.put(&["d"]);
    world.flush();
    assert_eq!(world.log.last_flush_ms(), START_MS + 1500);
    world.put(&["e"]);
    assert!(!world.log.flush_due(START_MS + 2000));
    let mut world = World::memory(TopicConfig { segment_bytes: 400, ..super::config() });
    while world.log.segment_count() == 1 {
        assert!(!world.log.flush_due(START_MS));
        world.put(&["f"]);
    }
    assert!(world.log.flush_due(START_MS));
    world.flush();
    assert!(!world.log.flush_due(START_MS));
}

#[test]
fn a_segment_that_ends_at_the_recovery_point_is_read_again() {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    for (timestamp, value) in [(START_MS - 2, "a"), (START_MS - 1, "b")] {
        let batch = world.checked(plain(timestamp, &[value]), Origin::Client);
        world.append(&batch).unwrap();
    }
    world.flush();
    world.put(&["c"]);
    assert_eq!((world.log.segment_count(), world.log.recovery_point()), (2, 2));
    let (times, offsets) = (world.bytes(0, ".timeindex"), world.bytes(0, ".index"));
    let before = world.memory.clone().unwrap();
    for seed in 0..30 {
        let fork = before.fork(seed);
        fork.crash();
        (world.disk, world.memory) = (Arc::new(fork.clone()), Some(fork));
        world.reopen(|opening| opening.recovery_point = 2);
        assert!(world.recovery.scanned_bytes >= 144, "{:?}", world.recovery);
        world.put(&["d"]);
        world.flush();
        world.memory.as_ref().unwrap().crash();
        assert_eq!(world.bytes(0, ".timeindex"), times, "seed {seed}");
        assert_eq!(world.bytes(0, ".index"), offsets, "seed {seed}");
    }
}

#[test]
fn a_flush_of_a_deleted_log_is_no_failure() {
    for mut world in World::both(config()) {
        world.put(&["a"]);
        let ticket = world.log.flush_begin().unwrap();
        world.log.delete(Uuid::from_u128(1)).unwrap();
        ticket.run().unwrap();
    }
}

#[test]
fn a_flush_costs_one_sync_once_the_names_are_there() {
    let mut world = World::memory(TopicConfig::default());
    world.put(&["a"]);
    world.flush();
    let memory = world.memory.clone().unwrap();
    world.put(&["b"]);
    let before = memory.changes();
    world.flush();
    assert_eq!(memory.changes() - before, 1);
}
