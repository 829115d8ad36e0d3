//! The records compared with bytes written by hand from Kafka's schemas, and bytes that are not records.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::*;

fn key() -> OffsetKey {
    OffsetKey { group: Arc::from("g1"), topic: Arc::from("top"), partition: 3 }
}

fn offset() -> OffsetCommit {
    OffsetCommit {
        offset: 0x0102,
        leader_epoch: LeaderEpoch(9),
        metadata: Arc::from("note"),
        commit_timestamp_ms: 0x0a0b,
        expire_timestamp_ms: None,
        topic_id: Some(Uuid::from_u128(0x11)),
    }
}

fn member() -> MemberMetadata {
    MemberMetadata {
        member_id: Arc::from("m"),
        instance_id: Some(Arc::from("i")),
        client_id: Arc::from("c"),
        client_host: Arc::from("/h"),
        rebalance_timeout_ms: Some(0x20),
        session_timeout_ms: 0x10,
        subscription: Bytes::from_static(&[1, 2]),
        assignment: Bytes::from_static(&[3]),
    }
}

fn group() -> GroupMetadata {
    GroupMetadata {
        protocol_type: Arc::from("consumer"),
        generation: 7,
        protocol: Some(Arc::from("range")),
        leader: Some(Arc::from("m")),
        current_state_timestamp_ms: Some(0x0c),
        members: vec![member()],
    }
}

/// Bytes in the order of the schema. A part is text, or hexadecimal after a `#`.
fn laid_out(parts: &[&str]) -> Bytes {
    let mut bytes = Vec::new();
    for part in parts {
        match part.strip_prefix('#') {
            None => bytes.extend(part.bytes()),
            Some(hex) => {
                let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                bytes.extend(digits.chunks(2).map(byte));
            }
        }
    }
    Bytes::from(bytes)
}

const OFFSET_KEY: &[&str] = &["#0001", "#0002", "g1", "#0003", "top", "#00000003"];
const GROUP_KEY: &[&str] = &["#0002", "#0002", "g1"];

/// The value is parsed as `expected`, and none of its prefixes can be parsed.
fn reads(key: &[&str], value: &[&str], expected: GroupRecord) {
    let (key, value) = (laid_out(key), laid_out(value));
    assert_eq!(GroupRecord::from_key_value(&key, Some(&value)), Ok(Some(expected)), "{value:?}");
    for cut in 0..value.len() {
        let outcome = GroupRecord::from_key_value(&key, Some(&value.slice(..cut)));
        assert!(outcome.is_err(), "{cut} bytes of {value:?} read as {outcome:?}");
    }
    let longer = Bytes::from([&value[..], &[0]].concat());
    assert!(GroupRecord::from_key_value(&key, Some(&longer)).is_err(), "a byte too many");
}

fn is_written_as(record: GroupRecord, key: &[&str], value: &[&str]) {
    assert_eq!(record.to_key_value(), (laid_out(key), Some(laid_out(value))));
    reads(key, value, record);
}

fn of_offset(value: OffsetCommit) -> GroupRecord {
    GroupRecord::OffsetCommit { key: key(), value: Some(value) }
}

fn of_group(value: GroupMetadata) -> GroupRecord {
    GroupRecord::GroupMetadata { group: Arc::from("g1"), value: Some(value) }
}

#[test]
fn an_offset_is_written_as_kafka_4_4_writes_it() {
    is_written_as(
        of_offset(offset()),
        OFFSET_KEY,
        &[
            "#0004 0000000000000102 00000009 05",
            "note",
            "#0000000000000a0b",
            // One tagged field: tag 0, of 16 bytes.
            "#01 00 10 00000000000000000000000000000011",
        ],
    );
    is_written_as(
        of_offset(OffsetCommit { topic_id: None, metadata: Arc::from(""), ..offset() }),
        OFFSET_KEY,
        &["#0004 0000000000000102 00000009 01 0000000000000a0b 00"],
    );
    let with_expiry = OffsetCommit {
        expire_timestamp_ms: Some(0xff),
        leader_epoch: LeaderEpoch::NONE,
        topic_id: None,
        ..offset()
    };
    is_written_as(
        of_offset(with_expiry),
        OFFSET_KEY,
        &["#0001 0000000000000102 0004", "note", "#0000000000000a0b 00000000000000ff"],
    );
}

#[test]
fn an_offset_of_any_version_is_read() {
    let bare = OffsetCommit { leader_epoch: LeaderEpoch::NONE, topic_id: None, ..offset() };
    let rows: &[(&[&str], OffsetCommit)] = &[
        (&["#0000 0000000000000102 0004", "note", "#0000000000000a0b"], bare.clone()),
        (&["#0001 0000000000000102 0004", "note", "#0000000000000a0b ffffffffffffffff"], bare.clone()),
        (&["#0002 0000000000000102 0004", "note", "#0000000000000a0b"], bare.clone()),
        (
            &["#0003 0000000000000102 00000009 0004", "note", "#0000000000000a0b"],
            OffsetCommit { leader_epoch: LeaderEpoch(9), ..bare.clone() },
        ),
        (
            // An unknown tagged field, and a nil topic id, which means that there is none.
            &[
                "#0004 0000000000000102 ffffffff 05",
                "note",
                "#0000000000000a0b 02 00 10 00000000000000000000000000000000 05 01 ff",
            ],
            bare,
        ),
    ];
    for (value, expected) in rows {
        reads(OFFSET_KEY, value, of_offset(expected.clone()));
        // Keys from before Kafka 0.9 have another type and mean the same.
        let legacy: Vec<&str> = ["#0000"].iter().chain(&OFFSET_KEY[1..]).copied().collect();
        reads(&legacy, value, of_offset(expected.clone()));
    }
}

