//! Stories of the records' bytes: as Kafka writes them, round trips, and hostile ones.

use ottla_protocol::primitives::{Problem, STRING_BYTES_MAX};
use uuid::Uuid;

use super::*;
use crate::dice::Dice;
use crate::ids::BrokerEpoch;

const TOPIC: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
const DIRECTORY: Uuid = Uuid::from_u128(42);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn every_version(mut check: impl FnMut(RecordType, i16)) {
    for row in RECORD_TYPES {
        (0..=row.latest).for_each(|version| check(*row, version));
    }
}

fn sample(row: RecordType, version: i16, seed: u64) -> MetadataRecord {
    MetadataRecord::sample(row.key, version, &mut Dice(seed)).expect(row.name)
}

#[test]
fn the_table_is_kafkas() {
    let rows: Vec<_> = RECORD_TYPES.iter().map(|row| (row.key, row.latest)).collect();
    let latest = |key| match key {
        0 => 4,
        3 | 5 => 2,
        17 => 3,
        _ => 0,
    };
    let keys =
        [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29];
    assert_eq!(rows, keys.map(|key| (key, latest(key))));
}

fn partition() -> PartitionRecord {
    PartitionRecord {
        partition_id: 3,
        topic_id: TOPIC,
        replicas: vec![NodeId(1), NodeId(2)],
        isr: vec![NodeId(1)],
        adding_replicas: vec![NodeId(2)],
        leader_recovery_state: LEADER_RECOVERING,
        leader_epoch: ottla_protocol::LeaderEpoch(5),
        partition_epoch: 7,
        ..PartitionRecord::default()
    }
}

fn partition_change() -> PartitionChangeRecord {
    PartitionChangeRecord {
        partition_id: 3,
        topic_id: TOPIC,
        isr: Some(vec![NodeId(1), NodeId(2)]),
        leader: LeaderChange::Nobody,
        ..PartitionChangeRecord::default()
    }
}

fn broker() -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: NodeId(1),
        incarnation_id: TOPIC,
        broker_epoch: BrokerEpoch(100),
        end_points: vec![Endpoint {
            name: "EXTERNAL".into(),
            host: "h".into(),
            port: u16::MAX,
            security_protocol: 3,
        }],
        features: vec![FeatureRange { name: "metadata.version".into(), min: 7, max: 30 }],
        ..RegisterBrokerRecord::default()
    }
}

