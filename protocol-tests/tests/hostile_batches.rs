//! Record batches that are not what they say, and bombs: small when sent, enormous when unpacked.

use anyhow::{Result, ensure};
use bytes::Bytes;
use ottla_client::Connection;
use protocol_tests::batches::{Record, varint};
use protocol_tests::requests::{fetch, list_offsets, produce};
use protocol_tests::{Batch, Topic, batch, broker, broker_alone, name_of};
use std::io::Write;

async fn send(connection: &Connection, topic: &Topic, records: Bytes) -> Result<(&'static str, i64)> {
    let answer = connection.send(&produce(topic, 0, records, -1), 9).await?;
    let answer = &answer.responses[0].partition_responses[0];
    Ok((name_of(answer.error_code), answer.base_offset))
}

async fn end(connection: &Connection, topic: &Topic) -> Result<i64> {
    let answer = connection.send(&list_offsets(&topic.name, 0, -1), 7).await?;
    Ok(answer.topics[0].partitions[0].offset)
}

#[tokio::test]
async fn batches_that_are_not_what_they_say() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let good = || batch(&["a", "b", "c"]);

    let check = async |story: &str, records: Bytes, errors: &[&str]| -> Result<()> {
        let before = end(&connection, &topic).await?;
        let (error, base_offset) = send(&connection, &topic, records).await?;
        assert!(errors.contains(&error), "{story}: {error}, expected {errors:?}");
        assert_eq!(base_offset, if error == "NONE" { before } else { -1 }, "{story}");
        let grown = if error == "NONE" { before + 3 } else { before };
        assert_eq!(end(&connection, &topic).await?, grown, "{story}: what was refused is not there");
        Ok(())
    };
    let corrupt = &["CORRUPT_MESSAGE"];
    let invalid = &["INVALID_RECORD"];
    check("a good one", good().build(), &["NONE"]).await?;
    check("a wrong checksum", Batch { crc: Some(0xbad), ..good() }.build(), corrupt).await?;
    for at in 21..good().build().len() {
        let mut bytes = good().build().to_vec();
        bytes[at] ^= 0x40;
        check(&format!("byte {at} altered"), bytes.into(), corrupt).await?;
    }
    for length in [0, 1, 48, 10_000, -1, i32::MIN, i32::MAX] {
        let story = format!("a length of {length}");
        let bytes = Batch { length: Some(length), ..good() }.build();
        // Kafka's own sum overflows at the largest and answers UNKNOWN_SERVER_ERROR.
        let errors = &["CORRUPT_MESSAGE", "INVALID_RECORD", "UNKNOWN_SERVER_ERROR"];
        check(&story, bytes, if broker.is_ours() { &errors[..2] } else { errors }).await?;
    }
    for length in [1, 8, 11, 12, 16, 17, 60, 61, 70] {
        let bytes = good().build().slice(..length);
        check(&format!("cut to {length} bytes"), bytes, &["CORRUPT_MESSAGE", "INVALID_RECORD"]).await?;
    }
    let mut longer = good().build().to_vec();
    longer.extend([0; 5]);
    check("bytes behind it", longer.into(), &["CORRUPT_MESSAGE", "INVALID_RECORD", "NONE"]).await?;
    check("two batches", [good().build(), good().build()].concat().into(), invalid).await?;

    check("a count too low", Batch { record_count: Some(2), ..good() }.build(), invalid).await?;
    check("a count too high", Batch { record_count: Some(4), ..good() }.build(), invalid).await?;
    check("a negative count", Batch { record_count: Some(-1), ..good() }.build(), invalid).await?;
    check("no records", Batch::of(vec![]).build(), invalid).await?;
    let enormous = Batch { record_count: Some(i32::MAX), last_offset_delta: Some(i32::MAX - 1), ..good() };
    check("two thousand million records", enormous.build(), invalid).await?;
    check("a last offset too low", Batch { last_offset_delta: Some(1), ..good() }.build(), invalid).await?;
    check("a last offset too high", Batch { last_offset_delta: Some(3), ..good() }.build(), invalid).await?;
    for (story, deltas) in [("offsets with a gap", [0, 5, 2]), ("offsets backwards", [2, 1, 0])] {
        let record = |delta: &i32| Record { offset_delta: Some(*delta), ..Record::keyed("k", "v") };
        let plain = Batch::of(deltas.iter().map(record).collect());
        let packed = Batch { attributes: 1, body: Some(gzip(&plain.records_bytes())), ..plain.clone() };
        // Kafka stumbles over its own message for this one and answers UNKNOWN_SERVER_ERROR.
        let errors = &["INVALID_RECORD", "UNKNOWN_SERVER_ERROR"];
        check(story, packed.build(), if broker.is_ours() { &errors[..1] } else { errors }).await?;
        // It looks at the offsets of compressed records only.
        check(story, plain.build(), &["INVALID_RECORD", "NONE"]).await?;
    }
    check("a base offset that is not 0", Batch { base_offset: 77, ..good() }.build(), invalid).await?;
    check("a leader epoch is replaced", Batch { leader_epoch: 77, ..good() }.build(), &["NONE"]).await?;

    for magic in [-1, 0, 1, 3, 127] {
        let bytes = Batch { magic, ..good() }.build();
        check(
            &format!("magic {magic}"),
            bytes,
            &["CORRUPT_MESSAGE", "INVALID_RECORD", "UNSUPPORTED_FOR_MESSAGE_FORMAT"],
        )
        .await?;
    }
    check("a control batch", Batch { attributes: 0x20, ..good() }.build(), invalid).await?;
    let compressed =
        |codec, body: &[u8]| Batch { attributes: codec, body: Some(body.to_vec()), ..good() }.build();
    for codec in [1, 2, 3, 4] {
        check(
            &format!("codec {codec} of nonsense"),
            compressed(codec, b"nonsense"),
            &["CORRUPT_MESSAGE", "INVALID_RECORD", "UNKNOWN_SERVER_ERROR"],
        )
        .await?;
        check(
            &format!("codec {codec} of nothing"),
            compressed(codec, b""),
            &["CORRUPT_MESSAGE", "INVALID_RECORD", "UNKNOWN_SERVER_ERROR"],
        )
        .await?;
    }
    for codec in [5, 6, 7] {
        check(
            &format!("codec {codec}, which is none"),
            compressed(codec, &good().records_bytes()),
            &["UNSUPPORTED_COMPRESSION_TYPE", "CORRUPT_MESSAGE", "INVALID_RECORD", "UNKNOWN_SERVER_ERROR"],
        )
        .await?;
    }
    Ok(())
}

