//! One row for each rule, in the order in which Kafka checks.

use super::*;
use ottla_protocol::batch::{BatchBuilder, CRC_FROM, NO_TIMESTAMP, verify_crc};
use ottla_protocol::{LeaderEpoch, ProducerEpoch, ProducerId};

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

/// A batch of a correct client: two records with keys, one minute old.
fn good(compression: Compression) -> Bytes {
    with(BatchBuilder::new(compression))
}

fn with(mut builder: BatchBuilder) -> Bytes {
    builder.append(NOW - 60_000, Some(b"k1"), Some(&[b'v'; 300]), &[(b"h", Some(b"1")), (b"h", None)]);
    builder.append(NOW - 30_000, Some(b"k2"), Some(&[b'v'; 300]), &[]);
    builder.build(0, LeaderEpoch(-1))
}

fn records(each: &[(i64, Option<&[u8]>)]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (timestamp, key) in each {
        builder.append(*timestamp, *key, Some(b"v"), &[]);
    }
    builder.build(0, LeaderEpoch(-1))
}

/// Changes the header and computes the checksum again.
fn patched(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).unwrap();
    change(&mut header);
    let body = &batch[HEADER_BYTES..];
    header.crc = header.crc_with(body);
    [&header.to_bytes()[..], body].concat().into()
}

/// Changes one byte and nothing else.
fn flipped(batch: &Bytes, at: usize) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at] ^= 0x40;
    bytes.into()
}

