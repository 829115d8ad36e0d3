//! A log moves to another directory: with everything in it, while clients write to it, and with a crash at any time.

use super::cleaning_crashes::busy;
use super::*;
use crate::disk::{Fault, Operation};
use crate::log::{NotMoved, Relocation, Settled, extent};
use uuid::Uuid;

const FUTURE: &str = "t-0.1f-future";

/// Everything that a reader can see of a log.
#[derive(Debug, PartialEq)]
struct Seen {
    offsets: Offsets,
    batches: Vec<Bytes>,
    producers: Vec<ActiveProducer>,
    aborted: Vec<(ProducerId, Offset)>,
    epochs: Vec<(LeaderEpoch, Offset)>,
}

fn seen(log: &Log) -> Seen {
    let (reader, offsets) = (log.reader(), log.offsets());
    Seen {
        offsets,
        batches: read_batches(&reader, Isolation::LogEnd).into_iter().map(|(_, bytes)| bytes).collect(),
        producers: log.active_producers(),
        aborted: reader.aborted_transactions(0, offsets.log_end).expect("the indexes are read"),
        epochs: (0..9).map(|epoch| log.epoch_end_offset(LeaderEpoch(epoch))).collect(),
    }
}

impl World {
    /// Appends this many batches of one record.
    fn fill(&mut self, batches: i32) {
        for n in 0..batches {
            self.put(&[&n.to_string()]);
        }
    }

    /// The folder to which the log moves.
    fn elsewhere(&self) -> PathBuf {
        let data = self.dir.parent().expect("a log directory");
        let other = data.with_file_name(format!("{}-other", data.file_name().expect("a name").display()));
        self.disk.create_dir_all(&other).expect("another log directory");
        other
    }

    fn begin(&self) -> Relocation {
        let other = self.elsewhere();
        let (disk, live) = (self.disk.clone(), other.join("t-0"));
        let opening = Opening { dir: live.clone(), ..self.opening() };
        let from = other.join(FUTURE);
        let go_live = move |_: Settled| {
            disk.rename(&from, &live)?;
            disk.sync_dir(&other)
        };
        Relocation::begin(opening, self.elsewhere().join(FUTURE), self.log.reader(), Box::new(go_live))
            .expect("a copy begins")
    }

    fn copy(&self, relocation: &mut Relocation) {
        while relocation.step(300, self.now_ms).expect("it is copied") > 0 {}
    }

    fn relocate(&mut self, relocation: Relocation) -> PathBuf {
        let left = self.log.relocate(Box::new(relocation), self.now_ms).expect("it moves");
        let left = left.delete(Uuid::new_v4()).expect("it is renamed");
        self.dir = self.elsewhere().join("t-0");
        left
    }
}

#[test]
fn a_log_moves_with_all_that_it_has() {
    for mut world in World::both(config()) {
        for n in 0..20 {
            world.epoch = LeaderEpoch(n / 7);
            world.put(&["plain", "batch"]);
            let batch = world.checked(idempotent(7, 0, n, world.now_ms, &["once"]), Origin::Client);
            world.append(&batch).expect("it is appended");
        }
        // The log start is in the middle of a batch and of a segment.
        world.log.advance_log_start(world.log.log_end_offset() / 2).expect("it may start there");
        let _ = world.log.delete_old_segments(world.now_ms).expect("old segments go");
        let before = seen(&world.log);
        let old_reader = world.log.reader();

        let mut copy = world.begin();
        world.copy(&mut copy);
        let left = world.relocate(copy);

        assert_eq!(seen(&world.log), before);
        assert_eq!(world.log.dir(), world.dir);
        assert_eq!(world.log.recovery_point(), before.offsets.log_end, "it is flushed");
        let old = read_batches(&old_reader, Isolation::LogEnd);
        assert_eq!(old.len(), before.batches.len(), "who still reads the old one goes on");
        assert!(left.to_string_lossy().ends_with("-delete"), "{left:?}");
        for sequence in 15..20 {
            let twice = world.checked(idempotent(7, 0, sequence, world.now_ms, &["once"]), Origin::Client);
            assert!(world.append(&twice).expect("it is known").duplicate, "what was appended is known");
        }
        world.reopen(|_| {});
        assert_eq!(seen(&world.log).batches, before.batches);
    }
}

#[test]
fn what_is_appended_meanwhile_moves_too() {
    for mut world in World::both(config()) {
        world.put(&["before"]);
        let mut copy = world.begin();
        world.copy(&mut copy);
        world.put(&["while it was copied"]);
        world.copy(&mut copy);
        world.put(&["after the last step"]);
        world.relocate(copy);
        world.put(&["where it lives now"]);
        let all = ["before", "while it was copied", "after the last step", "where it lives now"];
        assert_eq!(world.values(), all);
    }
}

