//! A walk over pieces finds the same as a walk over the whole batch, wherever the pieces end.

use proptest::prelude::*;

use crate::batch::walk::Pieces;
use crate::compression::compress;

use super::*;

/// What a visitor saw: each record with its key.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    key: Vec<u8>,
    records: Vec<(RecordMeta, Vec<u8>)>,
}

impl Visit for &mut Seen {
    fn key(&mut self, part: &[u8]) {
        self.key.extend(part);
    }

    fn record(&mut self, record: RecordMeta) {
        self.records.push((record, std::mem::take(&mut self.key)));
    }
}

fn whole(batch: &[u8]) -> (Result<usize, BatchError>, Seen) {
    let mut seen = Seen::default();
    (walk(batch, ROOMY, &mut seen), seen)
}

fn in_pieces(batch: &[u8], piece_bytes: usize) -> (Result<usize, BatchError>, Seen) {
    let (header, mut seen) = (header_of(batch), Seen::default());
    let body = &batch[HEADER_BYTES..];
    let mut pieces = Pieces::new(&header);
    let fed = body.chunks(piece_bytes).try_for_each(|piece| pieces.feed(piece, &mut &mut seen));
    (fed.and_then(|()| pieces.finish(body.len())), seen)
}

/// Checks that both walks find the same records, or an error at the same record.
fn check(batch: &[u8]) {
    let (expected, seen) = whole(batch);
    let body_bytes = batch.len() - HEADER_BYTES;
    for piece_bytes in [1, 2, 3, 5, 7, 16, 61, body_bytes.max(1)] {
        let (outcome, also_seen) = in_pieces(batch, piece_bytes);
        match (&expected, &outcome) {
            (Ok(a), Ok(b)) => assert_eq!((a, &seen), (b, &also_seen), "in pieces of {piece_bytes}"),
            (Err(BatchError::Record { index, .. }), Err(BatchError::Record { index: at, .. })) => {
                assert_eq!(index, at, "in pieces of {piece_bytes}: {expected:?}, {outcome:?}");
            }
            (Err(_), Err(_)) => {}
            _ => panic!("{expected:?} whole, {outcome:?} in pieces of {piece_bytes}"),
        }
    }
}

fn sample() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1_000, None, None, &[]);
    builder.append(-5, Some(b""), Some(b""), &[(b"", None), (b"", Some(b""))]);
    builder.append(i64::MAX, Some(&[7; 300]), Some(&[8; 70_000]), &[(b"h", Some(&[9; 200])), (b"i", None)]);
    builder.append(2_000, Some(b"key"), None, &[]);
    builder.build(40, crate::LeaderEpoch(3))
}

#[test]
fn pieces_may_end_anywhere() {
    check(&sample());
    let (outcome, seen) = in_pieces(&sample(), 1);
    assert!(outcome.is_ok());
    assert_eq!(seen.records.iter().map(|(_, key)| key.len()).collect::<Vec<_>>(), [0, 0, 300, 3]);
}

#[test]
fn a_batch_that_is_too_much_for_one_go_is_walked_in_pieces() {
    let mut builder = BatchBuilder::new(Compression::None);
    for i in 0..40u32 {
        let value = vec![i as u8; if i % 3 == 0 { 300_000 } else { 500 }];
        builder.append(i.into(), Some(&i.to_be_bytes()), Some(&value), &[(b"n", Some(&[1; 40]))]);
    }
    let plain = builder.build(0, crate::LeaderEpoch(0));
    let (total, expected) = whole(&plain);
    for codec in Compression::ALL {
        let batch = recompress(&plain, codec, None, ROOMY).expect("good records");
        let (found, seen) = whole(&batch);
        assert_eq!((&found, &seen), (&total, &expected), "{codec:?}");
        let limit = DecompressLimit(3 << 20);
        let refused = walk(&batch, limit, |_| ());
        let too_large = crate::compression::CompressionError::TooLarge { limit: limit.0 };
        assert!(codec == Compression::None || refused == Err(too_large.into()), "{codec:?}: {refused:?}");
    }
}

