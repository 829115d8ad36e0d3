//! A loss of power that comes on top of another fault. Random lives found each of these stories first.

use super::*;
use crate::disk::{Fault, Operation};

const SEEDS: u64 = 60;

/// Loses the power, with as many outcomes as there are seeds, and calls `look` on each log that opens afterwards.
#[track_caller]
fn after_a_loss_of_power(world: &mut World, how: impl Fn(&mut Opening), look: impl Fn(u64, &World)) {
    let before = world.memory.clone().expect("in memory");
    let (recovery_point, log_start) = (world.log.recovery_point(), world.log.log_start_offset());
    for seed in 0..SEEDS {
        let fork = before.fork(seed);
        fork.crash();
        (world.disk, world.memory) = (Arc::new(fork.clone()), Some(fork));
        let opened = world.try_reopen(|opening| {
            (opening.recovery_point, opening.log_start) = (recovery_point, log_start);
            how(opening);
        });
        opened.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        look(seed, world);
    }
}

/// A batch is written in part and cut off again, because the disk is full.
fn refuse_for_want_of_room(world: &mut World) {
    let memory = world.memory.clone().expect("in memory");
    let used = |world: &World| {
        let entries = world.disk.list(&world.dir).expect("the folder is there");
        entries.iter().map(|entry| entry.len).sum::<u64>()
    };
    memory.set_capacity(Some(used(world) + 40));
    let batch = world.checked(plain(world.now_ms, &["there is no room for this"]), Origin::Client);
    let outcome = world.try_append(&[batch]);
    assert!(matches!(outcome, Err(AppendError::DiskFull { .. })), "{outcome:?}");
    memory.set_capacity(None);
    let batch = world.checked(plain(world.now_ms, &["too early"]), Origin::Client);
    assert!(matches!(world.try_append(&[batch]), Err(AppendError::DiskFull { .. })), "a flush comes first");
    assert!(world.log.flush_due(world.now_ms) && world.log.needs_flush_to_append());
    world.flush();
}

#[test]
fn what_a_full_disk_refused_does_not_come_back_inside_what_is_flushed() {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    world.put(&["a"]);
    world.put(&["b"]);
    world.flush();
    refuse_for_want_of_room(&mut world);
    world.put(&["c"]);
    assert_eq!((world.log.segment_count(), world.log.recovery_point()), (2, 2));
    after_a_loss_of_power(
        &mut world,
        |_| (),
        |seed, world| {
            let values = world.values();
            assert!(values == ["a", "b"] || values == ["a", "b", "c"], "seed {seed}: {values:?}");
        },
    );
}

#[test]
fn what_a_full_disk_refused_never_takes_the_place_of_what_came_next() {
    let mut world = World::memory(config());
    let memory = world.memory.clone().expect("in memory");
    memory.set_capacity(Some(100));
    let refused = ["refused", "refused too"].map(|v| world.checked(plain(START_MS, &[v]), Origin::Client));
    assert!(matches!(world.try_append(&refused), Err(AppendError::DiskFull { .. })));
    memory.set_capacity(None);
    world.flush();
    world.put(&["taken"]);
    after_a_loss_of_power(
        &mut world,
        |_| (),
        |seed, world| {
            let values = world.values();
            assert!(values.is_empty() || values == ["taken"], "seed {seed}: {values:?}");
        },
    );
}

#[test]
fn a_retired_segment_that_comes_back_without_its_successor_is_known_by_its_batches() {
    let keep = TopicConfig { retention_ms: -1, segment_bytes: 150, ..config() };
    let mut world = World::memory(TopicConfig { retention_bytes: 400, ..keep.clone() });
    for n in 0..8 {
        world.put(&[&n.to_string()]);
    }
    world.flush();
    assert!(!world.log.delete_old_segments(START_MS).expect("retention").is_empty());
    let first = world.log.log_start_offset();
    let back = first - 2;
    for suffix in [".log", ".index", ".timeindex"] {
        let deleted = world.path(back, &format!("{suffix}.deleted"));
        world.disk.rename(&deleted, &world.path(back, suffix)).expect("it comes back");
        world.disk.remove_file(&world.path(first, suffix)).expect("its successor does not");
    }
    world.reopen(|opening| (opening.recovery_point, opening.log_start) = (first + 1, 0));
    assert_eq!(world.read_all().first().map(|(offset, _)| *offset), Some(first + 2));
    assert_eq!(world.log.log_end_offset(), 8);
}

#[test]
fn what_follows_a_refused_batch_is_kept_when_all_is_read_again() {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    world.put(&["a"]);
    world.put(&["b"]);
    refuse_for_want_of_room(&mut world);
    // The cut is undone: the refused bytes are behind the batches again.
    let torn = world.bytes(0, ".log").len();
    world.put(&["c"]);
    world.flush();
    world.overwrite(&world.path(0, ".log"), |bytes| {
        assert_eq!(bytes.len(), torn);
        bytes.extend([0; 30]);
    });
    world.reopen(|opening| opening.recovery_point = 0);
    assert_eq!(world.values(), ["a", "b", "c"]);
    assert_eq!((world.recovery.truncated_bytes, world.recovery.dropped_segments.len()), (30, 0));
    world.reopen(|_| ());
    assert_eq!((world.values().len(), world.recovery.truncated_bytes), (3, 0));
}