fn joined(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

struct Case {
    topic: TopicConfig,
    origin: Origin,
    produce_version: i16,
}

fn client() -> Case {
    Case { topic: TopicConfig::default(), origin: Origin::Client, produce_version: 13 }
}

impl Case {
    fn on(mut self, set: impl FnOnce(&mut TopicConfig)) -> Case {
        set(&mut self.topic);
        self
    }

    fn from(mut self, origin: Origin) -> Case {
        self.origin = origin;
        self
    }

    fn check(&self, records: &Bytes) -> Result<Vec<CheckedBatch>, Rejected> {
        let partition = TopicPartition::new("t", 3);
        let rules = Rules {
            partition: &partition,
            topic: &self.topic,
            origin: self.origin,
            now_ms: NOW,
            produce_version: self.produce_version,
        };
        check(records.clone(), &rules)
    }

    fn refuses(&self, rule: &str, records: &Bytes, code: ErrorCode, says: &str) -> Rejected {
        let rejected = self.check(records).expect_err(rule);
        assert_eq!(rejected.code, code, "{rule}: {rejected:?}");
        assert!(rejected.message.contains(says), "{rule}: {rejected:?} does not say {says}");
        rejected
    }

    fn takes(&self, rule: &str, records: &Bytes) -> CheckedBatch {
        let batches = self.check(records).unwrap_or_else(|e| panic!("{rule}: {e:?}"));
        let [batch] = &batches[..] else { panic!("{rule}: {} batches", batches.len()) };
        assert!(verify_crc(&batch.to_bytes()), "{rule}: the checksum of what would be written");
        batch.clone()
    }
}

fn compacted() -> Case {
    client().on(|topic| topic.cleanup_policy.compact = true)
}

#[test]
fn good_batches_pass_untouched_in_every_codec() {
    for codec in Compression::ALL {
        let batch = good(codec);
        let checked = compacted().takes(codec.name(), &batch);
        assert_eq!(checked.to_bytes(), batch, "{}", codec.name());
        assert_eq!(checked.body().as_ptr(), batch[HEADER_BYTES..].as_ptr(), "its records are not copied");
    }
}

#[test]
fn produce_request_validate_records() {
    use ErrorCode::*;
    let batch = good(Compression::None);
    let two = joined(&[&batch, &batch]);
    client().refuses("no batch", &Bytes::new(), InvalidRecord, "no record batch");
    client().refuses("half a batch", &batch.slice(..100), InvalidRecord, "no whole");
    client().refuses("half a header", &batch.slice(..20), InvalidRecord, "no whole");
    client().refuses("two batches", &two, InvalidRecord, "more than one");
    for magic in [0, 1] {
        let old = patched(&batch, |header| header.magic = magic);
        client().refuses("an old format", &old, InvalidRecord, "magic");
    }
    let unknown = patched(&batch, |header| header.magic = 3);
    client().refuses("an unknown format", &unknown, CorruptMessage, "magic");
    let small = patched(&batch, |header| header.batch_length = 13);
    client().refuses("a length below the header's", &small, CorruptMessage, "length");
    client().takes("a tail too short for a batch", &joined(&[&batch, &batch[..70]]));

    let zstd = good(Compression::Zstd);
    let at = |produce_version| Case { produce_version, ..client() };
    at(6).refuses("zstd before Produce v7", &zstd, UnsupportedCompressionType, "zstd");
    at(7).takes("zstd since Produce v7", &zstd);
    let codec = patched(&batch, |header| header.attributes |= 5);
    client().refuses("an unknown codec", &codec, UnsupportedCompressionType, "codec 5");
}

#[test]
fn analyze_and_validate_records() {
    use ErrorCode::*;
    let batch = good(Compression::None);
    let len = batch.len() as i32;
    client().on(|t| t.max_message_bytes = len).takes("as large as allowed", &batch);
    // The larger record: attributes, time, offset, key of two, value of 300, two headers.
    let zipped = good(Compression::Gzip);
    let large = 1 + 1 + 1 + (1 + 2) + (2 + 300) + (1 + 3 + 1 + 2 + 1);
    let at_most = |bytes| client().on(|t| t.max_decompressed_message_bytes = bytes);
    at_most(large).takes("decompressed as large as allowed", &zipped);
    at_most(large - 1).takes("not compressed", &batch);
    assert_eq!(
        at_most(large - 1).check(&zipped).map(drop).map_err(|r| r.code),
        Err(ErrorCode::InvalidRecord)
    );
    client().on(|t| t.max_message_bytes = len - 1).refuses(
        "too large",
        &batch,
        MessageTooLarge,
        "max.message.bytes",
    );
    client().on(|t| t.segment_bytes = len).takes("as large as a segment", &batch);
    client().on(|t| t.segment_bytes = len - 1).refuses(
        "more than a segment",
        &batch,
        RecordListTooLarge,
        "segment.bytes",
    );
    for at in [CRC_FROM - 1, CRC_FROM + 2, 30, 40, HEADER_BYTES - 1, HEADER_BYTES, batch.len() - 1] {
        client().refuses("a wrong checksum", &flipped(&batch, at), CorruptMessage, "checksum");
    }
    let based = patched(&batch, |header| header.base_offset = 1);
    client().refuses("a base offset", &based, InvalidRecord, "base offset 1");
}

#[test]
fn log_validator_validate_batch() {
    use ErrorCode::*;
    type Change = fn(&mut BatchHeader);
    let rows: &[(&str, Change, &str)] = &[
        ("a negative offset range", |h| h.last_offset_delta = -1, "last offset"),
        ("the largest range", |h| h.last_offset_delta = i32::MAX, "last offset"),
        ("no records", |h| h.record_count = 0, "0 records"),
        ("a negative count", |h| h.record_count = -1, "-1 records"),
        ("a count that is not the range", |h| h.record_count = 3, "3 records"),
        ("a range that is not the count", |h| h.last_offset_delta = 2, "2 records"),
        ("control records", |h| h.attributes |= 0x20, "control"),
        ("a producer without sequence", |h| (h.producer_id, h.producer_epoch) = (7, 0), "sequence -1"),
        ("a producer without epoch", |h| (h.producer_id, h.base_sequence) = (7, 0), "epoch -1"),
        ("a transaction of nobody", |h| h.attributes |= 0x10, "no producer id"),
    ];
    for codec in [Compression::None, Compression::Lz4] {
        for (rule, change, says) in rows {
            client().refuses(rule, &patched(&good(codec), change), InvalidRecord, says);
        }
    }
    let producer = BatchBuilder::new(Compression::None).producer(ProducerId(0), ProducerEpoch(0), i32::MAX);
    client().takes("the first producer, its sequence about to wrap", &with(producer.transactional()));

    let control = patched(&good(Compression::None), |h| h.attributes |= 0x20);
    client().from(Origin::Coordinator).takes("control records from the broker", &control);
}

#[test]
fn records_must_be_what_the_header_says() {
    use ErrorCode::*;
    let batch = good(Compression::None);
    let rebodied = |body: &[u8]| {
        let bytes = joined(&[&batch[..HEADER_BYTES], body]);
        patched(&bytes, |header| header.batch_length = (HEADER_BYTES - 12 + body.len()) as i32)
    };
    let body = &batch[HEADER_BYTES..];
    let rows: &[(&str, Bytes)] = &[
        ("cut off", rebodied(&body[..body.len() - 1])),
        ("bytes left over", rebodied(&[body, b"\0"].concat())),
        ("a record too few", rebodied(&body[..body.len() / 2])),
        ("a record length beyond the batch", rebodied(&[&[0xff, 0x7f][..], &body[2..]].concat())),
        ("nothing at all", rebodied(b"")),
        ("compressed garbage", patched(&batch, |header| header.attributes |= Compression::Gzip.id() as i16)),
        ("an offset twice", {
            let mut builder = BatchBuilder::new(Compression::None);
            let record = ottla_protocol::batch::records(&batch, DecompressLimit(9999))
                .unwrap()
                .next()
                .unwrap()
                .unwrap();
            builder.append_at(0, &record).append_at(0, &record).append_at(2, &record);
            builder.build(0, LeaderEpoch(-1))
        }),
    ];
    for (rule, records) in rows {
        client().refuses(rule, records, InvalidRecord, "");
    }
}

#[test]
fn a_bomb_is_too_large() {
    let megabyte = vec![0; 1 << 20];
    for codec in [Compression::Gzip, Compression::Zstd] {
        let mut builder = BatchBuilder::new(codec);
        for _ in 0..257 {
            builder.append(NOW, None, Some(&megabyte), &[]);
        }
        let bomb = builder.build(0, LeaderEpoch(-1));
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        client().refuses("more than 256 MiB", &bomb, ErrorCode::MessageTooLarge, "decompresses");
        let roomy = client().on(|topic| topic.max_message_bytes = 5 << 20);
        roomy.takes("where batches may be larger, they may hold more", &bomb);
    }
}

#[test]
fn compacted_topics_need_keys() {
    let key: Option<&[u8]> = Some(b"k");
    let batch = records(&[(NOW, key), (NOW, None), (NOW, Some(b"")), (NOW, None)]);
    client().takes("no key where nothing is compacted", &batch);
    let rejected = compacted().refuses("no key", &batch, ErrorCode::InvalidRecord, "2 records");
    let says = "Compacted topic cannot accept message without key in topic partition t-3.".to_string();
    assert_eq!(rejected.record_errors, [(1, says.clone()), (3, says)]);
    compacted().from(Origin::Coordinator).refuses(
        "nor from the broker",
        &batch,
        ErrorCode::InvalidRecord,
        "",
    );

    let many = records(&[(NOW, None); 3000]);
    let rejected = compacted().refuses("very many", &many, ErrorCode::InvalidRecord, "3000 records");
    assert_eq!(rejected.record_errors.len(), 1000, "a reply stays in proportion");
}

#[test]
fn create_time_stays_in_its_range() {
    let ranged = || {
        compacted().on(|topic| {
            topic.message_timestamp_before_max_ms = HOUR;
            topic.message_timestamp_after_max_ms = 1000;
        })
    };
    let key: Option<&[u8]> = Some(b"k");
    for timestamp in [NOW, NOW - HOUR, NOW + 1000, NO_TIMESTAMP] {
        ranged().takes("in range, or none", &records(&[(timestamp, key)]));
    }
    for timestamp in [NOW - HOUR - 1, NOW + 1001, 0, i64::MAX, i64::MIN, -2] {
        let batch = records(&[(NOW, key), (timestamp, key)]);
        let rejected = ranged().refuses("out of range", &batch, ErrorCode::InvalidTimestamp, "1 records");
        assert_eq!(rejected.record_errors.len(), 1);
        assert_eq!(rejected.record_errors[0].0, 1);
        assert!(rejected.record_errors[0].1.contains(&timestamp.to_string()));
    }
    let both = records(&[(NOW, None), (0, key), (0, None)]);
    let rejected =
        ranged().refuses("a timestamp outranks a key", &both, ErrorCode::InvalidTimestamp, "3 records");
    let indexes: Vec<i32> = rejected.record_errors.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [0, 1, 2]);

    let topic = TopicConfig::default();
    assert_eq!(
        (topic.message_timestamp_before_max_ms, topic.message_timestamp_after_max_ms),
        (i64::MAX, HOUR)
    );
    client().takes("by default any age", &records(&[(0, key), (1, key)]));
    client().refuses("but no future", &records(&[(NOW + HOUR + 1, key)]), ErrorCode::InvalidTimestamp, "");

    let appended = ranged().on(|topic| topic.message_timestamp_type = TimestampType::LogAppendTime);
    appended.takes("append time asks for no range", &records(&[(0, key)]));
}

