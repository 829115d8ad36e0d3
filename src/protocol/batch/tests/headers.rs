//! The header: what is refused, what is derived, and checksums.

use proptest::prelude::*;

use super::*;

#[test]
fn a_header_that_cannot_be_is_refused() {
    let good = from_hex(golden::THREE_LZ4);
    let check = |at: usize, bytes: &[u8], error: BatchError| {
        let mut bad = good.to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(BatchHeader::parse(&bad), Err(error));
        assert!(!verify_crc(&bad));
    };
    check(16, &[1], BatchError::Magic(1));
    check(16, &[0xff], BatchError::Magic(-1));
    check(8, &48i32.to_be_bytes(), BatchError::Length(48));
    check(8, &i32::MIN.to_be_bytes(), BatchError::Length(i32::MIN));
    check(22, &[5], BatchError::Codec(5));
    check(22, &[0x1f], BatchError::Codec(7));
    assert_eq!(BatchHeader::parse(&good[..60]), Err(BatchError::ShortHeader { have: 60, need: 61 }));
    assert_eq!(BatchHeader::parse(&[]), Err(BatchError::ShortHeader { have: 0, need: 61 }));
    // A batch of the oldest format is shorter than our header, and must not be taken for one that is cut off.
    assert_eq!(BatchHeader::parse(&[0; 34]), Err(BatchError::Magic(0)));
}

#[test]
fn flags_are_read_from_the_attributes() {
    let with = |attributes| BatchHeader { attributes, ..header_of(&from_hex(golden::THREE_NONE)) };
    assert_eq!(with(0x08).timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(with(0x57).timestamp_type(), TimestampType::CreateTime);
    assert!(with(0x10).is_transactional() && !with(0x6f).is_transactional());
    assert!(with(0x20).is_control() && !with(0x5f).is_control());
    assert!(with(0x40).delete_horizon().is_some() && with(0x3f).delete_horizon().is_none());
    let mut changed = with(0x54);
    changed.set_timestamp_type(TimestampType::LogAppendTime);
    assert_eq!(changed.attributes, 0x5c);
    changed.set_timestamp_type(TimestampType::CreateTime);
    assert_eq!(changed.attributes, 0x54);
}

#[test]
fn sequence_numbers_wrap_to_zero() {
    for (sequence, by, after) in
        [(0, 0, 0), (5, 3, 8), (i32::MAX, 0, i32::MAX), (i32::MAX, 1, 0), (i32::MAX - 1, 4, 2)]
    {
        assert_eq!(increment_sequence(sequence, by), after);
        assert_eq!(decrement_sequence(after, by), sequence);
    }
    let mut header = header_of(&from_hex(golden::EMPTY));
    assert_eq!(header.last_sequence(), 12);
    header.base_sequence = NO_SEQUENCE;
    assert_eq!(header.last_sequence(), NO_SEQUENCE);
}

#[test]
fn a_patched_header_gets_a_right_checksum_from_where_it_is() {
    for body in [0, 1, 7, 100, 4096, 1_000_001] {
        let body = vec![b'x'; body];
        let batch = around(&body, |header| header.record_count = 1);
        let before = header_of(&batch);
        let mut after = before;
        after.set_timestamp_type(TimestampType::LogAppendTime);
        after.max_timestamp = 1_234_567_890_123;
        after.base_offset = 99;
        after.partition_leader_epoch = 3;
        after.crc = after.crc_with(&body);
        assert_ne!(after.crc, before.crc);
        assert!(verify_crc(&[&after.to_bytes()[..], &body].concat()));
    }
}

#[test]
fn the_checksum_is_crc32c() {
    assert_eq!(crc_of(&[&[0; CRC_FROM], &b"123456789"[..]].concat()), 0xe306_9283);
    assert_eq!(crc_of_parts(b"1234", b"56789"), 0xe306_9283);
    assert_eq!(crc_of(b"short"), 0);
    let batch = from_hex(golden::COMMIT);
    assert!(!verify_crc(&batch[..batch.len() - 1]) && !verify_crc(&[&batch[..], b"x"].concat()));
}

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused_and_write_back(bytes in prop::collection::vec(any::<u8>(), 0..70), magic_2: bool) {
        let mut bytes = bytes;
        if magic_2 && bytes.len() > 22 {
            (bytes[16], bytes[22]) = (2, bytes[22] & 0xfb);
        }
        if let Ok(header) = BatchHeader::parse(&bytes) {
            prop_assert_eq!(&header.to_bytes()[..], &bytes[..HEADER_BYTES]);
            // No derived value panics, not even by overflow.
            let _ = (header.size_in_bytes(), header.body_bytes(), header.last_offset(), header.next_offset());
            let _ = (header.last_sequence(), header.compression(), header.delete_horizon());
        }
        let _ = (crc_of(&bytes), verify_crc(&bytes));
    }

    #[test]
    fn sequences_go_there_and_back(sequence in 0i32.., by in 0i32..) {
        prop_assert_eq!(decrement_sequence(increment_sequence(sequence, by), by), sequence);
    }
}
