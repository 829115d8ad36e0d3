//! Malicious batches: wrong lengths, counts and deltas, cut and flipped bytes, decompression bombs.

use proptest::prelude::*;

use crate::compression::{CompressionError, compress};

use super::*;

/// Checks that both ways of reading agree on whether a batch is good, and on the error. Returns the outcome.
fn outcome(batch: &Bytes, limit: DecompressLimit) -> Result<usize, BatchError> {
    let mut seen = 0;
    let walked = walk(batch, limit, |_| seen += 1);
    let iterated = records(batch, limit).and_then(|records| records.collect::<Result<Vec<_>, _>>());
    assert_eq!(iterated.as_ref().map(Vec::len), walked.as_ref().map(|_| seen));
    iterated.map(|records| records.len())
}

fn check(what: &str, body: &[u8], count: i32, last_delta: i32, expected: Result<usize, BatchError>) {
    let set =
        |header: &mut BatchHeader| (header.record_count, header.last_offset_delta) = (count, last_delta);
    assert_eq!(outcome(&around(body, set), ROOMY), expected, "{what}");
    for codec in Compression::ALL {
        let batch = around(&compress(codec, body), |header| {
            set(header);
            header.set_compression(codec);
        });
        assert_eq!(outcome(&batch, ROOMY), expected, "{what}, compressed with {codec:?}");
    }
}

fn record(index: usize, problem: RecordProblem) -> Result<usize, BatchError> {
    Err(BatchError::Record { index, problem })
}

#[test]
fn a_batch_that_contradicts_itself_is_refused() {
    use RecordProblem::*;
    // Length 6, attributes, timestamp delta, offset delta, null key, null value, no headers.
    const A: &[u8] = &[12, 0, 0, 0, 1, 1, 0];
    const B: &[u8] = &[12, 0, 0, 2, 1, 1, 0];
    let ab = [A, B].concat();
    let delta = |delta, previous, last| OffsetDelta { delta, previous, last };

    check("two records", &ab, 2, 1, Ok(2));
    check("a gap, as compaction leaves", &ab, 2, 9, Ok(2));
    check("nothing", &[], 0, 0, Ok(0));

    check("a count of more than there is", &ab, 3, 2, Err(BatchError::RecordCount { count: 3, bytes: 14 }));
    check("a huge count", &ab, i32::MAX, 1, Err(BatchError::RecordCount { count: i32::MAX, bytes: 14 }));
    check("a negative count", &ab, -1, 1, Err(BatchError::RecordCount { count: -1, bytes: 14 }));
    check("a count of fewer", &ab, 1, 1, Err(BatchError::Leftover(7)));
    check("a count of none", &ab, 0, 1, Err(BatchError::Leftover(14)));

    check("deltas that repeat", &[A, A].concat(), 2, 1, record(1, delta(0, Some(0), 1)));
    check("deltas that go back", &[B, A].concat(), 2, 1, record(1, delta(0, Some(1), 1)));
    check("a delta past the last", &ab, 2, 0, record(1, delta(1, Some(0), 0)));
    check("a negative delta", &[12, 0, 0, 1, 1, 1, 0], 1, 0, record(0, delta(-1, None, 0)));

    check("a record past the end", &[14, 0, 0, 0, 1, 1, 0], 1, 0, record(0, Size { size: 7, remaining: 6 }));
    check("a negative record size", &[1, 0, 0, 0, 1, 1, 0], 1, 0, record(0, Size { size: -1, remaining: 6 }));
    check("a record size without end", &[0x80; 7], 1, 0, record(0, Truncated));
    check(
        "a record that is longer than its fields",
        &[14, 0, 0, 0, 1, 1, 0, 0],
        1,
        0,
        record(0, Leftover(1)),
    );
    check("a record that is shorter", &[10, 0, 0, 0, 1, 1, 0], 1, 0, record(0, Structure));
    check("an empty record", &[0, 0, 0, 0, 1, 1, 0], 1, 0, record(0, Structure));
    check("a key past the record", &[12, 0, 0, 0, 40, 1, 0], 1, 0, record(0, Structure));
    check("a value past the record", &[12, 0, 0, 0, 1, 4, 0], 1, 0, record(0, Structure));
    check(
        "a timestamp without end",
        &[26, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 1],
        1,
        0,
        record(0, Structure),
    );

    let headers = |count, remaining| HeaderCount { count, remaining };
    check("a negative header count", &[12, 0, 0, 0, 1, 1, 1], 1, 0, record(0, headers(-1, 0)));
    check("more headers than bytes", &[12, 0, 0, 0, 1, 1, 2], 1, 0, record(0, headers(1, 0)));
    check("headers of one byte", &[16, 0, 0, 0, 1, 1, 4, 0, 0], 1, 0, record(0, headers(2, 2)));
    check("a header without key", &[16, 0, 0, 0, 1, 1, 2, 1, 0], 1, 0, record(0, NullHeaderKey(-1)));
    check("a header value past the record", &[16, 0, 0, 0, 1, 1, 2, 0, 2], 1, 0, record(0, Structure));
    check("an empty header with a null value", &[16, 0, 0, 0, 1, 1, 2, 0, 1], 1, 0, Ok(1));
    check("any negative length is null", &[12, 0, 0, 0, 3, 5, 0], 1, 0, Ok(1));
}