#[test]
fn a_copy_that_is_far_behind_is_not_completed_while_producers_wait() {
    let mut world = World::memory(TopicConfig { segment_bytes: 10 << 20, ..config() });
    let copy = world.begin();
    let much = "x".repeat(900 << 10);
    for _ in 0..6 {
        world.put(&[&much]);
    }
    let Err(NotMoved::Behind(mut copy)) = world.log.relocate(Box::new(copy), world.now_ms) else {
        panic!("it is behind")
    };
    world.put(&["the log goes on"]);
    world.copy(&mut copy);
    world.relocate(*copy);
    assert_eq!(world.values().len(), 7);
}

#[test]
fn a_copy_follows_what_its_log_loses() {
    let mut world = World::memory(config());
    world.fill(30);
    let mut copy = world.begin();
    world.copy(&mut copy);
    // At its end, as a follower that has diverged does ...
    world.log.truncate_to(20, world.now_ms).expect("it is cut");
    world.epoch = LeaderEpoch(3);
    world.put(&["another"]);
    // ... and at its start.
    world.log.advance_log_start(15).expect("records are deleted");
    let before = seen(&world.log);
    world.copy(&mut copy);
    world.relocate(copy);
    assert_eq!(seen(&world.log), before);
}

#[test]
fn retention_may_overtake_a_copy() {
    let mut world = World::memory(config());
    world.fill(30);
    let mut copy = world.begin();
    copy.step(1, world.now_ms).expect("one batch is copied");
    world.log.advance_log_start(25).expect("records are deleted");
    let _ = world.log.delete_old_segments(world.now_ms).expect("old segments go");
    let before = seen(&world.log);
    world.copy(&mut copy);
    world.relocate(copy);
    assert_eq!(seen(&world.log), before);
}

/// What a producer has sent is known as long as the producer is, and longer than its records are there: it may be waiting for an
/// answer.
#[test]
fn producers_move_without_their_records() {
    for mut world in World::both(config()) {
        for sequence in 0..6 {
            let batch = world.checked(idempotent(7, 0, sequence, world.now_ms, &["once"]), Origin::Client);
            world.append(&batch).expect("it is appended");
        }
        for sequence in 0..2 {
            let sent = idempotent(8, 0, sequence, world.now_ms, &["once"]).transactional();
            let batch = world.checked(sent, Origin::Client);
            world.append(&batch).expect("a transaction goes on");
        }
        world.seal();
        world.log.advance_log_start(world.log.log_end_offset()).expect("it may start there");
        let _ = world.log.delete_old_segments(world.now_ms).expect("old segments go");
        // Of this producer's transaction only the end is left.
        let end = end_of_txn(8, 0, TransactionResult::Commit, 3, world.now_ms);
        let marker = world.checked(end, Origin::Coordinator);
        world.append(&marker).expect("a marker");
        world.flush();
        for moves in 0..2 {
            let mut copy = world.begin();
            world.copy(&mut copy);
            world.relocate(copy);
            let end = world.log.log_end_offset();
            world.reopen(|opening| opening.recovery_point = end);
            world.log.advance_high_watermark(end);
            for sequence in 1..6 {
                let twice = idempotent(7, 0, sequence, world.now_ms, &["once"]);
                let twice = world.checked(twice, Origin::Client);
                assert!(world.append(&twice).expect("it is known").duplicate, "{sequence}, {moves} moves");
            }
            let known = world.log.active_producers();
            let last: Vec<_> = known.iter().map(|known| (known.producer_id.0, known.last_sequence)).collect();
            assert_eq!(last, [(7, 5), (8, 1)], "{moves} moves");
            assert_eq!(world.log.last_stable_offset(), world.log.log_end_offset());
        }
    }
}

#[test]
fn a_compacted_log_moves_with_its_holes() {
    let mut world = busy();
    world.reopen(|opening| opening.clean_shutdown = true);
    world.log.advance_high_watermark(world.log.log_end_offset());
    assert!(world.try_clean(None).expect("it is cleaned").is_some());
    let before = seen(&world.log);
    let mut copy = world.begin();
    world.copy(&mut copy);
    world.relocate(copy);
    let after = seen(&world.log);
    assert_eq!((&after.offsets, &after.batches), (&before.offsets, &before.batches));
    assert_eq!(after.aborted, before.aborted);
    world.reopen(|_| {});
    assert_eq!(seen(&world.log).batches, before.batches);
}

