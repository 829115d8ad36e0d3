//! Stories of codecs: what Kafka's clients write, what their consumers refuse, and decompression bombs.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::Compression::{Gzip, Lz4, None, Snappy, Zstd};
use super::*;

const ROOMY: DecompressLimit = DecompressLimit(64 << 20);

fn check(codec: Compression, compressed: &[u8], plain: &[u8]) {
    let outcome = decompress(codec, compressed, ROOMY);
    assert!(
        outcome.as_deref() == Ok(plain),
        "{codec:?} of {} bytes: {:?}",
        plain.len(),
        outcome.map(|b| b.len())
    );
}

fn corrupt(codec: Compression, bytes: &[u8], what: &str) {
    match decompress(codec, bytes, ROOMY) {
        Err(CompressionError::Corrupt { what: found, .. }) => {
            assert!(found.contains(what), "{found} is not {what}")
        }
        other => panic!("expected corrupt {codec:?} ({what}), got {:?} bytes", other.map(|b| b.len())),
    }
}

/// Compressible, but not extremely.
fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut word = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27).to_string() + "-kafka "
    };
    let mut text = String::new();
    while text.len() < bytes {
        text += &word();
    }
    text.into_bytes()[..bytes].to_vec()
}

fn lz4_frame(info: FrameInfo, plain: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn every_codec_gives_back_what_it_was_given() {
    for codec in Compression::ALL {
        // Sizes around a snappy chunk and an lz4 block, and of several of them.
        for size in [0, 1, 100, 32_767, 32_768, 32_769, 65_536, 65_537, 400_000] {
            let plain = sample(size);
            let compressed = compress(codec, &plain);
            check(codec, &compressed, &plain);
            assert!(
                codec == None || size < 1000 || compressed.len() < size / 2,
                "{codec:?} did not compress"
            );
        }
    }
    for (codec, level) in [(Gzip, 1), (Gzip, 9), (Gzip, -1), (Zstd, -5), (Zstd, 19), (Lz4, 12)] {
        check(codec, &compress_at(codec, Some(level), &sample(50_000)), &sample(50_000));
    }
}

#[test]
fn names_and_ids_are_kafkas() {
    let table =
        [(None, 0, "none"), (Gzip, 1, "gzip"), (Snappy, 2, "snappy"), (Lz4, 3, "lz4"), (Zstd, 4, "zstd")];
    for (codec, id, name) in table {
        assert_eq!((codec.id(), codec.name()), (id, name));
        assert_eq!((Compression::from_id(id), Compression::from_name(name)), (Some(codec), Some(codec)));
    }
    assert_eq!((Compression::from_id(5), Compression::from_name("LZ4")), (Option::None, Option::None));
}

#[test]
fn snappy_comes_framed_or_bare() {
    let plain = sample(100_000);
    let framed = compress(Snappy, &plain);
    assert_eq!(framed[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let bare = snap::raw::Encoder::new().compress_vec(&plain).expect("below 4 GiB");
    check(Snappy, &bare, &plain);
    check(Snappy, &[framed.clone(), framed.clone()].concat(), &[plain.clone(), plain.clone()].concat());

    corrupt(Snappy, &framed[..framed.len() - 1], "past the end");
    corrupt(Snappy, &framed[..18], "without its size");
    corrupt(Snappy, b"\x82SNAPPY\0\0\0\0\0\0\0\0\0", "version");
    corrupt(Snappy, b"\xff\xff\xff\x03\0\0", "more than snappy can hold");
}

#[test]
fn lz4_frames_of_other_writers_are_read() {
    let plain = sample(300_000);
    let info = || FrameInfo::new().block_mode(BlockMode::Independent);
    // Go clients write blocks of 4 MiB and a checksum of the content; librdkafka and Java 64 KiB and no checksum.
    for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        check(Lz4, &lz4_frame(info().block_size(block_size), &plain), &plain);
    }
    check(Lz4, &lz4_frame(info().content_checksum(true), &plain), &plain);
    check(Lz4, &lz4_frame(info().content_size(Some(300_000)), &plain), &plain);
    let checked = lz4_frame(info().block_checksums(true), &plain);
    check(Lz4, &checked, &plain);
    let mut incompressible = vec![0u8; 70_000];
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
        .fill_bytes(&mut incompressible);
    check(Lz4, &lz4_frame(info(), &incompressible), &incompressible);
    check(Lz4, &compress(Lz4, &incompressible), &incompressible);

    let mut broken = checked;
    broken[12] ^= 1;
    corrupt(Lz4, &broken, "wrong checksum");
}

#[test]
fn lz4_frames_that_java_consumers_refuse_are_refused() {
    let plain = sample(100_000);
    corrupt(Lz4, &lz4_frame(FrameInfo::new().block_mode(BlockMode::Linked), &plain), "depend on one another");
    corrupt(Lz4, b"", "ends early");
    corrupt(Lz4, &[0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0], "no LZ4 frame");
    let good = compress(Lz4, &plain);
    for (at, byte, what) in [
        (4, 0xa0, "unknown version"),
        (4, 0x62, "reserved"),
        (4, 0x61, "dictionary"),
        (5, 0x41, "reserved"),
        (5, 0x30, "block size"),
        (6, 0x83, "descriptor"),
        (9, 0x7f, "above the frame's maximum"),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        corrupt(Lz4, &bad, what);
    }
    corrupt(Lz4, &good[..good.len() - 4], "ends early");
}

#[test]
fn zstd_frames_of_every_header_are_read() {
    let plain = sample(300_000);
    let streamed = |window_log: u32, checksum: bool| {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).expect("memory");
        encoder
            .window_log(window_log)
            .and_then(|()| encoder.include_checksum(checksum))
            .expect("valid parameters");
        encoder.write_all(&plain).and_then(|()| encoder.finish()).expect("memory")
    };
    check(Zstd, &streamed(17, false), &plain);
    check(Zstd, &streamed(27, true), &plain);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &compress(Zstd, &plain)].concat();
    check(Zstd, &skippable, &plain);
    check(Zstd, &[streamed(17, true), compress(Zstd, b"tail")].concat(), &[&plain[..], b"tail"].concat());
    for size in [1, 255, 256, 65_791, 65_792] {
        check(Zstd, &compress(Zstd, &plain[..size]), &plain[..size]);
    }

    corrupt(Zstd, b"\x28\xb5\x2f\xfd\x00\xff", "window");
    corrupt(Zstd, b"\x28\xb5\x2f\xfd\x00\x58\x07\0\0", "reserved type");
    corrupt(Zstd, b"plain text", "no zstd frame");
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let zeros = vec![0u8; 8 << 20];
    for codec in [None, Gzip, Snappy, Lz4, Zstd] {
        let bomb = compress(codec, &zeros);
        for limit in [0, 1, 1000, 65_536, 1 << 20, zeros.len() - 1] {
            let outcome = decompress(codec, &bomb, DecompressLimit(limit));
            assert_eq!(outcome, Err(CompressionError::TooLarge { limit }), "{codec:?}");
        }
        let within = decompress(codec, &bomb, DecompressLimit(zeros.len())).expect("exactly the limit");
        assert!(within == zeros, "{codec:?}");
        assert!(within.capacity() <= zeros.len(), "{codec:?} took {} bytes", within.capacity());
    }
}