#[test]
fn an_error_ends_the_iteration() {
    let batch = around(&[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0], |h| {
        (h.record_count, h.last_offset_delta) = (2, 1)
    });
    let mut records = records(&batch, ROOMY).expect("the header is good");
    assert!(matches!((records.next(), records.next(), records.next()), (Some(Ok(_)), Some(Err(_)), None)));
}

#[test]
fn no_part_of_a_batch_passes_for_a_batch() {
    for hex in
        [golden::THREE_NONE, golden::THREE_GZIP, golden::THREE_SNAPPY, golden::THREE_LZ4, golden::THREE_ZSTD]
    {
        let whole = from_hex(hex);
        for cut in 0..whole.len() {
            let part = whole.slice(..cut);
            assert!(outcome(&part, ROOMY).expect_err("a part").is_incomplete());
            assert!(!verify_crc(&part));
            assert_eq!(batches(&part).count(), usize::from(cut > 0));
            // The same, with a length that hides the cut.
            let Some(body) = part.get(HEADER_BYTES..) else { continue };
            let shorter = around(body, |header| {
                *header = BatchHeader { batch_length: cut as i32 - 12, ..header_of(&whole) };
            });
            let outcome = outcome(&shorter, ROOMY);
            assert!(outcome.is_err(), "{cut} of {} bytes: {outcome:?}", whole.len());
        }
    }
}

#[test]
fn a_bomb_in_a_batch_stops_at_the_limit() {
    let limit = DecompressLimit(1 << 20);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let bomb = around(&compress(codec, &vec![0; 16 << 20]), |header| {
            header.set_compression(codec);
            header.record_count = 1;
        });
        assert!(bomb.len() < limit.0);
        let too_large = CompressionError::TooLarge { limit: limit.0 };
        assert_eq!(outcome(&bomb, limit), Err(too_large.into()), "{codec:?}");
    }
}

#[test]
fn a_compressed_batch_without_bytes_has_no_records() {
    for codec in Compression::ALL {
        let empty = |count| {
            around(&[], |header| {
                header.set_compression(codec);
                header.record_count = count;
            })
        };
        assert_eq!(outcome(&empty(0), ROOMY), Ok(0));
        assert!(outcome(&empty(1), ROOMY).is_err());
    }
}

#[test]
fn batches_are_split_where_they_end() {
    let (first, second) = (from_hex(golden::COMMIT), from_hex(golden::THREE_ZSTD));
    let both: Bytes = [&first[..], &second[..]].concat().into();
    let whole: Vec<_> = batches(&both).map(|b| b.expect("whole").1).collect();
    assert_eq!(whole, [first.clone(), second.clone()]);
    assert_eq!(batches(&Bytes::new()).count(), 0);

    let cut = both.slice(..both.len() - 1);
    let last = batches(&cut).last().expect("the second").expect_err("cut");
    assert_eq!(last, BatchError::Truncated { have: second.len() - 1, need: second.len() });
    assert!(last.is_incomplete());
    let garbage: Bytes = [&first[..], &[0; 100]].concat().into();
    let last = batches(&garbage).last().expect("the garbage").expect_err("no batch");
    assert!(!last.is_incomplete(), "{last}");
    // Bytes after the first batch do not matter.
    assert_eq!(all_records(&both), all_records(&first));
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic_and_never_pass_the_checksum(
        which in 0usize..5,
        flips in prop::collection::vec((0usize..400, 1u8..), 1..6),
    ) {
        let hex = [golden::THREE_NONE, golden::THREE_GZIP, golden::THREE_SNAPPY, golden::THREE_LZ4, golden::THREE_ZSTD];
        let good = from_hex(hex[which]);
        let mut bad = good.to_vec();
        for (at, mask) in flips {
            let at = at % bad.len();
            bad[at] ^= mask;
        }
        // The checksum does not cover the base offset and the leader epoch.
        let covered = bad[8..12] != good[8..12] || bad[16..] != good[16..];
        prop_assert!(!covered || !verify_crc(&bad));
        let _ = outcome(&bad.into(), DecompressLimit(1 << 20));
    }

    #[test]
    fn records_of_noise_never_panic(body: Vec<u8>, count in -1i32..5, codec in 0u8..5) {
        let batch = around(&body, |header| {
            header.set_compression(Compression::from_id(codec).expect("a codec"));
            (header.record_count, header.last_offset_delta) = (count, 1000);
        });
        let _ = outcome(&batch, DecompressLimit(1 << 16));
    }
}
