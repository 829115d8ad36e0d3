//! Truncating the log's end: log, indexes, producers, epochs and offsets are lowered together.

use super::*;
use crate::disk::{Fault, Operation};

/// Twenty records, two in a batch, four in a segment; each batch has an epoch of its own.
fn twenty() -> World {
    let mut world = World::memory(TopicConfig { segment_bytes: 170, ..config() });
    for n in 0..10 {
        world.epoch = LeaderEpoch(n);
        let values = [2 * n, 2 * n + 1].map(|offset| offset.to_string());
        let values = [values[0].as_str(), values[1].as_str()];
        let batch = idempotent(1, 0, 2 * n, START_MS + i64::from(n), &values);
        let batch = world.checked(batch, Origin::Client);
        world.append(&batch).unwrap();
    }
    assert_eq!(world.log.segment_count(), 5);
    world
}

#[test]
fn the_log_ends_where_it_is_cut() {
    for offset in 0..=21 {
        let mut world = twenty();
        let everything = world.read_all();
        let cut = world.log.truncate_to(offset, START_MS).unwrap();
        assert_eq!(cut, offset < 20, "to {offset}");
        // A batch is removed as a whole.
        let end = (offset / 2 * 2).min(20);
        for reopened in [false, true] {
            let what = format!("to {offset}, reopened {reopened}");
            assert_eq!(world.log.log_end_offset(), end, "{what}");
            assert_eq!(world.read_all(), everything[..end as usize], "{what}");
            let last_epoch = (end > 0).then(|| LeaderEpoch(end as i32 / 2 - 1));
            assert_eq!(world.log.last_epoch(), last_epoch, "{what}");
            let largest = world.log.reader().max_timestamp(Isolation::LogEnd).unwrap();
            assert_eq!(largest.map(|t| t.timestamp), (end > 0).then(|| START_MS + end / 2 - 1), "{what}");
            let sequence = world.log.active_producers().first().map(|producer| producer.last_sequence);
            assert_eq!(sequence, (end > 0).then(|| end as i32 - 1), "{what}");
            if !reopened {
                assert_eq!(world.log.high_watermark(), end, "{what}");
                assert!(world.log.recovery_point() <= end, "{what}");
                world.reopen(|_| ());
            }
        }
        let next = world.checked(idempotent(1, 0, end as i32, START_MS, &["on"]), Origin::Client);
        assert_eq!(world.append(&next).unwrap().base_offset, end, "to {offset}");
    }
}

/// A copy that retention has overtaken, or a follower that was away for too long, starts anew above what it has.
#[test]
fn a_log_that_starts_anew_flushes_nothing_that_is_gone() {
    for start in [0, 7, 20, 25] {
        let mut world = twenty();
        world.log.truncate_fully(start, START_MS).unwrap();
        world.flush();
        world.put(&["new"]);
        world.flush();
        assert_eq!(
            (world.log.recovery_point(), world.values()),
            (start + 1, vec!["new".to_owned()]),
            "{start}"
        );
    }
}

#[test]
fn a_cut_log_survives_the_loss_of_power() {
    for seed in 0..100 {
        let mut world = twenty();
        world.flush();
        let mut expected = world.read_all();
        let to = seed % 20 / 2 * 2;
        world.log.truncate_to(to as i64, START_MS).unwrap();
        expected.truncate(to as usize);
        world.put(&["new"]);
        expected.push((to as i64, "new".to_owned()));
        let fork = world.memory.as_ref().unwrap().fork(seed);
        fork.crash();
        (world.disk, world.memory) = (Arc::new(fork.clone()), Some(fork));
        world.reopen(|_| ());
        let left = world.read_all();
        assert!(left.len() >= to as usize, "seed {seed}");
        assert_eq!(left, expected[..left.len()], "seed {seed}: nothing that was cut off comes back");
    }
}

#[test]
fn epochs_are_cut_even_when_no_bytes_are() {
    let mut world = twenty();
    world.log.assign_epoch(LeaderEpoch(30), 20).unwrap();
    assert!(!world.log.truncate_to(20, START_MS).unwrap());
    assert_eq!(world.log.last_epoch(), Some(LeaderEpoch(9)), "KAFKA-10706");
}