/// What Kafka 4.4's `MetadataRecordSerde` writes for the same records.
#[test]
fn bytes_are_kafkas() {
    let rows: &[(MetadataRecord, i16, &str)] = &[
        (
            TopicRecord { name: "orders".into(), topic_id: TOPIC }.into(),
            0,
            "010200076f72646572730102030405060708090a0b0c0d0e0f1000",
        ),
        (
            partition().into(),
            0,
            "010300000000030102030405060708090a0b0c0d0e0f100300000001000000020200000001010200000002\
             ffffffff000000050000000701000101",
        ),
        (
            PartitionRecord {
                directories: vec![DIRECTORY, crate::ids::DIRECTORY_UNASSIGNED],
                eligible_leader_replicas: Some(vec![NodeId(2)]),
                ..partition()
            }
            .into(),
            2,
            "010302000000030102030405060708090a0b0c0d0e0f100300000001000000020200000001010200000002\
             ffffffff0000000500000007030000000000000000000000000000002a00000000000000000000000000000001\
             0200010101050200000002",
        ),
        (
            partition_change().into(),
            0,
            "010500000000030102030405060708090a0b0c0d0e0f100200090300000001000000020104ffffffff",
        ),
        (
            PartitionChangeRecord {
                directories: Some(vec![DIRECTORY]),
                last_known_elr: Some(vec![]),
                ..partition_change()
            }
            .into(),
            2,
            "010502000000030102030405060708090a0b0c0d0e0f100400090300000001000000020104ffffffff\
             0701010811020000000000000000000000000000002a",
        ),
        (
            RegisterBrokerRecord {
                rack: Some(String::new()),
                log_dirs: vec![DIRECTORY],
                cordoned_log_dirs: Some(vec![]),
                ..broker()
            }
            .into(),
            4,
            "01000400000001000102030405060708090a0b0c0d0e0f100000000000000064020945585445524e414c0268ffff\
             00030002116d657461646174612e76657273696f6e0007001e00010100020011020000000000000000000000000000\
             002a010101",
        ),
        (
            RegisterBrokerRecord { rack: Some("r".into()), fenced: false, ..broker() }.into(),
            1,
            "010001000000010102030405060708090a0b0c0d0e0f100000000000000064020945585445524e414c0268ffff\
             00030002116d657461646174612e76657273696f6e0007001e000272000000",
        ),
        (
            BrokerRegistrationChangeRecord {
                broker_id: NodeId(1),
                broker_epoch: BrokerEpoch(100),
                fenced: FencingChange::Unfence,
                ..Default::default()
            }
            .into(),
            0,
            "011100000000010000000000000064010001ff",
        ),
        (
            FeatureLevelRecord { name: "metadata.version".into(), feature_level: 30 }.into(),
            0,
            "010c00116d657461646174612e76657273696f6e001e00",
        ),
        (NoOpRecord {}.into(), 0, "01140000"),
        (AbortTransactionRecord { reason: Some("why".into()) }.into(), 0, "01190001000404776879"),
        (
            ConfigRecord {
                resource_type: ResourceType::Topic,
                resource_name: "orders".into(),
                name: "k".into(),
                value: None,
            }
            .into(),
            0,
            "01040002076f7264657273026b0000",
        ),
        (
            ClientQuotaRecord {
                entity: vec![QuotaEntity { entity_type: "user".into(), entity_name: None }],
                key: "k".into(),
                value: QuotaValue(1.5),
                remove: false,
            }
            .into(),
            0,
            "010e000205757365720000026b3ff80000000000000000",
        ),
        (
            ProducerIdsRecord { broker_id: None, broker_epoch: BrokerEpoch::NONE, next_producer_id: 1000 }
                .into(),
            0,
            "010f00ffffffffffffffffffffffff00000000000003e800",
        ),
        (
            UserScramCredentialRecord {
                name: "u".into(),
                mechanism: 1,
                salt: Secret(Bytes::from_static(&[1])),
                stored_key: Secret(Bytes::from_static(&[2, 3])),
                server_key: Secret::default(),
                iterations: 4096,
            }
            .into(),
            0,
            "010b000275010201030203010000100000",
        ),
    ];
    for (record, version, expected) in rows {
        let bytes = record.encode_at(*version).expect(expected);
        assert_eq!(hex(&bytes), *expected, "{record:?}");
        assert_eq!(MetadataRecord::decode_versioned(&unhex(expected)), Ok((record.clone(), *version)));
    }
}

#[test]
fn every_record_goes_round_at_every_version() {
    every_version(|row, version| {
        for seed in 0..200 {
            let record = sample(row, version, seed);
            let bytes = record.encode_at(version).expect(row.name);
            assert_eq!(
                MetadataRecord::decode_versioned(&bytes),
                Ok((record.clone(), version)),
                "seed {seed}"
            );
            // A newer version has a place for everything that an older one has.
            assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record), "seed {seed}");
        }
    });
}

#[test]
fn no_prefix_of_a_record_is_one_and_no_byte_more_is_taken() {
    every_version(|row, version| {
        for seed in 0..20 {
            let bytes = sample(row, version, seed).encode_at(version).expect(row.name);
            // Every prefix of a short record, a hundred prefixes of a long one.
            for end in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
                let decoded = MetadataRecord::decode(&bytes[..end]);
                assert!(decoded.is_err(), "{} v{version} seed {seed} cut at {end}: {decoded:?}", row.name);
            }
            let longer = [&bytes[..], &[0]].concat();
            let error = MetadataRecord::decode(&longer).expect_err(row.name);
            assert!(
                matches!(
                    error,
                    RecordError::Malformed { error: ReadError { problem: Problem::Trailing(1), .. }, .. }
                ),
                "{error}"
            );
        }
    });
}

