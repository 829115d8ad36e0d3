//! The files on disk are what Kafka writes, file by file and byte by byte.

use super::*;

#[test]
fn a_new_log_is_four_files() {
    for world in World::both(config()) {
        let expected =
            ["00000000000000000000.index", "00000000000000000000.log", "00000000000000000000.timeindex"];
        assert_eq!(world.files(), [&expected[..], &["partition.metadata"]].concat());
        let metadata = world.disk.read_to_vec(&world.dir.join("partition.metadata")).unwrap();
        assert_eq!(metadata, b"version: 0\ntopic_id: EjRWeJq83vASNFZ4mrze8A");
    }
}

#[test]
fn a_used_log_has_kafkas_names() {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    world.epoch = LeaderEpoch(2);
    for _ in 0..3 {
        let batch = world.checked(idempotent(5, 0, -1, 9, &["a"]).transactional(), Origin::Coordinator);
        world.append(&batch).unwrap();
    }
    let marker = world.checked(end_of_txn(5, 0, TransactionResult::Abort, 0, 10), Origin::Coordinator);
    world.append(&marker).unwrap();
    world.log.close().unwrap();
    let expected = [
        "00000000000000000000.index",
        "00000000000000000000.log",
        "00000000000000000000.timeindex",
        "00000000000000000002.index",
        "00000000000000000002.log",
        "00000000000000000002.snapshot",
        "00000000000000000002.timeindex",
        "00000000000000000002.txnindex",
        "00000000000000000004.snapshot",
        "leader-epoch-checkpoint",
        "partition.metadata",
    ];
    assert_eq!(world.files(), expected);
    let epochs = world.disk.read_to_vec(&world.dir.join("leader-epoch-checkpoint")).unwrap();
    assert_eq!(epochs, b"0\n1\n2 0\n");
    let aborted =
        [&[0, 0][..], &5i64.to_be_bytes(), &0i64.to_be_bytes(), &3i64.to_be_bytes(), &4i64.to_be_bytes()];
    assert_eq!(world.bytes(2, ".txnindex"), aborted.concat());
}

#[test]
fn index_entries_name_the_last_offset_of_the_batch_that_starts_there() {
    // An entry for the first batch that begins more than 100 bytes after the last entry.
    let mut world = World::memory(TopicConfig { index_interval_bytes: 100, ..TopicConfig::default() });
    for (timestamp, values) in [(50, 2), (40, 1), (60, 3), (60, 1), (55, 1), (70, 1), (10, 1)] {
        let batch = world.checked(plain(timestamp, &vec!["v"; values]), Origin::Client);
        world.append(&batch).unwrap();
    }
    let starts =
        read_batches(&world.log.reader(), Isolation::LogEnd).iter().fold(vec![0], |mut at, (header, _)| {
            at.push(at.last().unwrap() + header.size_in_bytes() as u32);
            at
        });
    world.log.close().unwrap();
    let entries = [(5u32, starts[2]), (7, starts[4]), (9, starts[6])];
    let expected = entries.iter().flat_map(|(offset, at)| [offset.to_be_bytes(), at.to_be_bytes()].concat());
    assert_eq!(world.bytes(0, ".index"), expected.collect::<Vec<_>>());
    // The largest timestamp so far, if it has changed, with the last offset of the first batch that has it.
    let entries = [(60i64, 5u32), (70, 8)];
    let expected =
        entries.iter().flat_map(|(t, offset)| [&t.to_be_bytes()[..], &offset.to_be_bytes()].concat());
    assert_eq!(world.bytes(0, ".timeindex"), expected.collect::<Vec<_>>());
}

#[test]
fn the_largest_timestamp_is_entered_when_a_segment_is_rolled() {
    let mut world =
        World::memory(TopicConfig { index_interval_bytes: 1 << 20, segment_bytes: 200, ..config() });
    for timestamp in [30, 20, 10] {
        let batch = world.checked(plain(timestamp, &["v"]), Origin::Client);
        world.append(&batch).unwrap();
    }
    assert_eq!(world.bytes(0, ".index"), b"");
    assert_eq!(world.bytes(0, ".timeindex"), [&30i64.to_be_bytes()[..], &0u32.to_be_bytes()].concat());
    assert_eq!(world.bytes(2, ".timeindex"), b"", "not yet");
}

#[test]
fn index_entries_are_written_in_groups() {
    let mut world = World::memory(TopicConfig { index_interval_bytes: 1, ..TopicConfig::default() });
    for _ in 0..100 {
        world.put(&["v"]);
    }
    assert_eq!(world.bytes(0, ".index"), b"");
    for _ in 0..100 {
        world.put(&["v"]);
    }
    assert_eq!(world.bytes(0, ".index").len(), 128 * 8);
    for from in 0..200 {
        let slice = world.log.reader().read(from, 1, Isolation::LogEnd, true).unwrap();
        assert_eq!(slice.range.unwrap().position, from as u64 * 72);
    }
}

#[test]
fn a_deleted_log_is_renamed_as_kafka_renames_it() {
    for mut world in World::both(config()) {
        world.put(&["a"]);
        let reader = world.log.reader();
        let folder = world.log.delete(Uuid::from_u128(0xabc)).unwrap();
        assert_eq!(folder.file_name().unwrap(), "t-0.00000000000000000000000000000abc-delete");
        assert!(world.disk.exists(&folder) && !world.disk.exists(&world.dir));
        assert_eq!(read_all(&reader, Isolation::LogEnd), [(0, "a".to_owned())], "readers finish");
    }
}

#[test]
fn a_folder_of_another_topic_is_refused() {
    let mut world = World::memory(config());
    world.put(&["a"]);
    let refused = world.try_reopen(|opening| opening.topic_id = Some(TopicId::from_u128(1 << 99)));
    assert!(matches!(refused, Err(LogError::TopicId { .. })), "{refused:?}");
    world.reopen(|opening| opening.topic_id = None);
    assert_eq!(world.log.topic_id().unwrap().as_u128(), 0x1234_5678_9abc_def0_1234_5678_9abc_def0);
}
