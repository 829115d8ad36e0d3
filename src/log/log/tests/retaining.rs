//! What retention removes, and what it leaves.

use super::*;
use crate::disk::{Fault, Operation};
use ottla_model::config::CleanupPolicy;

/// Ten batches in five segments of 144 bytes. Their timestamps are an hour apart, and the last one is the current time.
fn ten(config: TopicConfig) -> World {
    let mut world = World::memory(TopicConfig { segment_bytes: 150, ..config });
    for n in 0..10 {
        let batch = world.checked(plain(START_MS - (9 - n) * HOUR, &["v"]), Origin::Client);
        world.append(&batch).unwrap();
    }
    assert_eq!(world.log.segment_count(), 5);
    world
}

#[track_caller]
fn check(what: &str, config: TopicConfig, now_ms: i64, expected: &[Offset]) {
    for reopened in [false, true] {
        let mut world = ten(config.clone());
        if reopened {
            world.reopen_clean();
            world.log.advance_high_watermark(10);
        }
        let retired = world.log.delete_old_segments(now_ms).unwrap();
        assert_eq!(retired.iter().map(|r| r.base_offset).collect::<Vec<_>>(), expected, "{what}");
        let start = expected.last().map_or(0, |last| last + 2);
        assert_eq!(world.log.log_start_offset(), start, "{what}");
        assert_eq!(world.log.log_end_offset(), 10, "{what}");
        assert_eq!(world.values().len() as i64, 10 - start, "{what}");
        assert!(world.log.delete_old_segments(now_ms).unwrap().is_empty(), "{what}: once");
    }
}

#[test]
fn segments_go_by_size_and_by_time() {
    let policy = |delete, compact| CleanupPolicy { delete, compact };
    let keep = TopicConfig { retention_ms: -1, retention_bytes: -1, ..config() };
    let by_size = |bytes| TopicConfig { retention_bytes: bytes, ..keep.clone() };
    let by_time = |hours| TopicConfig { retention_ms: hours * HOUR, ..keep.clone() };
    let now = START_MS;
    check("without limits", keep.clone(), now + 1000 * HOUR, &[]);
    check("as much as there is", by_size(720), now, &[]);
    check("one segment too many", by_size(576), now, &[0]);
    check("not quite one segment too many", by_size(577), now, &[]);
    check("all but the active one", by_size(100), now, &[0, 2, 4, 6]);
    check("everything", by_size(0), now, &[0, 2, 4, 6, 8]);
    check("none is old enough", by_time(8), now, &[]);
    check("the largest timestamp of a segment counts", by_time(8), now + 1, &[0]);
    check("the active one expires, too", by_time(1), now + 2 * HOUR, &[0, 2, 4, 6, 8]);
    check("no policy", TopicConfig { cleanup_policy: policy(false, false), ..by_size(0) }, now, &[]);
    check("compaction only", TopicConfig { cleanup_policy: policy(false, true), ..by_size(0) }, now, &[]);
    check(
        "both policies",
        TopicConfig { cleanup_policy: policy(true, true), ..by_size(0) },
        now,
        &[0, 2, 4, 6, 8],
    );
}