#[test]
fn an_epoch_that_was_cut_does_not_come_back_with_what_follows() {
    // Somebody who began to lead at 20 is told that it went on otherwise: it cuts its note, or loses it with its process.
    for (ends_before, flushes) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = twenty();
        world.log.assign_epoch(LeaderEpoch(30), 20).unwrap();
        match ends_before {
            true => world.reopen(|_| ()),
            false => drop(world.log.truncate_to(20, START_MS).unwrap()),
        }
        let batch = plain(5, &["x"]).build(20, LeaderEpoch(9));
        assert!(world.log.follow_waits(&batch, START_MS), "the list of epochs is synced first");
        world.log.append_as_follower(batch, LeaderEpoch(31), START_MS).unwrap().unwrap();
        let next = plain(5, &["y"]).build(21, LeaderEpoch(9));
        assert!(!world.log.follow_waits(&next, START_MS));
        if flushes {
            world.flush();
        }
        world.reopen(|_| ());
        let case = format!("ended before: {ends_before}, flushed: {flushes}");
        assert_eq!(world.log.last_epoch(), Some(LeaderEpoch(9)), "{case}");
        assert_eq!(world.log.epoch_end_offset(LeaderEpoch(9)), (LeaderEpoch(9), 21), "{case}");
    }
}

#[test]
fn an_epoch_begins_where_it_does_whatever_finds_no_room() {
    // An answer with batches of two epochs, and a disk that is full at its first write, its second one...
    for full_at in 1..=6 {
        let mut world = twenty();
        let memory = world.memory.clone().unwrap();
        let two = [
            plain(5, &["a"]).build(20, LeaderEpoch(9)),
            plain(5, &["b"]).build(21, LeaderEpoch(11)),
            plain(5, &["c"]).build(22, LeaderEpoch(12)),
        ];
        memory.fail_nth(Operation::Write, full_at, Fault::Full);
        let mut fetches = 0;
        while world.log.log_end_offset() < 23 {
            let left = two[world.log.log_end_offset() as usize - 20..].concat();
            // Without room it is tried again, once what was cut is flushed.
            if world.log.append_as_follower(left.into(), LeaderEpoch(12), START_MS).is_err() {
                world.flush();
            }
            fetches += 1;
            assert!(fetches < 5, "full at {full_at}");
        }
        for reopened in [false, true] {
            let ends = [8, 9, 10, 11, 12].map(|epoch| world.log.epoch_end_offset(LeaderEpoch(epoch)));
            let expected = [(8, 18), (9, 21), (9, 21), (11, 22), (12, 23)];
            assert_eq!(ends, expected.map(|(e, end)| (LeaderEpoch(e), end)), "{full_at}, {reopened}");
            if !reopened {
                world.reopen(|_| ());
            }
        }
    }
}

#[test]
fn a_note_of_an_epoch_that_the_log_contradicts_is_not_believed() {
    // Another broker, which writes the file some time after a cut, was ended before it came to that.
    let mut world = twenty();
    let path = world.log.dir().join("leader-epoch-checkpoint");
    let mut file = Vec::new();
    world.overwrite(&path, |bytes| file.clone_from(bytes));
    let batch = plain(5, &["x"]).build(20, LeaderEpoch(9));
    world.log.append_as_follower(batch, LeaderEpoch(31), START_MS).unwrap().unwrap();
    let noted = String::from_utf8(file).unwrap();
    let (count, entries) = noted.strip_prefix("0\n").unwrap().split_once('\n').unwrap();
    let count = count.parse::<usize>().unwrap() + 1;
    world.overwrite(&path, |bytes| *bytes = format!("0\n{count}\n{entries}30 20\n").into_bytes());
    world.reopen(|_| ());
    assert_eq!(world.log.epoch_end_offset(LeaderEpoch(9)), (LeaderEpoch(9), 21));
    assert_eq!(world.log.last_epoch(), Some(LeaderEpoch(9)));
}

#[test]
fn a_full_truncation_resets_everything() {
    let mut world = twenty();
    let reader = world.log.reader();
    world.log.truncate_fully(100, START_MS).unwrap();
    for reopened in [false, true] {
        let offsets = Offsets { log_start: 100, last_stable: 100, high_watermark: 100, log_end: 100 };
        assert_eq!(world.log.offsets(), offsets, "reopened {reopened} (KAFKA-9491)");
        assert_eq!(world.log.last_epoch(), None);
        assert_eq!(world.log.active_producers(), []);
        assert_eq!(world.values(), [""; 0]);
        if !reopened {
            assert_eq!(reader.offsets(), offsets);
            world.reopen(|_| ());
        }
    }
    assert_eq!(world.put(&["on"]).base_offset, 100);
    assert_eq!(world.values(), ["on"]);
}

#[test]
fn below_the_first_segment_nothing_is_left() {
    let mut world = twenty();
    world.log.set_config(Arc::new(TopicConfig { retention_bytes: 0, ..world.config.clone() }));
    assert_eq!(world.log.delete_old_segments(START_MS).unwrap().len(), 5);
    assert_eq!(world.log.log_start_offset(), 20);
    assert!(world.log.truncate_to(12, START_MS).unwrap());
    assert_eq!(
        world.log.offsets(),
        Offsets { log_start: 12, last_stable: 12, high_watermark: 12, log_end: 12 }
    );
}