#[test]
fn what_is_wrong_after_the_first_megabyte_is_found() {
    let mut body = vec![0, 0, 0, 1];
    let varint = |value: usize, into: &mut Vec<u8>| {
        let mut raw = (value as u64) << 1;
        while raw >= 0x80 {
            into.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        into.push(raw as u8);
    };
    varint(3 << 20, &mut body);
    body.resize(body.len() + (3 << 20), 0);
    body.push(0);
    let mut long = Vec::new();
    varint(body.len(), &mut long);
    long.extend(&body);
    let short = [12, 0, 0, 2, 1, 1, 0];
    let outcome = |tail: &[u8], count: i32, codec| {
        let body = [&long[..], tail].concat();
        let batch = around(&compress(codec, &body), |header| {
            header.set_compression(codec);
            (header.record_count, header.last_offset_delta) = (count, 1);
        });
        walk(&batch, ROOMY, |_| ())
    };
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let at = |index, problem| Err(BatchError::Record { index, problem });
        assert_eq!(outcome(&short, 2, codec), Ok(long.len() + 7));
        assert_eq!(outcome(&[], 2, codec), at(1, RecordProblem::Truncated));
        assert_eq!(outcome(&short, 1, codec), Err(BatchError::Leftover(7)));
        let (count, bytes) = (1 << 20, long.len() + 7);
        assert_eq!(outcome(&short, count, codec), Err(BatchError::RecordCount { count, bytes }));
        let repeats = RecordProblem::OffsetDelta { delta: 0, previous: Some(0), last: 1 };
        assert_eq!(outcome(&[12, 0, 0, 0, 1, 1, 0], 2, codec), at(1, repeats));
        let longer = outcome(&[40, 0, 0, 2, 1, 20, 0], 2, codec);
        assert_eq!(longer, at(1, RecordProblem::Size { size: 20, remaining: 6 }));
    }
}

/// A frame with a window of 128 MiB is read if its content is small, and refused otherwise.
#[test]
fn a_wide_window_does_not_cost_its_memory() {
    let framed = |zeros: usize| {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory");
        encoder.window_log(27).expect("a valid window");
        std::io::Write::write_all(&mut encoder, &vec![0; zeros]).expect("memory");
        encoder.finish().expect("memory")
    };
    let outcome = |zeros: usize| {
        let mut total = 0;
        let limit = DecompressLimit(256 << 20);
        crate::compression::decompress_in_pieces(Compression::Zstd, &framed(zeros), limit, |piece| {
            total += piece.len();
            Ok::<_, BatchError>(())
        })
        .map(|counted| (counted, total))
    };
    assert_eq!(outcome(20 << 20), Ok((20 << 20, 20 << 20)));
    assert!(outcome(40 << 20).is_err());
}

proptest! {
    #[test]
    fn damaged_records_are_found_in_pieces_too(
        flips in prop::collection::vec((0usize..71_000, 1u8..), 0..4),
        near in prop::collection::vec((0usize..40, 1u8..), 0..2),
        cut in 0usize..60,
    ) {
        let mut bad = sample().to_vec();
        for (at, mask) in flips.into_iter().chain(near) {
            let at = HEADER_BYTES + at % (bad.len() - HEADER_BYTES);
            bad[at] ^= mask;
        }
        let body = &bad[HEADER_BYTES..bad.len() - cut];
        let header = header_of(&sample());
        check(&around(body, |to| {
            (to.record_count, to.last_offset_delta) = (header.record_count, header.last_offset_delta);
        }));
    }

    #[test]
    fn noise_is_judged_alike_in_pieces(
        body in prop::collection::vec(prop::sample::select(&[0u8, 0, 1, 1, 2, 2, 4, 12, 14, 24, 128, 255][..]), 0..80),
        count in -1i32..6,
    ) {
        check(&around(&body, |header| (header.record_count, header.last_offset_delta) = (count, 3)));
    }
}
