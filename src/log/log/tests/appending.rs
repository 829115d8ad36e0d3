//! What an append does and returns.

use super::*;
use crate::disk::{Fault, Operation};
use ottla_protocol::batch::TimestampType;

#[test]
fn what_was_appended_is_read_back() {
    for mut world in World::both(config()) {
        assert_eq!(world.put(&["a", "b"]).base_offset, 0, "the first offset is 0");
        let second = world.put(&["c"]);
        assert_eq!((second.base_offset, second.last_offset, second.duplicate), (2, 2, false));
        assert_eq!(second.log_append_time_ms, -1);
        assert_eq!(world.read_all(), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
        let offsets = Offsets { log_start: 0, last_stable: 3, high_watermark: 3, log_end: 3 };
        assert_eq!(world.log.offsets(), offsets);
        assert_eq!(world.log.reader().offsets(), offsets);
    }
}

#[test]
fn headers_get_offset_and_epoch_and_nothing_else() {
    let mut world = World::memory(config());
    world.epoch = LeaderEpoch(5);
    world.put(&["x"]);
    let batch = world.checked(plain(1000, &["a", "b"]), Origin::Client);
    world.append(&batch).unwrap();
    let (header, bytes) = read_batches(&world.log.reader(), Isolation::LogEnd).pop().unwrap();
    assert_eq!(header, BatchHeader { base_offset: 1, partition_leader_epoch: 5, ..batch.header });
    assert_eq!(bytes[61..], batch.body()[..]);
    assert_eq!(world.log.last_epoch(), Some(LeaderEpoch(5)));
}

#[test]
fn many_batches_are_one_write() {
    let mut world = World::memory(TopicConfig::default());
    let batches = (0..50).map(|n| world.checked(plain(n, &["v"; 3]), Origin::Client)).collect::<Vec<_>>();
    world.put(&["first"]);
    let memory = world.memory.clone().unwrap();
    let before = memory.changes();
    let results = world.try_append(&batches).unwrap();
    assert_eq!(memory.changes() - before, 1, "one write for all of them");
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap().base_offset, 1 + 3 * n as i64);
    }
    assert_eq!(world.values().len(), 151);
}

#[test]
fn one_refused_batch_does_not_refuse_the_others() {
    let mut world = World::memory(config());
    let large = "x".repeat(500);
    let rows = [&["a"][..], &[&large], &["b"]].map(|values| world.checked(plain(0, values), Origin::Client));
    world.log.set_config(Arc::new(TopicConfig { segment_bytes: 500, ..config() }));
    let results = world.try_append(&rows).unwrap();
    let codes = results.into_iter().map(code).collect::<Vec<_>>();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::RecordListTooLarge, ErrorCode::None]);
    assert_eq!(world.values(), ["a", "b"]);
}

#[test]
fn append_time_is_the_time_of_the_check_or_of_the_append() {
    let mut world = World::memory(config());
    let before = world.checked(plain(1, &["a"]), Origin::Client);
    world.config.message_timestamp_type = TimestampType::LogAppendTime;
    let stamped = world.checked(plain(1, &["b"]), Origin::Client);
    world.log.set_config(Arc::new(world.config.clone()));
    world.now_ms += 50;
    // The first batch was checked when the topic still had create times.
    assert_eq!(world.append(&before).unwrap().log_append_time_ms, START_MS + 50);
    assert_eq!(world.append(&stamped).unwrap().log_append_time_ms, START_MS);
    for (header, bytes) in read_batches(&world.log.reader(), Isolation::LogEnd) {
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        let record = records(&bytes, DecompressLimit(100)).unwrap().next().unwrap().unwrap();
        assert_eq!(record.timestamp, header.max_timestamp);
    }
}