#[test]
fn a_log_that_is_copied_is_not_compacted() {
    let mut world = busy();
    world.reopen(|opening| opening.clean_shutdown = true);
    world.log.advance_high_watermark(world.log.log_end_offset());
    let copy = world.begin();
    let refused = world.try_clean(None).expect_err("nothing is swapped in");
    assert_eq!(refused, "the log is being moved to another directory");
    copy.abandon();
    assert!(world.try_clean(None).expect("it is cleaned").is_some());
}

#[test]
fn a_move_that_fails_leaves_the_log_as_it_was() {
    let mut world = World::memory(config());
    world.fill(10);
    let memory = world.memory.clone().expect("in memory");
    for (operation, fault) in [
        (Operation::Write, Fault::Full),
        (Operation::Write, Fault::Broken),
        (Operation::Sync, Fault::Broken),
        (Operation::Rename, Fault::Broken),
    ] {
        let before = seen(&world.log);
        let mut copy = world.begin();
        world.copy(&mut copy);
        // There must be something left to copy, or nothing would be written.
        world.put(&["late"]);
        memory.fail_next(operation, fault);
        let outcome = world.log.relocate(Box::new(copy), world.now_ms);
        let there = fault == Fault::Broken;
        assert!(
            matches!(&outcome, Err(NotMoved::There(_)) if there)
                || matches!(&outcome, Err(NotMoved::Failed(_)) if !there),
            "{operation:?}, {fault:?}: {outcome:?}"
        );
        assert!(!world.disk.exists(&world.elsewhere().join(FUTURE)), "{operation:?}: the copy is gone");
        world.put(&["it goes on"]);
        assert_eq!(seen(&world.log).batches.len(), before.batches.len() + 2);
    }
}

/// A kill or a loss of power at every change on disk: the log under the live name, in either directory, is whole.
#[test]
fn a_move_may_end_at_any_change_on_disk() {
    let (mut changes, mut moved) = (0, false);
    while !moved {
        let mut world = World::memory(config());
        world.fill(12);
        world.flush();
        let before = world.values();
        let memory = world.memory.clone().expect("in memory");
        world.elsewhere();
        memory.write_back();
        let mut copy = world.begin();
        memory.cut_power_after(changes);
        let copied = (0..100).map(|_| copy.step(300, world.now_ms)).find(|step| !matches!(step, Ok(1..)));
        moved = matches!(copied, Some(Ok(0)))
            && world
                .log
                .relocate(Box::new(copy), world.now_ms)
                .is_ok_and(|left| left.delete(Uuid::new_v4()).is_ok());
        for face in 0..8 {
            let fork = memory.fork(face + 31 * changes);
            if face == 0 {
                fork.kill()
            } else {
                fork.crash()
            }
            let places = [world.dir.clone(), PathBuf::from("/data-other/t-0")];
            let live: Vec<_> = places.iter().filter(|dir| fork.exists(dir)).collect();
            assert!(!live.is_empty(), "{changes} changes, face {face}: it lives nowhere");
            for dir in live {
                let disk: Arc<dyn Disk> = Arc::new(fork.clone());
                let opening = Opening {
                    dir: dir.clone(),
                    recovery_point: 12,
                    ..opening(&disk, dir, &world.config, world.now_ms)
                };
                let (log, _) = Log::open(opening).expect("it opens");
                let values: Vec<_> =
                    read_all(&log.reader(), Isolation::LogEnd).into_iter().map(|(_, value)| value).collect();
                assert_eq!(values, before, "{changes} changes, face {face}, in {}", dir.display());
            }
        }
        changes += 1;
    }
    assert!(changes > 10, "{changes}: too few for a move");
}

/// Of two logs of one name, the one that was written to last is known by its epoch and then by its end, not by its files.
#[test]
fn a_log_is_told_apart_from_what_it_was_copied_from() {
    let mut world = World::memory(config());
    world.fill(20);
    let mut copy = world.begin();
    world.copy(&mut copy);
    let (old, disk) = (world.dir.clone(), world.disk.clone());
    let left = world.log.relocate(Box::new(copy), world.now_ms).expect("it moves");
    world.dir = world.elsewhere().join("t-0");
    let extents =
        |world: &World| [extent(&*disk, &old), extent(&*disk, &world.dir)].map(|e| e.expect("it is read"));
    assert_eq!(extents(&world), [(0, 20), (0, 20)]);
    world.put(&["later"]);
    assert_eq!(extents(&world), [(0, 20), (0, 21)]);
    world.log.assign_epoch(LeaderEpoch(1), 21).expect("another leadership");
    assert_eq!(extents(&world), [(0, 20), (1, 21)]);
    drop(left);
}