#[test]
fn the_largest_timestamp_is_the_records_own() {
    let key: Option<&[u8]> = Some(b"k");
    let batch = records(&[(NOW - 5, key), (NOW, key), (NOW - 9, key)]);
    let lying = patched(&batch, |header| header.max_timestamp = NOW + 77);
    assert_eq!(client().takes("corrected", &lying).to_bytes(), batch);

    let none = records(&[(NO_TIMESTAMP, key), (NO_TIMESTAMP, key)]);
    assert_eq!(client().takes("none", &none).header.max_timestamp, NO_TIMESTAMP);

    let marked = patched(&batch, |header| {
        header.set_timestamp_type(TimestampType::LogAppendTime);
        header.max_timestamp = NOW - 1;
    });
    assert_eq!(client().takes("as Kafka, a mark is taken off", &marked).to_bytes(), batch);
}

#[test]
fn append_time_is_the_brokers_to_give() {
    let topic = || client().on(|topic| topic.message_timestamp_type = TimestampType::LogAppendTime);
    for codec in Compression::ALL {
        let batch = good(codec);
        let checked = topic().takes("stamped", &batch);
        assert_eq!(checked.header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(checked.header.max_timestamp, NOW);
        assert_eq!(checked.header.base_timestamp, NOW - 60_000, "deltas keep their base");
        assert_eq!(checked.body(), &batch.slice(HEADER_BYTES..));
    }
    let marked = patched(&good(Compression::None), |h| h.set_timestamp_type(TimestampType::LogAppendTime));
    let rejected =
        topic().refuses("marked by the client", &marked, ErrorCode::InvalidTimestamp, "append time");
    assert_eq!(rejected.record_errors.len(), 2);
}

#[test]
fn the_topics_codec_wins() {
    use CompressionType::*;
    let read = |bytes: &Bytes| -> Vec<_> {
        let records = ottla_protocol::batch::records(bytes, DecompressLimit(1 << 20)).unwrap();
        records.map(|record| record.unwrap()).collect()
    };
    let producer = |codec| {
        let builder = BatchBuilder::new(codec).producer(ProducerId(5), ProducerEpoch(2), 40);
        with(builder.transactional())
    };
    for wanted in [Producer, Uncompressed, Gzip, Snappy, Lz4, Zstd] {
        for codec in Compression::ALL {
            let case = client().on(|topic| topic.compression_type = wanted);
            let batch = producer(codec);
            let checked = case.takes("any to any", &batch);
            assert_eq!(checked.header.compression(), wanted.codec().unwrap_or(codec));
            assert_eq!(read(&checked.to_bytes()), read(&batch), "{wanted:?} from {codec:?}");
            if wanted.codec().is_none_or(|wanted| wanted == codec) {
                assert_eq!(checked.to_bytes(), batch, "the same codec is left alone");
            }
        }
    }
    let zipped = good(Compression::Gzip);
    let case = client().on(|topic| {
        topic.compression_type = Uncompressed;
        topic.max_message_bytes = zipped.len() as i32;
    });
    case.refuses("larger than before", &zipped, ErrorCode::MessageTooLarge, "max.message.bytes");

    let control = patched(&good(Compression::None), |h| h.attributes |= 0x20);
    let case = client().from(Origin::Coordinator).on(|topic| topic.compression_type = Gzip);
    assert_eq!(case.takes("control batches stay plain", &control).to_bytes(), control);
}

#[test]
fn replicated_batches_need_only_their_checksums() {
    let follower = client().from(Origin::Replication).on(|topic| {
        topic.max_message_bytes = 1;
        topic.cleanup_policy.compact = true;
    });
    let at = |base_offset| patched(&records(&[(0, None), (i64::MAX, None)]), |h| h.base_offset = base_offset);
    let fetched = joined(&[&at(40), &at(44), &at(46)]);
    let cut = fetched.slice(..fetched.len() - 1);
    let offsets = |records: &Bytes| -> Vec<_> {
        follower.check(records).unwrap().iter().map(|batch| batch.header.base_offset).collect()
    };
    assert_eq!(offsets(&fetched), [40, 44, 46]);
    assert_eq!(offsets(&cut), [40, 44], "a fetch limit has cut the third");
    assert_eq!(offsets(&Bytes::new()), [0; 0]);
    assert_eq!(follower.check(&at(40)).unwrap()[0].to_bytes(), at(40));
    let damaged = joined(&[&at(40), &flipped(&at(44), HEADER_BYTES), &at(46)]);
    follower.refuses("a wrong checksum", &damaged, ErrorCode::CorruptMessage, "checksum");
    let strange = joined(&[&at(40), &patched(&at(44), |h| h.magic = 9)]);
    follower.refuses("no batch at all", &strange, ErrorCode::CorruptMessage, "9");
}

#[test]
fn coordinators_may_hand_over_several() {
    let coordinator = client().from(Origin::Coordinator);
    let batch = good(Compression::None);
    assert_eq!(coordinator.check(&joined(&[&batch, &batch])).unwrap().len(), 2);
    coordinator.refuses("half a batch", &batch.slice(..100), ErrorCode::CorruptMessage, "");
}
