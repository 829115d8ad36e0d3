//! Open and aborted transactions: the last stable offset, the transaction index, markers (KIP-98, KIP-890).

use super::*;
use crate::disk::{Fault, Operation};
use TransactionResult::{Abort, Commit};

fn txn(id: i64, epoch: i16, sequence: i32, value: &str) -> BatchBuilder {
    idempotent(id, epoch, sequence, START_MS, &[value]).transactional()
}

impl World {
    fn send(&mut self, builder: BatchBuilder) -> ErrorCode {
        let batch = self.checked(builder, Origin::Client);
        code(self.append(&batch))
    }

    fn end(&mut self, id: i64, epoch: i16, result: TransactionResult) -> ErrorCode {
        self.end_as(id, epoch, result, 0, 0)
    }

    fn end_as(
        &mut self,
        id: i64,
        epoch: i16,
        result: TransactionResult,
        coordinator: i32,
        version: i16,
    ) -> ErrorCode {
        let mut batch =
            self.checked(end_of_txn(id, epoch, result, coordinator, self.now_ms), Origin::Coordinator);
        batch.transaction_version = version;
        let mut results = self.log.append(&[batch], self.epoch, self.now_ms).unwrap();
        self.log.advance_high_watermark(self.log.log_end_offset());
        code(results.pop().unwrap())
    }

    fn aborted(&self, from: Offset, to: Offset) -> Vec<(i64, Offset)> {
        let aborted = self.log.reader().aborted_transactions(from, to).unwrap();
        aborted.into_iter().map(|(id, first)| (id.0, first)).collect()
    }
}