#[test]
fn an_open_transaction_is_open_again_when_its_end_is_cut_off() {
    let mut world = World::memory(config());
    let first = world.checked(idempotent(1, 0, 0, 5, &["a"]).transactional(), Origin::Client);
    world.append(&first).unwrap();
    let marker = world.checked(end_of_txn(1, 0, TransactionResult::Abort, 0, 5), Origin::Coordinator);
    world.append(&marker).unwrap();
    world.put(&["b"]);
    assert_eq!(world.log.last_stable_offset(), 3);
    world.log.truncate_to(1, START_MS).unwrap();
    assert_eq!(world.log.offsets(), Offsets { log_start: 0, last_stable: 0, high_watermark: 1, log_end: 1 });
    assert_eq!(world.log.reader().aborted_transactions(0, 9).unwrap(), []);
    world.append(&marker).unwrap();
    assert_eq!(world.log.last_stable_offset(), 2);
    assert_eq!(world.log.reader().aborted_transactions(0, 9).unwrap(), [(ProducerId(1), 0)]);
}

#[test]
fn a_truncation_that_fails_takes_the_log_offline_and_readers_do_not_wait() {
    for operation in [Operation::Truncate, Operation::Sync, Operation::Remove, Operation::SyncDir] {
        let mut world = twenty();
        world.memory.as_ref().unwrap().fail_next(operation, Fault::Broken);
        assert!(matches!(world.log.truncate_to(7, START_MS), Err(LogError::Io { .. })), "{operation:?}");
        let batch = world.checked(plain(0, &["x"]), Origin::Client);
        assert!(matches!(world.try_append(&[batch]), Err(AppendError::Io(LogError::Offline { .. }))));
        let _ = world.log.reader().read(0, 100, Isolation::LogEnd, true);
        let _ = world.log.reader().offset_for_timestamp(START_MS, Isolation::LogEnd);
        world.reopen(|opening| opening.recovery_point = 0);
        assert!(world.values().len() >= 6, "{operation:?}");
    }
}

#[test]
fn readers_survive_truncations() {
    let mut world = World::memory(TopicConfig { segment_bytes: 1000, ..config() });
    let reader = world.log.reader();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = 1u64;
            while !done.load(Ordering::Acquire) {
                let end = reader.offsets().log_end;
                dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1);
                let from = (dice >> 33) as i64 % (end + 1);
                match reader.read(from, 500, Isolation::LogEnd, true) {
                    Ok(slice) => assert!(slice.range.is_some() || from >= slice.offsets.log_end.min(end)),
                    Err(ReadError::OutOfRange(_)) => {}
                    Err(e) => panic!("{e}"),
                }
                reader.offset_for_timestamp(from, Isolation::LogEnd).unwrap();
            }
        });
        for round in 0..300 {
            for _ in 0..30 {
                let end = world.log.log_end_offset();
                let batch = world.checked(plain(end, &["v"]), Origin::Client);
                world.append(&batch).unwrap();
            }
            let to = world.log.log_end_offset() - round % 50;
            world.log.truncate_to(to, START_MS).unwrap();
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn a_cut_through_a_segment_whose_index_is_damaged_ends_where_it_should() {
    let mut world = twenty();
    world.log.close().unwrap();
    let target = world.log.segments[1].base;
    let bytes = world.bytes(target, ".log").len() as u32;
    // Every entry is made to point at the end of the file.
    world.overwrite(&world.path(target, ".index"), |entries| {
        entries.chunks_exact_mut(8).for_each(|entry| entry[4..].copy_from_slice(&bytes.to_be_bytes()));
    });
    world.reopen(|opening| opening.clean_shutdown = true);
    world.log.truncate_to(target + 2, START_MS).unwrap();
    assert_eq!(world.log.log_end_offset(), target + 2);
    world.put(&["x"]);
    assert_eq!(world.values().len() as i64, target + 3);
    world.log.truncate_to(target, START_MS).unwrap();
    assert_eq!(world.values().len() as i64, target);
}

/// What is removed may be kept by readers, and need not make room at once.
#[test]
fn a_log_begins_anew_on_a_full_disk() {
    let mut world = World::memory(TopicConfig::default());
    for _ in 0..3 {
        world.put(&["a", "b"]);
    }
    let memory = world.memory.clone().expect("in memory");
    memory.set_capacity(Some(0));
    world.log.truncate_fully(100, START_MS).expect("it goes on");
    assert_eq!((world.log.log_start_offset(), world.log.log_end_offset()), (100, 100));
    memory.set_capacity(None);
    world.put(&["c"]);
    assert_eq!(world.log.log_end_offset(), 101);
}
