//! Our reading and writing compared with batches that Kafka wrote.

use uuid::Uuid;

use crate::batch::control::*;
use crate::{LeaderEpoch, ProducerEpoch, ProducerId};

use super::*;

const CREATED: i64 = 1_700_000_000_000;

fn three_records(codec: Compression) -> Bytes {
    let long = [b"value".as_slice(); 8].join(&b' ');
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"a")), (b"h", None), ("é".as_bytes(), Some(b""))];
    BatchBuilder::new(codec)
        .producer(ProducerId(4000), ProducerEpoch(7), i32::MAX - 1)
        .transactional()
        .append(CREATED, Some(b"k1"), Some(b"v1"), headers)
        .append(CREATED - 10, None, Some(&long), &[])
        .append(CREATED + 300, Some(b"k3"), None, &[])
        .build(100, LeaderEpoch(5))
}

const THREE: [(Compression, &str); 5] = [
    (Compression::None, golden::THREE_NONE),
    (Compression::Gzip, golden::THREE_GZIP),
    (Compression::Snappy, golden::THREE_SNAPPY),
    (Compression::Lz4, golden::THREE_LZ4),
    (Compression::Zstd, golden::THREE_ZSTD),
];

#[test]
fn batches_of_every_codec_read_as_kafka_wrote_them() {
    for (codec, hex) in THREE {
        let batch = from_hex(hex);
        assert!(verify_crc(&batch), "{codec:?}");
        let header = header_of(&batch);
        let expected = BatchHeader {
            base_offset: 100,
            batch_length: batch.len() as i32 - 12,
            partition_leader_epoch: 5,
            magic: 2,
            crc: crc_of(&batch),
            attributes: 0x10 | i16::from(codec.id()),
            last_offset_delta: 2,
            base_timestamp: CREATED,
            max_timestamp: CREATED + 300,
            producer_id: 4000,
            producer_epoch: 7,
            base_sequence: i32::MAX - 1,
            record_count: 3,
        };
        assert_eq!(header, expected);
        assert_eq!((header.compression(), header.last_offset(), header.last_sequence()), (codec, 102, 0));

        let ours = three_records(codec);
        assert_eq!(all_records(&batch), all_records(&ours), "{codec:?}");
        assert!(verify_crc(&ours));
        for to in Compression::ALL {
            let other = recompress(&batch, to, None, ROOMY).expect("valid");
            assert!(verify_crc(&other) && header_of(&other).compression() == to);
            assert_eq!(all_records(&other), all_records(&batch), "{codec:?} to {to:?}");
        }
    }
}

#[test]
fn a_batch_that_we_build_is_the_one_that_kafka_builds() {
    assert_eq!(three_records(Compression::None), from_hex(golden::THREE_NONE));
    let append_time = BatchBuilder::new(Compression::None)
        .log_append_time(1_234_567_890_123)
        .append(1, Some(b"a"), Some(b"b"), &[])
        .build(0, LeaderEpoch(0));
    assert_eq!(append_time, from_hex(golden::APPEND_TIME));
}

#[test]
fn records_have_offsets_timestamps_and_sequences_of_their_own() {
    let batch = from_hex(golden::THREE_NONE);
    let records = all_records(&batch).expect("valid");
    let positions: Vec<_> = records.iter().map(|r| (r.offset, r.timestamp, r.sequence)).collect();
    let expected = [(100, CREATED, i32::MAX - 1), (101, CREATED - 10, i32::MAX), (102, CREATED + 300, 0)];
    assert_eq!(positions, expected);
    let [a, nothing, empty] = &records[0].headers[..] else { panic!("three headers") };
    assert_eq!(*a, (Bytes::from("h"), Some(Bytes::from("a"))));
    assert_eq!(*nothing, (Bytes::from("h"), None));
    assert_eq!(*empty, (Bytes::from("é"), Some(Bytes::new())));
    assert_eq!((&records[1].key, &records[2].value), (&None, &None));

    let key = records[0].key.as_ref().expect("a key");
    assert!(batch.as_ptr_range().contains(&key.as_ptr()), "the key was copied");

    let append_time = all_records(&from_hex(golden::APPEND_TIME)).expect("valid");
    assert_eq!((append_time[0].timestamp, append_time[0].sequence), (1_234_567_890_123, -1));
}