#[test]
fn a_lie_about_the_size_is_found_out() {
    // A gzip trailer with a size that is too large, and one that is too small.
    let plain = sample(100_000);
    for claim in [0u32, 1, u32::MAX] {
        let mut lie = compress(Gzip, &plain);
        let at = lie.len() - 4;
        lie[at..].copy_from_slice(&claim.to_le_bytes());
        corrupt(Gzip, &lie, "");
    }
    // A zstd frame of one raw byte that claims 1 GiB, and one whose block holds more than the frame claims.
    corrupt(Zstd, b"\x28\xb5\x2f\xfd\xa0\0\0\0\x40\x09\0\0a", "");
    corrupt(Zstd, b"\x28\xb5\x2f\xfd\x20\x01\x13\0\0ab", "");
}

proptest! {
    #[test]
    fn damage_is_an_error_or_other_bytes_but_no_panic(
        size in 0usize..3000,
        cut in 0usize..4000,
        flips in prop::collection::vec((0usize..4000, 1u8..), 0..4),
    ) {
        for codec in [Gzip, Snappy, Lz4, Zstd] {
            let mut bytes = compress(codec, &sample(size));
            for (at, mask) in &flips {
                let at = at % bytes.len();
                bytes[at] ^= mask;
            }
            bytes.truncate(cut);
            if let Ok(plain) = decompress(codec, &bytes, DecompressLimit(5000)) {
                prop_assert!(plain.len() <= 5000 && plain.capacity() <= 5000);
            }
        }
    }

    #[test]
    fn noise_does_not_panic(bytes: Vec<u8>) {
        let prefixes: [(Compression, &[u8]); 6] = [
            (Gzip, b"\x1f\x8b\x08\0\0\0\0\0\0\xff"),
            (Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"),
            (Snappy, b""),
            (Lz4, &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73]),
            (Zstd, b"\x28\xb5\x2f\xfd"),
            (Zstd, b"\x28\xb5\x2f\xfd\x00\x58"),
        ];
        for (codec, prefix) in prefixes {
            let _ = decompress(codec, &[prefix, &bytes].concat(), DecompressLimit(1 << 20));
        }
    }
}