/// Records whose own lengths lie, under a right checksum.
#[tokio::test]
async fn records_that_are_not_what_they_say() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    // Attributes, timestamp delta, offset delta, key, value, header count, as varints behind the length.
    let record = |length: Option<i64>, fields: &[i64], rest: &[u8]| {
        let mut body = vec![0];
        fields.iter().for_each(|field| varint(*field, &mut body));
        body.extend(rest);
        let mut bytes = Vec::new();
        varint(length.unwrap_or(body.len() as i64), &mut bytes);
        bytes.extend(body);
        Batch {
            body: Some(bytes),
            record_count: Some(1),
            last_offset_delta: Some(0),
            max_timestamp: Some(1_000),
            ..Batch::of(vec![])
        }
    };
    let check = async |story: &str, batch: Batch, good: bool| -> Result<()> {
        for (codec, pack) in CODECS {
            let body = pack(batch.body.as_deref().unwrap_or_default());
            let packed = Batch { attributes: codec, body: Some(body), ..batch.clone() };
            let (error, _) = send(&connection, &topic, packed.build()).await?;
            // Kafka skips over parts of a compressed record and so takes some of these; no client writes them.
            let expected: &[&str] = match good {
                true => &["NONE"],
                false if broker.is_ours() || codec == 0 => &["INVALID_RECORD", "CORRUPT_MESSAGE"],
                false => &["INVALID_RECORD", "CORRUPT_MESSAGE", "NONE", "UNKNOWN_SERVER_ERROR"],
            };
            assert!(expected.contains(&error), "{story}, codec {codec}: {error}");
        }
        Ok(())
    };
    check("a good one, all empty", record(None, &[0, 0, -1, -1, 0], &[]), true).await?;
    check("a key longer than the record", record(None, &[0, 0, 1_000, -1, 0], &[]), false).await?;
    check("an enormous key", record(None, &[0, 0, i64::from(i32::MAX), -1, 0], &[]), false).await?;
    check("an enormous value", record(None, &[0, 0, -1, i64::from(i32::MAX), 0], &[]), false).await?;
    check("headers that are not there", record(None, &[0, 0, -1, -1, 5], &[]), false).await?;
    check("an enormous count of headers", record(None, &[0, 0, -1, -1, i64::from(i32::MAX)], &[]), false)
        .await?;
    check("a negative count of headers", record(None, &[0, 0, -1, -1, -1], &[]), false).await?;
    check("a header without a key", record(None, &[0, 0, -1, -1, 1, -1, -1], &[]), false).await?;
    check("a length of 0", record(Some(0), &[0, 0, -1, -1, 0], &[]), false).await?;
    check("a negative length", record(Some(-1), &[0, 0, -1, -1, 0], &[]), false).await?;
    check("an enormous length", record(Some(i64::from(i32::MAX)), &[0, 0, -1, -1, 0], &[]), false).await?;
    check("bytes behind the headers", record(None, &[0, 0, -1, -1, 0], &[1, 2, 3]), false).await?;
    check("a varint that does not end", record(None, &[0, 0, -1, -1], &[0xff; 12]), false).await
}