#[test]
fn the_last_stable_offset_waits_for_open_transactions() {
    let mut world = World::memory(config());
    world.put(&["plain"]);
    assert_eq!(world.log.last_stable_offset(), 1);
    for (what, step, stable) in [
        ("1 begins", txn(1, 0, 0, "a"), 1),
        ("2 begins", txn(2, 0, 0, "b"), 1),
        ("1 goes on", txn(1, 0, 1, "c"), 1),
    ] {
        assert_eq!(world.send(step), ErrorCode::None, "{what}");
        assert_eq!(world.log.last_stable_offset(), stable, "{what}");
    }
    assert_eq!(world.end(1, 0, Commit), ErrorCode::None);
    assert_eq!(world.log.last_stable_offset(), 2, "2 is still open");
    let committed = read_all(&world.log.reader(), Isolation::Committed);
    assert_eq!(committed.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(world.end(2, 0, Abort), ErrorCode::None);
    assert_eq!((world.log.last_stable_offset(), world.log.log_end_offset()), (6, 6));
    assert_eq!(world.aborted(0, 6), [(2, 2)]);
}

#[test]
fn a_transaction_is_open_until_its_marker_is_replicated() {
    let mut world = World::memory(config());
    world.send(txn(1, 0, 0, "a"));
    let marker = world.checked(end_of_txn(1, 0, Commit, 0, START_MS), Origin::Coordinator);
    world.try_append(&[marker]).unwrap();
    assert_eq!(world.log.offsets(), Offsets { log_start: 0, last_stable: 0, high_watermark: 1, log_end: 2 });
    world.log.advance_high_watermark(2);
    assert_eq!(world.log.last_stable_offset(), 2);
}

#[test]
fn aborted_transactions_survive_everything() {
    for what in ["nothing", "a clean close", "a kill", "a recovery of all", "a lost index"] {
        let mut world = World::memory(TopicConfig { segment_bytes: 250, ..config() });
        world.send(txn(1, 0, 0, "a"));
        world.send(txn(2, 0, 0, "b"));
        for n in 0..4 {
            world.put(&[&n.to_string()]);
        }
        world.end(1, 0, Abort);
        world.send(txn(3, 0, 0, "c"));
        world.end(3, 0, Commit);
        world.end(2, 0, Abort);
        world.send(txn(4, 0, 0, "open"));
        let open = world.log.log_end_offset() - 1;
        assert!(world.log.segment_count() > 2);
        match what {
            "a clean close" => world.reopen_clean(),
            "a kill" => world.reopen(|_| ()),
            "a recovery of all" => {
                world.flush();
                world.reopen(|opening| opening.recovery_point = 0);
            }
            "a lost index" => {
                world.log.close().unwrap();
                for name in world.files().iter().filter(|name| name.ends_with(".txnindex")) {
                    world.overwrite(&world.dir.join(name), |bytes| bytes.truncate(20));
                }
                world.reopen(|opening| opening.clean_shutdown = true);
                assert!(!world.recovery.rebuilt_indexes.is_empty());
            }
            _ => {}
        }
        world.log.advance_high_watermark(world.log.log_end_offset());
        assert_eq!(world.aborted(0, 100), [(1, 0), (2, 1)], "{what}");
        assert_eq!(world.aborted(2, 100), [(1, 0), (2, 1)], "{what}: their markers come later");
        assert_eq!(world.aborted(0, 1), [(1, 0)], "{what}");
        assert_eq!(world.aborted(open, 100), [], "{what}");
        assert_eq!(world.log.last_stable_offset(), open, "{what}");
        assert_eq!(read_all(&world.log.reader(), Isolation::Committed).len() as i64, open, "{what}");
        assert_eq!(world.end(4, 0, Abort), ErrorCode::None, "{what}");
        assert_eq!(world.aborted(open, 100), [(4, open)], "{what}");
    }
}

#[test]
fn what_a_marker_may_be() {
    let mut world = World::memory(config());
    assert_eq!(world.end_as(7, 3, Commit, 5, 0), ErrorCode::None, "of a producer that wrote nothing here");
    assert_eq!(world.aborted(0, 9), []);
    world.send(txn(7, 4, 0, "a"));
    for (what, epoch, coordinator, version, expected) in [
        ("an old coordinator", 4, 4, 0, ErrorCode::TransactionCoordinatorFenced),
        ("an old epoch", 3, 5, 0, ErrorCode::InvalidProducerEpoch),
        ("the same epoch, with bumps", 4, 5, 2, ErrorCode::InvalidProducerEpoch),
        ("the next epoch, with bumps", 5, 5, 2, ErrorCode::None),
        ("again: it was written before", 5, 5, 2, ErrorCode::None),
        ("an epoch left behind", 4, 5, 0, ErrorCode::InvalidProducerEpoch),
    ] {
        assert_eq!(world.end_as(7, epoch, Commit, coordinator, version), expected, "{what}");
    }
    assert_eq!(world.send(txn(7, 5, 0, "b")), ErrorCode::None, "the bumped epoch starts at 0");
    assert_eq!(world.send(idempotent(7, 5, 1, START_MS, &["c"])), ErrorCode::InvalidTxnState);
    assert_eq!(world.end_as(7, 5, Abort, 6, 0), ErrorCode::None, "the same epoch, without bumps");
}

#[test]
fn the_first_batch_of_a_transaction_needs_its_guard() {
    let mut world = World::memory(config());
    world.log.require_verification(true);
    let id = ProducerId(1);
    let epoch = ProducerEpoch(0);
    assert_eq!(world.send(txn(1, 0, 0, "a")), ErrorCode::InvalidTxnState, "not verified");
    assert_eq!(world.send(idempotent(2, 0, 0, START_MS, &["x"])), ErrorCode::None, "no transaction");
    let guard = world.log.start_verification(id, epoch, 0, false, START_MS).unwrap();
    assert!(guard.is_some());
    assert_eq!(world.log.start_verification(id, epoch, 1, false, START_MS).unwrap(), guard, "one at a time");
    let send = |world: &mut World, sequence, guard| {
        let mut batch = world.checked(txn(1, 0, sequence, "v"), Origin::Client);
        batch.guard = guard;
        let mut results = world.log.append(&[batch], world.epoch, START_MS).unwrap();
        code(results.pop().unwrap())
    };
    assert_eq!(
        send(&mut world, 1, guard),
        ErrorCode::OutOfOrderSequenceNumber,
        "a lower one is being verified"
    );
    assert_eq!(send(&mut world, 0, guard), ErrorCode::None);
    assert_eq!(send(&mut world, 1, None), ErrorCode::None, "the transaction is open");
    assert_eq!(world.log.start_verification(id, epoch, 2, false, START_MS).unwrap(), None);
    world.end(1, 0, Abort);
    assert_eq!(
        send(&mut world, 2, guard),
        ErrorCode::InvalidTxnState,
        "the guard of a transaction that is over"
    );
    let stale = world.log.start_verification(id, ProducerEpoch(-1), 0, false, START_MS);
    assert_eq!(code(stale), ErrorCode::InvalidProducerEpoch);
    // With epoch bumps, a producer without state must start with sequence 0.
    let bumps = world.log.start_verification(ProducerId(5), epoch, 3, true, START_MS).unwrap();
    let mut batch = world.checked(txn(5, 0, 3, "v"), Origin::Client);
    batch.guard = bumps;
    let mut results = world.log.append(&[batch], world.epoch, START_MS).unwrap();
    assert_eq!(code(results.pop().unwrap()), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn a_marker_ends_what_was_verified_also_for_what_is_written_with_it() {
    for result in [Commit, Abort] {
        for open in [false, true] {
            let mut world = World::memory(config());
            if open {
                assert_eq!(world.send(txn(1, 0, 0, "a")), ErrorCode::None);
            }
            world.log.require_verification(true);
            let marker =
                |world: &World| world.checked(end_of_txn(1, 1, result, 0, START_MS), Origin::Coordinator);
            let (id, epoch) = (ProducerId(1), ProducerEpoch(1));
            let guard = world.log.start_verification(id, epoch, 0, false, START_MS).unwrap();
            assert!(guard.is_some(), "of a newer process");
            let mut late = world.checked(txn(1, 1, 0, "late"), Origin::Client);
            late.guard = guard;
            let both = [marker(&world), late.clone()];
            // What a full disk takes back had not happened.
            let memory = world.memory.clone().unwrap();
            memory.fail_next(Operation::Write, Fault::Full);
            assert!(world.log.append(&both, world.epoch, START_MS).is_err());
            world.flush();
            let again = world.log.start_verification(id, epoch, 0, false, START_MS).unwrap();
            assert_eq!(again, guard, "{result:?} {open}: it is still being verified");
            let results = world.log.append(&both, world.epoch, START_MS).unwrap();
            let codes: Vec<ErrorCode> = results.into_iter().map(code).collect();
            assert_eq!(codes, [ErrorCode::None, ErrorCode::InvalidTxnState], "{result:?} {open}");
        }
    }
}

#[test]
fn an_open_transaction_outlives_its_producers_idleness() {
    let mut world = World::memory(config());
    world.send(txn(1, 0, 0, "a"));
    world.log.expire_producers(START_MS + 10 * EXPIRATION_MS);
    assert_eq!(world.log.active_producers().len(), 1);
    assert_eq!(world.log.active_producers()[0].current_transaction_start, Some(0));
    assert_eq!(world.log.last_stable_offset(), 0);
    world.now_ms += 10 * EXPIRATION_MS;
    world.end(1, 0, Commit);
    world.log.expire_producers(world.now_ms + EXPIRATION_MS - 1);
    assert_eq!(world.log.active_producers().len(), 1, "a marker counts as being in use (KAFKA-9144)");
    world.log.expire_producers(world.now_ms + EXPIRATION_MS);
    assert_eq!(world.log.active_producers(), []);
}

#[test]
fn a_full_disk_leaves_a_transaction_open() {
    let mut world = World::memory(config());
    world.send(txn(1, 0, 0, "a"));
    let marker = world.checked(end_of_txn(1, 0, Abort, 0, START_MS), Origin::Coordinator);
    let memory = world.memory.clone().unwrap();
    // The disk has room for the batch, but not for its transaction index entry.
    memory.fail_nth(Operation::Write, 2, Fault::Full);
    let failed = world.try_append(std::slice::from_ref(&marker));
    assert!(matches!(failed, Err(AppendError::DiskFull { .. })), "{failed:?}");
    assert_eq!((world.log.log_end_offset(), world.log.last_stable_offset()), (1, 0));
    world.flush();
    assert_eq!(world.end(1, 0, Abort), ErrorCode::None);
    assert_eq!((world.log.last_stable_offset(), world.aborted(0, 9)), (2, vec![(1, 0)]));
    world.reopen(|_| ());
    world.log.advance_high_watermark(2);
    assert_eq!((world.log.last_stable_offset(), world.aborted(0, 9)), (2, vec![(1, 0)]));
}

#[test]
fn a_stop_without_room_for_a_snapshot_forgets_no_transaction() {
    let mut world = World::memory(config());
    assert_eq!(world.send(txn(1, 0, 0, "a")), ErrorCode::None);
    world.memory.as_ref().unwrap().fail_nth(Operation::Create, 1, Fault::Full);
    world.log.close().unwrap();
    assert!(!world.files().iter().any(|name| name.ends_with(".snapshot")), "{:?}", world.files());
    world.reopen(|opening| opening.clean_shutdown = true);
    world.log.advance_high_watermark(1);
    assert_eq!(world.log.last_stable_offset(), 0);
    assert_eq!(world.send(txn(1, 0, 2, "c")), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn deleting_records_lets_go_of_transactions_below() {
    let mut world = World::memory(config());
    world.send(txn(1, 0, 0, "a"));
    world.put(&["b"]);
    world.log.advance_log_start(1).unwrap();
    assert_eq!(world.log.last_stable_offset(), 1, "never below the log start");
    assert_eq!(read_all(&world.log.reader(), Isolation::Committed), []);
    world.end(1, 0, Commit);
    assert_eq!(world.log.last_stable_offset(), 3);
}