#[test]
fn records_deleted_on_request_go_under_any_policy() {
    let policy = CleanupPolicy { delete: false, compact: true };
    let mut world = ten(TopicConfig { cleanup_policy: policy, ..config() });
    assert!(world.log.advance_log_start(5).unwrap());
    assert!(!world.log.advance_log_start(5).unwrap());
    assert_eq!(world.read_all()[0].0, 5);
    let retired = world.log.delete_old_segments(START_MS).unwrap();
    assert_eq!(retired.iter().map(|r| r.base_offset).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(world.log.log_start_offset(), 5, "inside a segment");
    assert_eq!(world.read_all()[0].0, 5);
    world.reopen_clean();
    assert_eq!((world.log.log_start_offset(), world.read_all()[0].0), (5, 5));
}

#[test]
fn nothing_goes_above_the_high_watermark() {
    let mut world = World::memory(TopicConfig { segment_bytes: 150, retention_bytes: 0, ..config() });
    for _ in 0..10 {
        let batch = world.checked(plain(0, &["v"]), Origin::Client);
        world.try_append(&[batch]).unwrap();
    }
    for (high_watermark, expected) in
        [(0, vec![]), (1, vec![]), (5, vec![0, 2]), (9, vec![4, 6]), (10, vec![8])]
    {
        world.log.advance_high_watermark(high_watermark);
        let refused = world.log.advance_log_start(high_watermark + 1);
        assert_eq!(code(refused), ErrorCode::OffsetOutOfRange);
        let retired = world.log.delete_old_segments(START_MS).unwrap();
        assert_eq!(retired.iter().map(|r| r.base_offset).collect::<Vec<_>>(), expected, "{high_watermark}");
    }
    assert_eq!(
        world.log.offsets(),
        Offsets { log_start: 10, last_stable: 10, high_watermark: 10, log_end: 10 }
    );
    assert_eq!(world.put(&["on"]).base_offset, 10);
}

#[test]
fn files_are_renamed_and_removed_when_their_time_has_come() {
    let config = TopicConfig { retention_bytes: 300, file_delete_delay_ms: 60_000, ..config() };
    let mut world = ten(config);
    let reader = world.log.reader();
    let slice = reader.read(0, 1000, Isolation::LogEnd, true).unwrap();
    let retired = world.log.delete_old_segments(START_MS).unwrap();
    assert_eq!(retired.len(), 2);
    let of_first =
        [".index.deleted", ".log.deleted", ".timeindex.deleted"].map(|end| format!("{:020}{end}", 0));
    let files = world.files();
    assert_eq!(files[..3], of_first);
    assert!(files.iter().any(|name| name == "00000000000000000002.snapshot.deleted"), "{files:?}");
    assert!(retired.iter().all(|r| r.due_ms == START_MS + 60_000 && r.bytes == 144));
    assert_eq!(slice.range.unwrap().read().unwrap().len(), 144, "a reader that was there first goes on");
    for files in retired {
        files.run().unwrap();
    }
    assert!(!world.files().iter().any(|name| name.ends_with(".deleted")));
    assert!(
        matches!(reader.read(3, 10, Isolation::LogEnd, true), Err(ReadError::OutOfRange(o)) if o.log_start == 4)
    );
}

#[test]
fn opening_finishes_what_was_being_deleted() {
    let mut world = ten(TopicConfig { retention_bytes: 300, ..config() });
    let retired = world.log.delete_old_segments(START_MS).unwrap();
    world.reopen(|_| ());
    assert!(!world.files().iter().any(|name| name.ends_with(".deleted")));
    assert_eq!(world.values().len(), 6);
    retired.into_iter().for_each(|files| files.run().expect("they are gone already"));
}

#[test]
fn segments_that_come_back_with_the_power_are_no_hole() {
    let mut world = ten(TopicConfig { retention_bytes: 300, ..config() });
    world.flush();
    let kept = [".log", ".index", ".timeindex"].map(|end| (world.path(0, end), world.bytes(0, end)));
    for files in world.log.delete_old_segments(START_MS).unwrap() {
        files.run().unwrap();
    }
    let expected = world.read_all();
    for (path, bytes) in kept {
        let file = world.disk.open(&path, crate::disk::OpenHow::Create).unwrap();
        file.write_at(&bytes, 0).unwrap();
    }
    // The checkpoints are old.
    world.reopen(|opening| (opening.recovery_point, opening.log_start) = (0, 0));
    assert_eq!((world.log.log_start_offset(), world.read_all()), (4, expected));
}

#[test]
fn epochs_follow_the_log_start() {
    let mut world = World::memory(TopicConfig { segment_bytes: 80, retention_bytes: 200, ..config() });
    for epoch in 0..6 {
        world.epoch = LeaderEpoch(epoch);
        world.put(&["v"]);
    }
    assert_eq!(world.log.reader().earliest_epoch(), Some(LeaderEpoch(0)));
    assert_eq!(world.log.delete_old_segments(START_MS).unwrap().len(), 3);
    let reader = world.log.reader();
    assert_eq!(
        (reader.earliest_epoch(), world.log.last_epoch()),
        (Some(LeaderEpoch(3)), Some(LeaderEpoch(5)))
    );
    assert_eq!(reader.epoch_end_offset(LeaderEpoch(1)), (LeaderEpoch(1), 3));
}

#[test]
fn epochs_are_those_of_a_log_start_that_a_crash_has_taken_back() {
    // The second time nothing is left, and the file's only epoch begins at the log end.
    for (log_start, expected) in
        [(2, [(0, 2), (1, 3), (2, 4), (5, 4)]), (4, [(0, 4), (1, 4), (2, 4), (5, 4)])]
    {
        let mut world = World::memory(config());
        for epoch in [0, 1, 1, 2] {
            world.epoch = LeaderEpoch(epoch);
            world.put(&["v"]);
        }
        world.log.advance_high_watermark(4);
        world.log.advance_log_start(log_start).expect("below the high watermark");
        world.log.assign_epoch(LeaderEpoch(5), 4).expect("a disk that works");
        let ends = |world: &World| [0, 1, 2, 5].map(|epoch| world.log.epoch_end_offset(LeaderEpoch(epoch)));
        let end = |(epoch, offset)| (LeaderEpoch(epoch), offset);
        assert_eq!(ends(&world), expected.map(end), "from {log_start} on");
        world.reopen(|opening| (opening.recovery_point, opening.log_start) = (0, 0));
        assert_eq!(world.log.log_start_offset(), 0, "the checkpoint is old");
        // Epoch 5 has no records and nobody leads under it any more.
        assert_eq!(ends(&world)[..3], [(0, 1), (1, 3), (2, 4)].map(end), "from {log_start} on");
    }
}

#[test]
fn a_full_disk_does_not_keep_retention_from_making_room() {
    let mut world = ten(TopicConfig { retention_bytes: 0, ..config() });
    let memory = world.memory.clone().unwrap();
    memory.fail_always(Operation::Write, Fault::Full);
    memory.fail_always(Operation::Create, Fault::Full);
    let retired = world.log.delete_old_segments(START_MS).unwrap();
    assert_eq!(retired.len(), 4, "all but the active one, for which no other can be made");
    memory.heal();
    assert_eq!(world.log.delete_old_segments(START_MS).unwrap().len(), 1);
}

const HOUR: i64 = 3_600_000;