#[test]
fn an_older_leader_may_not_append() {
    let mut world = World::memory(config());
    world.log.assign_epoch(LeaderEpoch(4), 0).unwrap();
    world.epoch = LeaderEpoch(3);
    let batch = world.checked(plain(0, &["a"]), Origin::Client);
    assert_eq!(code(world.append(&batch)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(world.log.log_end_offset(), 0);
}

#[test]
fn after_a_failed_write_nothing_is_appended_until_the_log_is_opened_again() {
    let mut world = World::memory(config());
    world.put(&["a"]);
    let batch = world.checked(plain(0, &["b"]), Origin::Client);
    let memory = world.memory.clone().unwrap();
    memory.fail_next(Operation::Write, Fault::Broken);
    assert!(matches!(
        world.try_append(std::slice::from_ref(&batch)),
        Err(AppendError::Io(LogError::Io { .. }))
    ));
    let refused = world.try_append(&[batch]);
    assert!(matches!(refused, Err(AppendError::Io(LogError::Offline { .. }))), "{refused:?}");
    assert!(world.log.flush_begin().is_err());
    assert_eq!(world.values(), ["a"], "reads go on");
    world.reopen(|_| ());
    world.put(&["c"]);
    assert_eq!(world.values(), ["a", "c"]);
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let mut world = World::memory(TopicConfig::default());
    let memory = world.memory.clone().unwrap();
    let before = idempotent(9, 0, 0, 0, &["a"]);
    let batch = world.checked(before, Origin::Client);
    world.append(&batch).unwrap();
    let size = world.log.size();
    for room in [0, 1, 60, 61, 70] {
        let files: u64 = world.disk.list(&world.dir).unwrap().iter().map(|entry| entry.len).sum();
        memory.set_capacity(Some(files + room));
        let next = world.checked(idempotent(9, 0, 1, 0, &["b"]), Origin::Client);
        let failed = world.try_append(&[next.clone(), next]);
        assert!(matches!(failed, Err(AppendError::DiskFull { .. })), "{room}: {failed:?}");
        assert_eq!((world.log.size(), world.values()), (size, vec!["a".to_owned()]));
        assert_eq!(world.bytes(0, ".log").len() as u64, size, "the partial batch is cut off");
        world.flush();
    }
    memory.set_capacity(None);
    let next = world.checked(idempotent(9, 0, 1, 0, &["b"]), Origin::Client);
    assert!(!world.append(&next).unwrap().duplicate, "what failed was not remembered");
    assert!(world.append(&next).unwrap().duplicate);
    assert_eq!(world.values(), ["a", "b"]);
}

#[test]
fn a_full_disk_in_the_middle_of_a_call_keeps_what_fitted() {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    let batches = (0..4).map(|n| world.checked(idempotent(1, 0, n, 0, &["value"]), Origin::Client));
    let batches = batches.collect::<Vec<_>>();
    let memory = world.memory.clone().unwrap();
    // Two batches fill a segment; the second segment's first write has no room.
    memory.fail_nth(Operation::Write, 3, Fault::Full);
    let codes = world.try_append(&batches).unwrap().into_iter().map(code).collect::<Vec<_>>();
    let full = ErrorCode::KafkaStorageError;
    assert_eq!(codes, [ErrorCode::None, ErrorCode::None, full, full]);
    assert_eq!(world.values().len(), 2);
    let codes = world.try_append(&batches).unwrap().into_iter().map(|r| r.map(|a| a.duplicate));
    assert_eq!(codes.collect::<Vec<_>>(), [Ok(true), Ok(true), Ok(false), Ok(false)]);
    assert_eq!(world.values().len(), 4);
}

#[test]
fn a_follower_keeps_the_leaders_offsets_and_epochs() {
    for mut follower in World::both(config()) {
        let mut bytes = Vec::new();
        for (offset, epoch, values) in
            [(0, 0, &["a", "b"][..]), (2, 0, &["c"]), (7, 2, &["d"]), (8, 3, &["e"])]
        {
            bytes.extend_from_slice(&plain(5, values).build(offset, LeaderEpoch(epoch)));
        }
        let cut = Bytes::from(bytes[..bytes.len() - 1].to_vec());
        let followed = follower.log.append_as_follower(cut, LeaderEpoch(3), START_MS).unwrap().unwrap();
        assert_eq!(followed.offsets, Some((0, 7)), "a batch that was cut off is left out");
        assert_eq!(follower.log.log_end_offset(), 8);
        let rest = plain(5, &["e"]).build(8, LeaderEpoch(3));
        let known = follower.log.append_as_follower(rest.clone(), LeaderEpoch(2), START_MS).unwrap().unwrap();
        assert_eq!((known.offsets, known.bytes), (None, 0), "an epoch that we do not know of");
        follower.log.append_as_follower(rest, LeaderEpoch(3), START_MS).unwrap().unwrap();
        let expected = [(0, "a"), (1, "b"), (2, "c"), (7, "d"), (8, "e")].map(|(o, v)| (o, v.to_owned()));
        assert_eq!(follower.read_all(), expected);
        for (epoch, end) in [(0, (0, 7)), (1, (0, 7)), (2, (2, 8)), (3, (3, 9)), (4, (-1, -1))] {
            let (found, offset) = follower.log.epoch_end_offset(LeaderEpoch(epoch));
            assert_eq!((found.0, offset), end, "epoch {epoch}");
        }
    }
}

#[test]
fn a_follower_takes_nothing_that_does_not_follow() {
    let mut follower = World::memory(config());
    follower.put(&["a", "b", "c"]);
    let mut damaged = plain(5, &["x"]).build(3, LeaderEpoch(0)).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let rows = [
        ("below the log end", plain(5, &["x"]).build(2, LeaderEpoch(0)), ErrorCode::InvalidRecord),
        ("across the log end", plain(5, &["x", "y"]).build(2, LeaderEpoch(0)), ErrorCode::InvalidRecord),
        ("damaged", damaged.into(), ErrorCode::CorruptMessage),
    ];
    for (what, bytes, expected) in rows {
        let result = follower.log.append_as_follower(bytes, LeaderEpoch(0), START_MS).unwrap();
        assert_eq!(code(result), expected, "{what}");
    }
    let two = [plain(5, &["x"]).build(4, LeaderEpoch(0)), plain(5, &["y"]).build(3, LeaderEpoch(0))].concat();
    assert!(follower.log.append_as_follower(two.into(), LeaderEpoch(0), START_MS).unwrap().is_err());
    assert_eq!(follower.log.log_end_offset(), 3);
}

#[test]
fn an_empty_follower_begins_inside_a_batch_where_its_leaders_log_does() {
    let mut follower = World::memory(config());
    follower.log.truncate_fully(15, START_MS).unwrap();
    let batch = plain(5, &["x"; 10]).build(10, LeaderEpoch(0));
    let followed = follower.log.append_as_follower(batch, LeaderEpoch(0), START_MS).unwrap().unwrap();
    assert_eq!(followed.offsets, Some((10, 19)));
    assert_eq!((follower.log.log_start_offset(), follower.log.log_end_offset()), (10, 20));
    // The checkpoint of the recovery point still says 15.
    follower.memory.as_ref().unwrap().crash();
    follower.reopen(|opening| (opening.recovery_point, opening.log_start) = (15, 15));
    assert_eq!(follower.log.log_start_offset(), 15, "whatever is left of it");
}