type Pack = fn(&[u8]) -> Vec<u8>;

const CODECS: [(i16, Pack); 5] = [(0, <[u8]>::to_vec), (1, gzip), (2, snappy), (3, lz4), (4, zstd)];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    // The framing of xerial's library, which the Java client writes: magic, versions, then sized blocks.
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in bytes.chunks(1 << 20) {
        let block = snap::raw::Encoder::new().compress_vec(block).expect("small blocks");
        framed.extend((block.len() as u32).to_be_bytes());
        framed.extend(block);
    }
    framed
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 19).expect("memory")
}

/// Every codec, as every client's library frames it, is taken and comes back byte for byte.
#[tokio::test]
async fn every_codec_is_taken_as_it_is() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let raw_snappy: Pack = |bytes| snap::raw::Encoder::new().compress_vec(bytes).expect("small");
    for (codec, pack) in CODECS.into_iter().chain([(2, raw_snappy)]) {
        let topic = broker.topic(1, &[]).await?;
        let plain = batch(&["a", &"b".repeat(5_000), ""]);
        let sent = Batch { attributes: codec, body: Some(pack(&plain.records_bytes())), ..plain };
        assert_eq!(send(&connection, &topic, sent.build()).await?, ("NONE", 0), "codec {codec}");
        let answer = connection.send(&fetch(&topic, &[(0, 0)]), 12).await?;
        let stored = answer.responses[0].partitions[0].records.clone().unwrap_or_default();
        assert_eq!(stored, Batch { leader_epoch: 0, ..sent }.build(), "codec {codec}");
    }
    Ok(())
}

/// One record of many zeros in less than a megabyte. Kafka takes it without keeping it in memory at once; whether
/// it is taken or refused, it costs no memory and nobody waits for it for long.
#[tokio::test]
async fn bombs_do_not_cost_memory() -> Result<()> {
    const MIB: usize = 1 << 20;
    let broker = broker_alone().await?;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let fast_zstd: Pack = |bytes| zstd::encode_all(bytes, 1).expect("memory");
    // As much as each codec packs into what the topic lets a batch be.
    let bombs: [(i16, Pack, usize); 4] =
        [(1, gzip, 256 * MIB), (2, snappy, 16 * MIB), (3, lz4, 192 * MIB), (4, fast_zstd, 256 * MIB)];
    for (codec, pack, unpacked_bytes) in bombs {
        let mut record = vec![0, 0, 0, 1];
        varint(unpacked_bytes as i64, &mut record);
        let mut plain = Vec::with_capacity(unpacked_bytes + 64);
        varint((record.len() + unpacked_bytes + 1) as i64, &mut plain);
        plain.extend(record);
        plain.resize(plain.len() + unpacked_bytes + 1, 0);
        let body = pack(&plain);
        drop(plain);
        assert!(body.len() < MIB, "codec {codec}: packed into {} bytes", body.len());
        let bomb = Batch {
            attributes: codec,
            body: Some(body),
            record_count: Some(1),
            last_offset_delta: Some(0),
            max_timestamp: Some(1_000),
            ..Batch::of(vec![])
        };
        let before = broker.peak_bytes()?;
        let (error, _) = send(&connection, &topic, bomb.build()).await?;
        let expected = ["NONE", "MESSAGE_TOO_LARGE", "INVALID_RECORD", "CORRUPT_MESSAGE"];
        assert!(expected.contains(&error), "codec {codec}: {error}");
        if let (Some(before), Some(now)) = (before, broker.peak_bytes()?) {
            let grown = now.saturating_sub(before) >> 20;
            ensure!(grown < 48, "codec {codec}: took {grown} MiB");
        }
        assert_eq!(send(&connection, &topic, batch(&["after"]).build()).await?.0, "NONE", "codec {codec}");
    }
    Ok(())
}