#[test]
fn damaged_bytes_are_an_error_or_another_record_and_never_a_panic() {
    let mut dice = Dice(7);
    every_version(|row, version| {
        for seed in 0..300 {
            let mut bytes = sample(row, version, seed).encode_at(version).expect(row.name).to_vec();
            for _ in 0..=dice.below(3) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.pick(&[0, 1, 0x7f, 0x80, 0xff, dice.0 as u8]);
            }
            if let Ok((record, version)) = MetadataRecord::decode_versioned(&bytes) {
                record.encode_at(version).expect("what was read can be written");
            }
        }
    });
    for _ in 0..20_000 {
        let row = dice.pick(RECORD_TYPES);
        let mut bytes = vec![1, row.key as u8, dice.below(row.latest as usize + 1) as u8];
        bytes.extend((0..dice.below(40)).map(|_| dice.pick(&[0, 0, 1, 2, 0xff, dice.0 as u8])));
        let _ = MetadataRecord::decode(&bytes);
    }
}

#[test]
fn what_we_do_not_know_is_named() {
    let malformed = |record, version, at, problem| RecordError::Malformed {
        record,
        version,
        error: ReadError { at, problem },
    };
    let topic = "00".repeat(16);
    let rows: &[(&str, RecordError)] = &[
        ("", RecordError::Frame(ReadError { at: 0, problem: Problem::Short { needed: 1, remaining: 0 } })),
        ("ffffffffffff", RecordError::Frame(ReadError { at: 0, problem: Problem::LongVarint(5) })),
        ("00140000", RecordError::UnknownFrame(0)),
        ("02140000", RecordError::UnknownFrame(2)),
        ("010600", RecordError::UnknownType(6)),
        ("011e00", RecordError::UnknownType(30)),
        ("01ffffffff0f00", RecordError::UnknownType(u32::MAX)),
        ("011401", RecordError::UnknownVersion { record: "NoOpRecord", version: 1, latest: 0 }),
        ("0114808004", RecordError::UnknownVersion { record: "NoOpRecord", version: 65536, latest: 0 }),
        // The name of a topic is null.
        ("01020000", malformed("TopicRecord", 0, 3, Problem::Null)),
        // A feature's name is not text.
        ("010c0002ff000000", malformed("FeatureLevelRecord", 0, 3, Problem::NotUtf8)),
        // A count of four thousand million replicas, in four bytes.
        (
            &format!("01030000000000{topic}ffffffff0f00000000"),
            malformed("PartitionRecord", 0, 23, Problem::Count { count: 0xffff_fffe, remaining: 4 }),
        ),
        // The same number of tagged fields.
        ("011400ffffffff0f", malformed("NoOpRecord", 0, 8, Problem::Short { needed: 1, remaining: 0 })),
        // A leader of -3.
        (
            &format!("01050000000000{topic}010104fffffffd"),
            malformed("PartitionChangeRecord", 0, 26, Problem::Value(-3)),
        ),
        // Directories, tag 8, in a version before they existed.
        (
            &format!("01050000000000{topic}01080101"),
            malformed("PartitionChangeRecord", 0, 26, Problem::Value(8)),
        ),
        // A tagged field that is shorter than its declared size.
        (
            &format!("01050000000000{topic}01050200ff"),
            malformed("PartitionChangeRecord", 0, 27, Problem::Trailing(1)),
        ),
        ("010400030161016101", malformed("ConfigRecord", 0, 3, Problem::Value(3))),
    ];
    for (bytes, expected) in rows {
        assert_eq!(MetadataRecord::decode(&unhex(bytes)), Err(*expected), "{bytes}");
    }
}