#[test]
fn a_group_is_written_as_kafka_4_4_writes_it() {
    is_written_as(
        of_group(group()),
        GROUP_KEY,
        &[
            "#0003 0008",
            "consumer",
            "#00000007 0005",
            "range",
            "#0001",
            "m",
            "#000000000000000c 00000001",
            "#0001",
            "m",
            "#0001",
            "i",
            "#0001",
            "c",
            "#0002",
            "/h",
            "#00000020 00000010 00000002 0102 00000001 03",
        ],
    );
    let empty = GroupMetadata {
        protocol_type: Arc::from(""),
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp_ms: None,
        members: Vec::new(),
    };
    is_written_as(of_group(empty), GROUP_KEY, &["#0003 0000 00000000 ffff ffff ffffffffffffffff 00000000"]);
}

#[test]
fn a_group_of_any_version_is_read() {
    let old = MemberMetadata { instance_id: None, ..member() };
    let of = |timestamp, member| {
        of_group(GroupMetadata { current_state_timestamp_ms: timestamp, members: vec![member], ..group() })
    };
    let head = ["#0008", "consumer", "#00000007 0005", "range", "#0001", "m"];
    let data = "#00000002 0102 00000001 03";
    let member_head = ["#0001", "m", "#0001", "c", "#0002", "/h"];
    let classic = |version: &'static str, middle: &'static str, timeouts: &'static str| {
        let parts = [version].into_iter().chain(head).chain([middle]).chain(member_head);
        parts.chain([timeouts, data]).collect::<Vec<_>>()
    };
    reads(
        GROUP_KEY,
        &classic("#0000", "#00000001", "#00000010"),
        of(None, MemberMetadata { rebalance_timeout_ms: None, ..old.clone() }),
    );
    reads(GROUP_KEY, &classic("#0001", "#00000001", "#00000020 00000010"), of(None, old.clone()));
    reads(
        GROUP_KEY,
        &classic("#0002", "#000000000000000c 00000001", "#ffffffff 00000010"),
        of(Some(0x0c), MemberMetadata { rebalance_timeout_ms: None, ..old }),
    );
    reads(
        GROUP_KEY,
        &[
            "#0004 09",
            "consumer",
            "#00000007 06",
            "range",
            "#02",
            "m",
            "#000000000000000c 02",
            "#02",
            "m",
            "#02",
            "i",
            "#02",
            "c",
            "#03",
            "/h",
            "#00000020 00000010 03 0102 02 03 00",
            "#01 07 01 ff",
        ],
        of_group(group()),
    );
}

#[test]
fn a_tombstone_has_a_key_alone() {
    let rows = [
        (GroupRecord::OffsetCommit { key: key(), value: None }, OFFSET_KEY),
        (GroupRecord::GroupMetadata { group: Arc::from("g1"), value: None }, GROUP_KEY),
    ];
    for (record, key) in rows {
        assert_eq!(record.to_key_value(), (laid_out(key), None));
        assert_eq!(&**record.group(), "g1");
        assert_eq!(GroupRecord::from_key_value(&laid_out(key), None), Ok(Some(record)));
    }
}

#[test]
fn a_record_of_another_type_is_passed_over() {
    // Types of KIP-848, KIP-932 and KIP-1071, and an unknown one: their values are not parsed.
    for key in ["#0003 0001 67", "#0008", "#0010", "#0015 ffff", "#7fff"] {
        for value in [None, Some(laid_out(&["#ffff"]))] {
            assert_eq!(GroupRecord::from_key_value(&laid_out(&[key]), value.as_ref()), Ok(None), "{key}");
        }
    }
}

#[test]
fn bytes_that_are_no_record_are_said_to_be_none() {
    for key in
        ["#", "#00", "#0001 0001", "#0002", "#0002 ffff", "#0002 0001 67 00", "#0001 0001 67 0001 74 0000"]
    {
        let outcome = GroupRecord::from_key_value(&laid_out(&[key]), None);
        assert!(matches!(outcome, Err(Unreadable::Key(_))), "{key}: {outcome:?}");
    }
    let rows = [
        (OFFSET_KEY, "#0005", "OffsetCommitValue has no version 5"),
        (GROUP_KEY, "#0005", "GroupMetadataValue has no version 5"),
        (GROUP_KEY, "#ffff", "GroupMetadataValue has no version -1"),
    ];
    for (key, value, expected) in rows {
        let outcome = GroupRecord::from_key_value(&laid_out(key), Some(&laid_out(&[value])));
        assert_eq!(outcome.unwrap_err().to_string(), expected);
    }
    // A large count of members without the members allocates no memory.
    let many = laid_out(&["#0003 0000 00000000 ffff ffff 0000000000000000 7fffffff"]);
    assert!(GroupRecord::from_key_value(&laid_out(GROUP_KEY), Some(&many)).is_err());
}