#[test]
fn a_walk_sees_what_the_iterator_sees() {
    for (codec, hex) in THREE {
        let mut seen = Vec::new();
        let bytes = walk(&from_hex(hex), ROOMY, |meta| seen.push(meta)).expect("valid");
        assert_eq!(bytes, from_hex(golden::THREE_NONE).len() - HEADER_BYTES, "{codec:?}");
        assert_eq!(seen.iter().map(|m| m.size_in_bytes).sum::<usize>(), bytes);
        assert_eq!(
            seen.iter().map(|m| (m.index, m.offset_delta)).collect::<Vec<_>>(),
            [(0, 0), (1, 1), (2, 2)]
        );
        assert_eq!(seen.iter().map(|m| m.timestamp_delta).collect::<Vec<_>>(), [0, -10, 300]);
        assert_eq!(seen.iter().map(|m| m.timestamp - CREATED).collect::<Vec<_>>(), [0, -10, 300]);
        assert_eq!(seen.iter().map(|m| m.key_is_null).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(seen.iter().map(|m| m.value_is_null).collect::<Vec<_>>(), [false, false, true]);
    }
}

#[test]
fn control_records_are_kafkas_byte_for_byte() {
    let quorum = || BatchBuilder::new(Compression::None).control();
    let transaction = || quorum().transactional().producer(ProducerId(4000), ProducerEpoch(7), NO_SEQUENCE);
    let voter = |id| Voter { id, directory_id: Uuid::nil() };
    let node = VoterNode {
        id: 1,
        directory_id: Uuid::from_u64_pair(1, 2),
        endpoints: vec![VoterEndpoint { name: "CONTROLLER".into(), host: "c1".into(), port: 9093 }],
        kraft_version_min: 0,
        kraft_version_max: 1,
    };
    let leader_change = LeaderChangeMessage {
        version: 0,
        leader_id: 1,
        voters: vec![voter(1), voter(2)],
        granting_voters: vec![voter(1)],
    };
    let snapshot_header =
        SnapshotHeader { last_contained_log_timestamp: CREATED - 1, ..SnapshotHeader::default() };
    let rows = [
        (golden::COMMIT, transaction(), ControlRecord::end_txn(TransactionResult::Commit, 9)),
        (golden::ABORT, transaction(), ControlRecord::end_txn(TransactionResult::Abort, 9)),
        (golden::LEADER_CHANGE, quorum(), ControlRecord::LeaderChange(leader_change)),
        (golden::SNAPSHOT_HEADER, quorum(), ControlRecord::SnapshotHeader(snapshot_header)),
        (golden::SNAPSHOT_FOOTER, quorum(), ControlRecord::SnapshotFooter(SnapshotFooter { version: 0 })),
        (
            golden::KRAFT_VERSION,
            quorum(),
            ControlRecord::KRaftVersion(KRaftVersion { version: 0, kraft_version: 1 }),
        ),
        (
            golden::KRAFT_VOTERS,
            quorum(),
            ControlRecord::KRaftVoters(KRaftVoters { version: 0, voters: vec![node] }),
        ),
    ];
    for (hex, mut builder, record) in rows {
        let theirs = from_hex(hex);
        let header = header_of(&theirs);
        assert!(header.is_control());
        let epoch = LeaderEpoch(header.partition_leader_epoch);
        assert_eq!(
            builder.append_control(CREATED, &record).build(header.base_offset, epoch),
            theirs,
            "{record:?}"
        );

        let stored = &all_records(&theirs).expect("valid")[0];
        let (key, value) = (stored.key.as_deref().expect("a key"), stored.value.as_deref().expect("a value"));
        assert_eq!(ControlRecord::decode(key, value).as_ref(), Ok(&record));
        for cut in 0..value.len() {
            assert!(ControlRecord::decode(key, &value[..cut]).is_err(), "{cut} bytes of {record:?}");
        }
        assert!(ControlRecord::decode(&key[..3], value).is_err());
    }
}

#[test]
fn control_records_of_the_future_are_not_errors() {
    let voter = Voter { id: 3, directory_id: Uuid::from_u64_pair(8, 9) };
    let newer =
        LeaderChangeMessage { version: 1, leader_id: 3, voters: vec![voter], granting_voters: vec![voter] };
    let newer = ControlRecord::LeaderChange(newer);
    assert_eq!(ControlRecord::decode(&newer.key(), &newer.value()), Ok(newer));

    let unknown = ControlRecord::Unknown { type_id: 77, value: Bytes::from_static(b"?") };
    assert_eq!(ControlRecord::decode(&unknown.key(), &unknown.value()), Ok(unknown));
    let later_key = [0, 1, 0, 1, 9];
    let later_value = [0, 1, 0, 0, 0, 2, 9];
    let marker = ControlRecord::end_txn(TransactionResult::Commit, 2);
    assert_eq!(ControlRecord::decode(&later_key, &later_value), Ok(marker));
    assert!(ControlRecord::decode(&[0xff, 0xff, 0, 1], &later_value).is_err(), "a negative version");
}

#[test]
fn compaction_leaves_what_kafka_leaves() {
    let mut all = BatchBuilder::new(Compression::None).producer(ProducerId(4000), ProducerEpoch(7), 3);
    for i in 0..10 {
        all.append(CREATED - 9 + i, Some(b"k"), Some(b"v"), &[]);
    }
    let original = header_of(&all.build(50, LeaderEpoch(2)));
    let emptied = BatchBuilder::retaining(&original).build(50, LeaderEpoch(2));
    assert_eq!(emptied, from_hex(golden::EMPTY));
    assert_eq!(all_records(&emptied), Ok(vec![]));

    let mut some = BatchBuilder::retaining(&original);
    for record in all_records(&all.build(50, LeaderEpoch(2))).expect("valid") {
        if record.offset % 4 == 0 {
            some.append_at((record.offset - 50) as i32, &record);
        }
    }
    let kept = some.build(50, LeaderEpoch(2));
    let header = header_of(&kept);
    assert_eq!((header.last_offset(), header.last_sequence(), header.record_count), (59, 12, 2));
    assert_eq!(header.max_timestamp, CREATED - 3);
    let kept: Vec<_> =
        all_records(&kept).expect("valid").iter().map(|r| (r.offset, r.sequence, r.timestamp)).collect();
    assert_eq!(kept, [(52, 5, CREATED - 7), (56, 9, CREATED - 3)]);

    let horizon = from_hex(golden::HORIZON);
    assert_eq!(header_of(&horizon).delete_horizon(), Some(CREATED + 99_999));
    let tombstone = &all_records(&horizon).expect("valid")[0];
    assert_eq!((tombstone.offset, tombstone.timestamp, &tombstone.value), (12, CREATED, &None));
    let mut ours = BatchBuilder::new(Compression::None).delete_horizon(CREATED + 99_999);
    assert_eq!(ours.append_at(2, tombstone).build(10, LeaderEpoch(0)), horizon);
    let mut again = BatchBuilder::retaining(&header_of(&horizon));
    assert_eq!(again.append_at(2, tombstone).build(10, LeaderEpoch(0)), horizon);
}