#[test]
fn a_tag_from_a_newer_writer_is_skipped() {
    let bytes = unhex("011400 02 0002abcd 630100".replace(' ', "").as_str());
    assert_eq!(MetadataRecord::decode(&bytes), Ok(NoOpRecord {}.into()));
}

#[test]
fn a_record_is_not_written_where_it_would_lose_something() {
    let long = "x".repeat(STRING_BYTES_MAX + 1);
    let record: &dyn Fn(&str) -> MetadataRecord =
        &|name| TopicRecord { name: name.into(), topic_id: TOPIC }.into();
    let absent = |field, version| Err(Unwritable::NotInVersion { field, version });
    let with_dirs = RegisterBrokerRecord { log_dirs: vec![DIRECTORY], ..broker() };
    let with_elr = PartitionRecord { eligible_leader_replicas: Some(vec![]), ..partition() };
    let rows: &[(MetadataRecord, i16, Result<(), Unwritable>)] = &[
        (record("a"), 1, Err(Unwritable::NoSuchVersion { record: "TopicRecord", version: 1 })),
        (record("a"), -1, Err(Unwritable::NoSuchVersion { record: "TopicRecord", version: -1 })),
        (record(&long[1..]), 0, Ok(())),
        (record(&long), 0, Err(Unwritable::LongString(STRING_BYTES_MAX + 1))),
        (with_dirs.clone().into(), 2, absent("log_dirs", 2)),
        (with_dirs.into(), 3, Ok(())),
        (with_elr.clone().into(), 1, absent("eligible_leader_replicas", 1)),
        (with_elr.into(), 2, Ok(())),
    ];
    for (record, version, expected) in rows {
        assert_eq!(record.encode_at(*version).map(drop), *expected);
    }
}

#[test]
fn a_cluster_writes_what_its_oldest_node_reads() {
    let change = |change: BrokerRegistrationChangeRecord| MetadataRecord::from(change);
    let shutdown = BrokerRegistrationChangeRecord { in_controlled_shutdown: true, ..Default::default() };
    let cordoned = BrokerRegistrationChangeRecord { cordoned_log_dirs: Some(vec![]), ..Default::default() };
    let rows: &[(MetadataRecord, &[(&str, i16)])] = &[
        (broker().into(), &[("3.3", 1), ("3.4", 2), ("3.7-IV1", 2), ("3.7-IV2", 3), ("4.2", 3), ("4.3", 4)]),
        (partition().into(), &[("3.3", 0), ("3.7-IV2", 1), ("4.0-IV0", 1), ("4.0-IV1", 2), ("4.3", 2)]),
        (partition_change().into(), &[("3.3", 0), ("3.9", 1), ("4.3", 2)]),
        (change(BrokerRegistrationChangeRecord::default()), &[("3.3", 0), ("4.3", 0)]),
        (change(shutdown), &[("3.3", 1), ("4.3", 1)]),
        (change(cordoned), &[("4.3", 3)]),
        (NoOpRecord {}.into(), &[("3.3", 0), ("4.3", 0)]),
    ];
    for (record, versions) in rows {
        for (text, expected) in *versions {
            let metadata_version = MetadataVersion::from_text(text, false).expect(text);
            assert_eq!(record.version_for(metadata_version), *expected, "{record:?} at {text}");
            let bytes = record.encode_for(metadata_version).expect(text);
            assert_eq!(MetadataRecord::decode_versioned(&bytes), Ok((record.clone(), *expected)));
        }
    }
}

#[test]
fn secrets_do_not_show() {
    let record =
        UserScramCredentialRecord { salt: Secret(Bytes::from_static(b"pepper")), ..Default::default() };
    assert!(!format!("{record:?}").contains("pepper"));
}