#[test]
fn a_clean_stop_brings_down_what_an_earlier_process_left() {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    world.put(&["a"]);
    world.put(&["b"]);
    world.flush();
    world.log.roll_at(2, START_MS).expect("an empty segment");
    refuse_for_want_of_room(&mut world);
    world.reopen(|_| ());
    world.log.close().expect("the log closes");
    after_a_loss_of_power(
        &mut world,
        |opening| opening.clean_shutdown = true,
        |seed, world| {
            assert_eq!(world.values(), ["a", "b"], "seed {seed}");
        },
    );
}

#[test]
fn retention_on_a_full_disk_leaves_no_hole() {
    let keep = TopicConfig { retention_ms: -1, retention_bytes: 150, segment_bytes: 150, ..config() };
    let mut world = World::memory(keep);
    for n in 0..12 {
        world.put(&[&n.to_string()]);
    }
    world.flush();
    world.memory.as_ref().expect("in memory").fail_always(Operation::Write, Fault::Full);
    let retired = world.log.delete_old_segments(START_MS).expect("deleting makes room");
    assert!(retired.len() > 3, "{retired:?}");
    world.memory.as_ref().expect("in memory").heal();
    // The checkpoint of the log start was not written either.
    after_a_loss_of_power(
        &mut world,
        |opening| opening.log_start = 0,
        |seed, world| {
            let offsets: Vec<Offset> = world.read_all().into_iter().map(|(offset, _)| offset).collect();
            let dense: Vec<Offset> = (offsets[0]..12).collect();
            assert_eq!(offsets, dense, "seed {seed}");
        },
    );
}

#[test]
fn leader_epochs_that_cannot_be_synced_end_the_log() {
    let mut world = World::memory(config());
    world.put(&["a"]);
    world.memory.as_ref().expect("in memory").fail_next(Operation::Sync, Fault::Broken);
    assert!(world.log.assign_epoch(LeaderEpoch(7), 1).is_err());
    assert!(world.log.is_offline());
    assert!(matches!(world.log.close(), Err(LogError::Offline { .. })), "and nothing is called clean");
}

