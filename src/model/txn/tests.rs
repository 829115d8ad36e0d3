//! The records against bytes that Apache Kafka 4.4's own classes wrote, and against bytes that are no records.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn partitions() -> Partitions {
    let of = |topic, ids: &[i32]| (Arc::from(topic), ids.iter().copied().collect::<BTreeSet<i32>>());
    Partitions::from([of("orders", &[0, 3]), of("shipped", &[258])])
}

fn metadata(layout: Layout, state: TransactionState, partitions: Partitions) -> TransactionMetadata {
    TransactionMetadata {
        layout,
        producer_id: ProducerId(0x11_2233_4455),
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch(7),
        timeout_ms: 60_000,
        state,
        partitions,
        last_update_ms: 0x18c_0ffe_e123,
        start_ms: Some(0x18c_0ffe_e000),
        client_version: TransactionVersion::ORIGINAL,
    }
}

fn record(value: TransactionMetadata) -> TransactionRecord {
    TransactionRecord { transactional_id: Arc::from("app-1"), value: Some(value) }
}

fn all_tags() -> TransactionMetadata {
    TransactionMetadata {
        previous_producer_id: ProducerId(0x11_2233_4455),
        next_producer_id: ProducerId(0x99),
        client_version: TransactionVersion::EPOCH_BUMP,
        ..metadata(Layout::Flexible, TransactionState::PrepareAbort, partitions())
    }
}

/// The value reads as `expected`, and no part of it reads at all.
fn reads(value: &Bytes, expected: TransactionMetadata) {
    let read = |value: &Bytes| TransactionRecord::from_key_value(&hex(KEY), Some(value));
    assert_eq!(read(value), Ok(Some(record(expected))), "{value:?}");
    for cut in 0..value.len() {
        let outcome = read(&value.slice(..cut));
        assert!(outcome.is_err(), "{cut} bytes of {value:?} read as {outcome:?}");
    }
    assert!(read(&Bytes::from([&value[..], &[0]].concat())).is_err(), "a byte too many");
}

#[test]
fn a_transaction_is_written_as_kafka_4_4_writes_it() {
    let never_started = |layout| TransactionMetadata {
        start_ms: None,
        ..metadata(layout, TransactionState::Empty, Partitions::new())
    };
    let rows = [
        (
            "0000 0000001122334455 0007 0000ea60 01 00000002 00066f7264657273 00000002 00000000 00000003 \
             000773686970706564 00000001 00000102 0000018c0ffee123 0000018c0ffee000",
            metadata(Layout::Classic, TransactionState::Ongoing, partitions()),
        ),
        (
            "0000 0000001122334455 0007 0000ea60 00 ffffffff 0000018c0ffee123 ffffffffffffffff",
            never_started(Layout::Classic),
        ),
        (
            "0000 0000001122334455 0007 0000ea60 04 00000000 0000018c0ffee123 0000018c0ffee000",
            metadata(Layout::Classic, TransactionState::CompleteCommit, Partitions::new()),
        ),
        (
            "0001 0000001122334455 0007 0000ea60 01 03 076f7264657273 03 00000000 00000003 00 \
             0873686970706564 02 00000102 00 0000018c0ffee123 0000018c0ffee000 00",
            metadata(Layout::Flexible, TransactionState::Ongoing, partitions()),
        ),
        (
            "0001 0000001122334455 0007 0000ea60 00 00 0000018c0ffee123 ffffffffffffffff 00",
            never_started(Layout::Flexible),
        ),
        (
            "0001 0000001122334455 0007 0000ea60 04 01 0000018c0ffee123 0000018c0ffee000 00",
            metadata(Layout::Flexible, TransactionState::CompleteCommit, Partitions::new()),
        ),
        (
            "0001 0000001122334455 0007 0000ea60 03 03 076f7264657273 03 00000000 00000003 00 \
             0873686970706564 02 00000102 00 0000018c0ffee123 0000018c0ffee000 \
             03 00 08 0000001122334455 01 08 0000000000000099 02 02 0002",
            all_tags(),
        ),
    ];
    for (value, expected) in rows {
        assert_eq!(record(expected.clone()).to_key_value(), (hex(KEY), Some(hex(value))), "{expected:?}");
        reads(&hex(value), expected);
    }
}

#[test]
fn what_later_versions_add_is_passed_over() {
    // Tag 3 is the epoch of the next producer id (KIP-939); Kafka 4.4 does not use it either.
    let value = "0001 0000001122334455 0007 0000ea60 03 03 076f7264657273 03 00000000 00000003 00 \
                 0873686970706564 02 00000102 00 0000018c0ffee123 0000018c0ffee000 \
                 04 00 08 0000001122334455 01 08 0000000000000099 02 02 0002 03 02 0005";
    reads(&hex(value), all_tags());
    for (key, value) in [(KEY, "0002 ff"), (KEY, "ffff"), ("0001 0005 6170702d31", "0000"), ("7fff", "")] {
        let outcome = TransactionRecord::from_key_value(&hex(key), Some(&hex(value)));
        assert_eq!(outcome, Ok(None), "{key}: {value}");
    }
}

#[test]
fn a_tombstone_has_a_key_alone() {
    let record = TransactionRecord { transactional_id: Arc::from("app-1"), value: None };
    assert_eq!(record.to_key_value(), (hex(KEY), None));
    assert_eq!(TransactionRecord::from_key_value(&hex(KEY), None), Ok(Some(record)));
}

#[test]
fn every_state_has_kafkas_number() {
    for (number, state) in (0..).zip(TransactionState::ALL) {
        let mut value = metadata(Layout::Classic, state, Partitions::new());
        let (_, bytes) = record(value.clone()).to_key_value();
        let bytes = bytes.unwrap();
        assert_eq!(bytes[STATE_AT], number, "{state}");
        value.partitions.clear();
        reads(&bytes, value);
    }
    // 6 and 7 are Kafka's `Dead` and `PrepareEpochFence`, which are in no log.
    for number in [6u8, 7, 8, 127, 0xff] {
        let (_, bytes) =
            record(metadata(Layout::Classic, TransactionState::Ongoing, Partitions::new())).to_key_value();
        let mut bytes = bytes.unwrap().to_vec();
        bytes[STATE_AT] = number;
        let outcome = TransactionRecord::from_key_value(&hex(KEY), Some(&bytes.into()));
        assert_eq!(outcome, Err(Unreadable::NoSuchState(number as i8)));
    }
}

#[test]
fn bytes_that_are_no_record_are_said_to_be_none() {
    for key in ["", "00", "0000", "0000 ffff", "0000 0001", "0000 0001 67 00"] {
        let outcome = TransactionRecord::from_key_value(&hex(key), None);
        assert!(matches!(outcome, Err(Unreadable::Key(_))), "{key}: {outcome:?}");
    }
    // Counts of topics and of partitions that are not there take no memory.
    let head = "0000 0000001122334455 0007 0000ea60 01";
    for rest in ["7fffffff", "00000001 0001 67 7fffffff"] {
        let value = hex(&format!("{head} {rest}"));
        assert!(TransactionRecord::from_key_value(&hex(KEY), Some(&value)).is_err(), "{rest}");
    }
}

const KEY: &str = "0000 0005 6170702d31";
/// Behind the version, the producer id, its epoch and the timeout.
const STATE_AT: usize = 16;