#[test]
fn a_producer_may_repeat_any_of_its_last_batches_after_a_clean_restart() {
    let mut world = World::memory(config());
    let batch = |sequence: i32| idempotent(1, 0, sequence, START_MS, &["v"]);
    for sequence in 0..7 {
        let batch = world.checked(batch(sequence), Origin::Client);
        world.append(&batch).expect("in order");
    }
    world.reopen_clean();
    for sequence in 2..7 {
        let batch = world.checked(batch(sequence), Origin::Client);
        let appended = world.append(&batch).expect("a duplicate is no error");
        assert!(
            appended.duplicate && appended.base_offset == i64::from(sequence),
            "{sequence}: {appended:?}"
        );
    }
    let forgotten = world.checked(batch(1), Origin::Client);
    assert_eq!(code(world.append(&forgotten)), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn what_cannot_be_read_is_not_taken_for_retired() {
    let mut world = World::memory(TopicConfig { segment_bytes: 600, ..config() });
    for n in 0..12 {
        world.put(&[&n.to_string()]);
    }
    world.flush();
    assert!(world.log.segment_count() > 1);
    // The first segment is needed from its third record on, and the epochs say so.
    world.log.advance_log_start(2).expect("below the high watermark");
    world.log.assign_epoch(LeaderEpoch(5), 12).expect("the epochs are written");
    let everything = world.read_all();
    let first = world.path(0, ".log");
    world.overwrite(&first, |bytes| bytes[72 + 16] = 9);
    // The log may open or not.
    let _ = world.try_reopen(|_| ());
    assert!(world.disk.exists(&first), "it is somebody's to look at");
    world.overwrite(&first, |bytes| bytes[72 + 16] = 2);
    world.reopen(|_| ());
    assert_eq!(world.read_all(), everything);
}

#[test]
fn a_folder_that_cannot_be_synced_while_segments_retire_does_not_hold_readers() {
    let mut world = World::memory(TopicConfig { retention_bytes: 150, segment_bytes: 150, ..config() });
    for n in 0..8 {
        world.put(&[&n.to_string()]);
    }
    let memory = world.memory.clone().expect("in memory");
    memory.fail_always(Operation::Write, Fault::Full);
    memory.fail_next(Operation::SyncDir, Fault::Broken);
    let reader = world.log.reader();
    assert!(world.log.delete_old_segments(START_MS).is_err() && world.log.is_offline());
    memory.heal();
    // The read must return; any answer is right.
    let _ = reader.read(0, 100, Isolation::LogEnd, true);
    assert!(reader.read(7, 100, Isolation::LogEnd, true).is_ok());
}

#[test]
fn a_segment_that_could_not_be_made_whole_does_not_come_back_in_the_way_of_another() {
    let mut world = World::memory(TopicConfig { segment_bytes: 220, ..config() });
    world.put(&["a"]);
    world.put(&["b"]);
    world.flush();
    // The log file of a new segment is created, its index is not.
    world.memory.as_ref().expect("in memory").fail_nth(Operation::Create, 2, Fault::Full);
    let large = world.checked(plain(START_MS, &["too large for the rest of the segment"]), Origin::Client);
    assert!(matches!(world.try_append(&[large]), Err(AppendError::DiskFull { .. })));
    world.put(&["c"]);
    assert_eq!(world.log.segment_count(), 1);
    world.flush();
    after_a_loss_of_power(
        &mut world,
        |_| (),
        |seed, world| {
            assert_eq!(world.values(), ["a", "b", "c"], "seed {seed}");
        },
    );
}

#[test]
fn a_log_that_starts_anew_has_nothing_to_flush_of_what_it_was() {
    let mut world = World::memory(TopicConfig { segment_bytes: 150, ..config() });
    for n in 0..6 {
        world.put(&[&n.to_string()]);
    }
    // The log start in the checkpoint is above what a loss of power has left.
    world.reopen(|opening| (opening.recovery_point, opening.log_start) = (0, 50));
    assert_eq!((world.log.log_start_offset(), world.log.log_end_offset()), (50, 50));
    world.flush();
    world.put(&["on"]);
    world.flush();
    assert_eq!((world.log.recovery_point(), world.values().len()), (51, 1));
}

#[test]
fn a_producer_is_known_after_retention_took_all_that_it_wrote_and_the_power_went() {
    for checkpointed in [0, 1] {
        let mut world = World::memory(TopicConfig { retention_bytes: 0, ..config() });
        let batch = world.checked(idempotent(7, 0, 0, START_MS, &["a"]), Origin::Client);
        world.append(&batch).expect("it is appended");
        world.flush();
        assert_eq!(world.log.delete_old_segments(START_MS).expect("retention").len(), 1);
        after_a_loss_of_power(
            &mut world,
            |opening| opening.log_start = checkpointed,
            |seed, world| {
                let known = world.log.active_producers();
                let sequences = known.iter().map(|p| (p.producer_id.0, p.last_sequence)).collect::<Vec<_>>();
                assert_eq!(sequences, [(7, 0)], "seed {seed}, {checkpointed}: {:?}", world.files());
            },
        );
    }
}

#[test]
fn segments_whose_writers_no_snapshot_knows_wait_until_one_fits() {
    let mut world = World::memory(TopicConfig { retention_bytes: 0, ..config() });
    let batch = world.checked(idempotent(7, 0, 0, START_MS, &["a"]), Origin::Client);
    world.append(&batch).expect("it is appended");
    // Creations that succeed: three files of the next segment, the snapshot, and the snapshot again.
    let memory = world.memory.clone().expect("in memory");
    memory.fail_nth(Operation::Create, 4, Fault::Full);
    memory.fail_nth(Operation::Create, 5, Fault::Full);
    assert_eq!(world.log.delete_old_segments(START_MS).expect("retention").len(), 0);
    assert!(!world.files().iter().any(|name| name.ends_with(".snapshot")), "{:?}", world.files());
    assert_eq!(world.log.delete_old_segments(START_MS).expect("retention").len(), 1);
    world.reopen(|_| {});
    let known = world.log.active_producers();
    assert_eq!(known.iter().map(|p| (p.producer_id.0, p.last_sequence)).collect::<Vec<_>>(), [(7, 0)]);
}

#[test]
fn segments_below_an_earlier_snapshot_go_while_no_other_fits() {
    let mut world = World::memory(TopicConfig { retention_bytes: 0, ..config() });
    let memory = world.memory.clone().expect("in memory");
    let write = |world: &mut World, sequence| {
        let batch = world.checked(idempotent(7, 0, sequence, START_MS, &["a"]), Origin::Client);
        world.append(&batch).expect("it is appended");
    };
    write(&mut world, 0);
    world.log.roll_at(1, START_MS).expect("it rolls");
    write(&mut world, 1);
    memory.fail_nth(Operation::Create, 4, Fault::Full);
    memory.fail_nth(Operation::Create, 5, Fault::Full);
    let retired = world.log.delete_old_segments(START_MS).expect("retention");
    assert_eq!(retired.iter().map(|gone| gone.base_offset).collect::<Vec<_>>(), [0]);
    let retired = world.log.delete_old_segments(START_MS).expect("retention");
    assert_eq!(retired.iter().map(|gone| gone.base_offset).collect::<Vec<_>>(), [1]);
    assert_eq!(
        world.files().iter().filter(|name| name.ends_with(".snapshot")).count(),
        1,
        "{:?}",
        world.files()
    );
}
