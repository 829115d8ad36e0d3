//! Compaction, by Kafka's rules: what stays, what is removed and when, and what readers must not notice.

use std::collections::BTreeMap;

use ottla_model::config::CleanupPolicy;
use ottla_protocol::batch::Record;

use super::*;
use TransactionResult::{Abort, Commit};

/// Batches are small compared with a segment, and any dirty byte is enough for a cleaning.
pub fn compacted() -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        segment_bytes: 400,
        index_interval_bytes: 1,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: 1000,
        ..TopicConfig::default()
    }
}

pub fn keyed(codec: Compression, timestamp: i64, records: &[(&str, Option<&str>)]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    for (key, value) in records {
        builder.append(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    builder
}

pub fn map() -> OffsetMap {
    OffsetMap::new(1 << 20, 0.9, 99)
}

impl World {
    pub fn put_keys(&mut self, records: &[(&str, Option<&str>)]) -> Appended {
        let batch = self.checked(keyed(Compression::None, self.now_ms, records), Origin::Client);
        self.append(&batch).expect("a keyed batch is appended")
    }

    fn send_txn(&mut self, id: i64, sequence: i32, records: &[(&str, Option<&str>)]) {
        let builder = keyed(Compression::None, self.now_ms, records);
        let builder = builder.producer(ProducerId(id), ProducerEpoch(0), sequence).transactional();
        let batch = self.checked(builder, Origin::Client);
        self.append(&batch).expect("a transaction goes on");
    }

    fn end_txn(&mut self, id: i64, result: TransactionResult) {
        let batch = self.checked(end_of_txn(id, 0, result, 0, self.now_ms), Origin::Coordinator);
        self.append(&batch).expect("a marker");
    }

    /// Seals the active segment, so that everything so far may be cleaned.
    pub fn seal(&mut self) {
        if self.log.active.size > 0 {
            self.log.roll_at(self.log.log_end_offset(), self.now_ms).expect("a new segment");
        }
        self.flush();
        self.flush();
    }

    pub fn dirt(&self, checkpoint: Option<Offset>) -> Dirt {
        self.log.reader().dirt(&self.config, checkpoint, self.now_ms).expect("a healthy log")
    }

    /// A whole cleaning, in small steps.
    pub fn clean(&mut self, checkpoint: Option<Offset>) -> Cleaned {
        self.clean_with(checkpoint, map())
    }

    fn clean_with(&mut self, checkpoint: Option<Offset>, map: OffsetMap) -> Cleaned {
        let dirt = self.dirt(checkpoint);
        let mut cleaning =
            self.log.begin_cleaning(&dirt, map, self.now_ms).expect("a healthy log").expect("dirt");
        loop {
            match cleaning.step(100).expect("a healthy log") {
                Step::Working { .. } => {}
                Step::Swap(swap) => {
                    let retired = self.log.swap_cleaned(*swap, self.now_ms).expect("nothing has changed");
                    retired.into_iter().try_for_each(Retired::run).expect("files to remove");
                }
                Step::Done(cleaned) => return cleaned,
            }
        }
    }

    pub fn records(&self) -> Vec<Record> {
        let batches = read_batches(&self.log.reader(), Isolation::LogEnd);
        let all = batches.iter().flat_map(|(header, bytes)| {
            let all = records(bytes, DecompressLimit(1 << 20)).expect("records");
            all.map(|record| record.expect("a record")).filter(|_| !header.is_control()).collect::<Vec<_>>()
        });
        all.collect()
    }

    /// Offset, key and value of each record, with `-` for a tombstone.
    pub fn told(&self) -> Vec<String> {
        let text = |bytes: &Option<Bytes>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "-".to_owned(),
        };
        self.records().iter().map(|r| format!("{} {}={}", r.offset, text(&r.key), text(&r.value))).collect()
    }

    /// The newest value of each key, as a reader of the whole log sees it.
    pub fn state(&self) -> BTreeMap<Bytes, Bytes> {
        let mut state = BTreeMap::new();
        for record in self.records() {
            match (record.key, record.value) {
                (Some(key), Some(value)) => state.insert(key, value),
                (Some(key), None) => state.remove(&key),
                _ => None,
            };
        }
        state
    }

    fn headers(&self) -> Vec<BatchHeader> {
        read_batches(&self.log.reader(), Isolation::LogEnd).into_iter().map(|(header, _)| header).collect()
    }
}

#[test]
fn of_each_key_the_newest_record_stays_where_it_is() {
    for mut world in World::both(compacted()) {
        for n in 0..6 {
            let value = n.to_string();
            world.put_keys(&[("a", Some(&value)), ("b", Some(&value)), (&format!("own{n}"), Some(&value))]);
        }
        world.seal();
        world.put_keys(&[("a", Some("active"))]);
        let (end, size) = (world.log.log_end_offset(), world.log.size());
        let cleaned = world.clean(None);
        assert_eq!(cleaned.up_to, 18);
        let expected = ["2 own0=0", "5 own1=1", "8 own2=2", "11 own3=3", "14 own4=4"];
        let expected = [&expected[..], &["15 a=5", "16 b=5", "17 own5=5", "18 a=active"]].concat();
        assert_eq!(world.told(), expected);
        assert!(world.log.size() < size);
        assert_eq!(world.log.log_end_offset(), end);
        let files = world.files();
        assert!(!files.iter().any(|f| f.contains("cleaned") || f.contains("swap") || f.contains("deleted")));
        world.reopen_clean();
        assert_eq!(world.told(), expected, "after a clean restart");
        world.reopen(|opening| opening.recovery_point = 0);
        assert_eq!(world.told(), expected, "after a recovery that trusts nothing");
        for offset in 0..end {
            let slice = world.log.reader().read(offset, 1, Isolation::LogEnd, true).unwrap();
            let first = Bytes::from(slice.range.expect("a batch").read().unwrap());
            assert!(BatchHeader::parse(&first).unwrap().last_offset() >= offset, "{offset}");
        }
    }
}

#[test]
fn compressed_batches_keep_their_codec_and_their_place() {
    for codec in Compression::ALL {
        let mut world = World::memory(compacted());
        for n in 0..3 {
            let value = n.to_string();
            let builder =
                keyed(codec, START_MS + n, &[("a", Some(&value)), ("b", Some(&value)), ("c", None)]);
            let builder = builder.producer(ProducerId(5), ProducerEpoch(0), 3 * n as i32);
            let batch = world.checked(builder, Origin::Client);
            world.append(&batch).unwrap();
        }
        let batch = world.checked(keyed(codec, START_MS, &[("a", Some("last"))]), Origin::Client);
        world.append(&batch).unwrap();
        world.seal();
        world.clean(None);
        assert_eq!(world.told(), ["7 b=2", "8 c=-", "9 a=last"]);
        let header = world.headers()[0];
        assert_eq!((header.base_offset, header.last_offset(), header.compression()), (6, 8, codec));
        assert_eq!((header.base_sequence, header.last_sequence(), header.record_count), (6, 8, 2));
        assert_eq!((header.max_timestamp, header.partition_leader_epoch), (START_MS + 2, 0));
    }
}

/// KIP-534: the horizon is set when a tombstone is cleaned for the first time.
#[test]
fn tombstones_stay_until_their_horizon() {
    let mut world = World::memory(compacted());
    world.put_keys(&[("a", Some("1")), ("b", Some("1"))]);
    world.put_keys(&[("a", None)]);
    world.seal();
    world.put_keys(&[("later", Some("1"))]);
    let up_to = world.clean(None).up_to;
    assert_eq!(world.told(), ["1 b=1", "2 a=-", "3 later=1"]);
    assert_eq!(world.headers()[1].delete_horizon(), Some(START_MS + 1000));
    assert_eq!(world.headers()[1].max_timestamp, START_MS);
    assert_eq!(world.records()[1].timestamp, START_MS, "of the record, not the horizon");
    for (after_ms, kept) in [(999, true), (1000, false)] {
        world.now_ms = START_MS + after_ms;
        world.put_keys(&[("later", Some("2"))]);
        world.seal();
        world.clean(Some(up_to));
        assert_eq!(world.told().contains(&"2 a=-".to_owned()), kept, "after {after_ms} ms");
    }
}

#[test]
fn aborted_records_go_and_their_marker_goes_later() {
    let mut world = World::memory(TopicConfig { segment_bytes: 4000, ..compacted() });
    world.put_keys(&[("a", Some("before"))]);
    world.send_txn(1, 0, &[("a", Some("aborted"))]);
    world.send_txn(2, 0, &[("b", Some("committed"))]);
    world.end_txn(1, Abort);
    world.end_txn(2, Commit);
    // Newer batches of both producers: none of the batches above has to stay for the producers' state.
    world.send_txn(1, 1, &[("c", Some("1"))]);
    world.end_txn(1, Commit);
    world.send_txn(2, 1, &[("c", Some("2"))]);
    world.end_txn(2, Commit);
    world.seal();
    let aborted = |world: &World| world.log.reader().aborted_transactions(0, 100).unwrap();
    assert_eq!(aborted(&world), [(ProducerId(1), 1)]);
    let kept = |world: &World| world.headers().iter().map(|h| h.base_offset).collect::<Vec<_>>();
    world.clean(None);
    assert_eq!(world.told(), ["0 a=before", "2 b=committed", "7 c=2"]);
    assert_eq!(kept(&world), [0, 2, 3, 4, 5, 6, 7, 8], "all markers stay, and 1's last batch, empty");
    assert_eq!(aborted(&world), [(ProducerId(1), 1)], "while the marker is of use, the index is");
    world.now_ms += 10;
    world.put_keys(&[("d", Some("1"))]);
    world.seal();
    world.clean(None);
    let horizon = |world: &World, at: Offset| {
        world.headers().iter().find(|header| header.base_offset == at).map(|header| header.delete_horizon())
    };
    let due = Some(Some(START_MS + 10 + 1000));
    assert_eq!((horizon(&world, 3), horizon(&world, 4)), (due, Some(None)), "2's record is still there");
    assert_eq!(aborted(&world), [], "nothing is there that was aborted");
    world.now_ms += 1000;
    world.put_keys(&[("d", Some("2"))]);
    world.seal();
    world.clean(None);
    assert_eq!((horizon(&world, 3), horizon(&world, 4)), (None, Some(None)));
    let committed = read_batches(&world.log.reader(), Isolation::Committed);
    assert_eq!(committed.len(), world.headers().len());
    world.reopen(|opening| opening.recovery_point = 0);
    assert_eq!(aborted(&world), []);
}

#[test]
fn a_marker_alone_keeps_its_producers_epoch() {
    let mut world = World::memory(TopicConfig { segment_bytes: 4000, ..compacted() });
    world.send_txn(1, 0, &[("a", Some("1"))]);
    let bumped = world.checked(end_of_txn(1, 1, Abort, 0, world.now_ms), Origin::Coordinator);
    world.append(&bumped).unwrap();
    for n in 0..4 {
        world.put_keys(&[("x", Some(&n.to_string()))]);
        world.seal();
        world.now_ms += 5000;
        world.clean(None);
    }
    let marker = world.headers()[0];
    assert!(marker.is_control() && marker.record_count == 0, "{marker:?}");
    assert_eq!((marker.base_offset, marker.producer_epoch), (1, 1));
    world.reopen(|opening| opening.recovery_point = 0);
    let late = keyed(Compression::None, world.now_ms, &[("a", Some("late"))]);
    let late = late.producer(ProducerId(1), ProducerEpoch(0), 1).transactional();
    let late = world.checked(late, Origin::Client);
    assert_eq!(code(world.append(&late)), ErrorCode::InvalidProducerEpoch);
}

/// KAFKA-8335, KAFKA-14055.
#[test]
fn a_producers_last_sequence_survives_its_records() {
    let mut world = World::memory(compacted());
    let send = |world: &mut World, sequence: i32, value: &str| {
        let builder = keyed(Compression::None, world.now_ms, &[("k", Some(value))]);
        let batch =
            world.checked(builder.producer(ProducerId(1), ProducerEpoch(0), sequence), Origin::Client);
        world.append(&batch).map(|appended| (appended.base_offset, appended.duplicate)).map_err(|e| e.code)
    };
    (0..3).for_each(|n| assert_eq!(send(&mut world, n, "of 1"), Ok((n.into(), false))));
    world.put_keys(&[("k", Some("of another"))]);
    world.seal();
    world.clean(None);
    assert_eq!(world.told(), ["3 k=of another"]);
    let last = world.headers()[0];
    assert_eq!((last.base_offset, last.record_count, last.base_sequence), (2, 0, 2));
    world.reopen(|opening| opening.recovery_point = 0);
    assert_eq!(send(&mut world, 2, "again"), Ok((2, true)));
    assert_eq!(send(&mut world, 4, "too far"), Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(send(&mut world, 3, "next"), Ok((4, false)));
    // The producer has expired, so its last batch is not needed any more.
    world.now_ms += EXPIRATION_MS + 1;
    world.log.expire_producers(world.now_ms);
    world.put_keys(&[("k", Some("newest"))]);
    world.seal();
    world.clean(None);
    assert_eq!(world.headers().iter().map(|h| h.base_offset).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_map_that_is_full_leaves_the_rest_for_the_next_cleaning() {
    let mut world = World::memory(compacted());
    let put = |world: &mut World| {
        for n in 0..60 {
            world.put_keys(&[(&format!("k{n:02}"), Some("v"))]);
        }
    };
    put(&mut world);
    put(&mut world);
    world.seal();
    let small = || OffsetMap::new(24 * 20, 0.9, 1);
    let (mut checkpoint, mut rounds) = (None, 0);
    while checkpoint.is_none_or(|at| at < 120) {
        let next = world.clean_with(checkpoint, small()).up_to;
        assert!(checkpoint.is_none_or(|at| next > at), "{next} after {checkpoint:?}");
        assert_eq!(world.state().len(), 60);
        (checkpoint, rounds) = (Some(next), rounds + 1);
    }
    assert!(rounds >= 6, "{rounds} rounds of 18 keys");
    assert_eq!(world.told().len(), 60);
}

#[test]
fn segments_are_grouped_by_size() {
    let mut world = World::memory(compacted());
    for n in 0..40 {
        world.put_keys(&[(&(n % 4).to_string(), Some("v"))]);
    }
    world.seal();
    let before = world.log.segment_count();
    let mut checkpoint = Some(world.clean(None).up_to);
    for _ in 0..4 {
        world.put_keys(&[("0", Some("v"))]);
        world.seal();
        checkpoint = Some(world.clean(checkpoint).up_to);
    }
    assert!(before > 8 && world.log.segment_count() <= 3, "{before} to {}", world.log.segment_count());
    // Each segment is as large as it may be, so none is merged.
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..compacted() });
    for n in 0..20 {
        world.put_keys(&[(&n.to_string(), Some("v"))]);
    }
    world.seal();
    let before = world.log.segment_count();
    world.clean(None);
    assert_eq!(world.log.segment_count(), before, "nothing goes, nothing fits together");
}

#[test]
fn records_without_keys_go() {
    let mut world = World::memory(TopicConfig {
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        ..compacted()
    });
    let mut builder = keyed(Compression::None, START_MS, &[("a", Some("1"))]);
    builder.append(START_MS, None, Some(b"no key"), &[]);
    let batch = world.checked(builder, Origin::Client);
    world.append(&batch).unwrap();
    world.config = compacted();
    world.log.set_config(Arc::new(compacted()));
    world.seal();
    world.clean(None);
    assert_eq!(world.told(), ["0 a=1"]);
}

#[test]
fn only_what_is_stable_flushed_old_enough_and_sealed_is_cleaned() {
    let mut world = World::memory(compacted());
    for n in 0..20 {
        world.now_ms = START_MS + n * 10;
        world.put_keys(&[("k", Some("0123456789")), ("l", Some("0123456789"))]);
    }
    let bases = world.log.segments.iter().map(|segment| segment.base).collect::<Vec<_>>();
    let active = *bases.last().unwrap();
    assert!(bases.len() > 3);
    assert_eq!(world.dirt(None).end, 0, "nothing is flushed");
    world.flush();
    world.flush();
    let dirt = world.dirt(None);
    assert_eq!((dirt.first_dirty, dirt.end, dirt.checkpoint), (0, active, None));
    assert_eq!((dirt.clean_bytes, dirt.ratio()), (0, 1.0));

    let lag = |world: &mut World, ms: i64| {
        world.config.min_compaction_lag_ms = ms;
        world.dirt(None).end
    };
    assert_eq!(lag(&mut world, 1), active);
    assert_eq!(lag(&mut world, 10_000), 0);
    let some = lag(&mut world, 70);
    assert!(some > 0 && some < active && bases.contains(&some), "{some}");
    lag(&mut world, 0);

    let half = world.dirt(Some(bases[2]));
    assert_eq!((half.first_dirty, half.end), (bases[2], active));
    assert!(half.ratio() > 0.3 && half.ratio() < 0.8, "{half:?}");
    world.config.min_cleanable_dirty_ratio = 0.9;
    assert!(dirt.due(&world.config) && !half.due(&world.config));
    world.config.max_compaction_lag_ms = 20;
    let overdue = world.dirt(Some(bases[2]));
    assert!(overdue.overdue_ms > 0 && overdue.due(&world.config), "{overdue:?}");
    world.config.max_compaction_lag_ms = 1_000_000;
    assert_eq!(world.dirt(Some(bases[2])).overdue_ms, 0);

    let mut world = World::memory(compacted());
    world.put_keys(&[("k", Some("v"))]);
    world.seal();
    world.send_txn(1, 0, &[("k", Some("v"))]);
    world.seal();
    world.put_keys(&[("k", Some("v"))]);
    world.seal();
    assert_eq!(world.dirt(None).end, 1, "a transaction is open");
    world.end_txn(1, Commit);
    world.seal();
    assert_eq!(world.dirt(None).end, 4);
}

#[test]
fn a_checkpoint_that_cannot_be_is_corrected() {
    let mut world = World::memory(compacted());
    for n in 0..10 {
        world.put_keys(&[(&n.to_string(), Some("v"))]);
    }
    world.seal();
    let told = |world: &World, at| (world.dirt(Some(at)).first_dirty, world.dirt(Some(at)).checkpoint);
    assert_eq!(told(&world, 4), (4, None));
    assert_eq!(told(&world, 11), (0, Some(0)), "above the log end");
    world.log.advance_log_start(6).unwrap();
    assert_eq!(told(&world, 4), (6, Some(6)), "records were deleted");
    assert_eq!(told(&world, 8), (8, None));
    world.log.truncate_to(7, START_MS).unwrap();
    assert_eq!(told(&world, 8), (7, Some(7)), "cut below");
    for n in 0..10 {
        world.put_keys(&[(&n.to_string(), Some("v"))]);
    }
    assert_eq!(told(&world, 8), (7, Some(7)), "and grown again");
    world.seal();
    let cleaned = world.clean(Some(8));
    world.log.reader().forget_cut(cleaned.lowest_cut);
    assert_eq!(told(&world, cleaned.up_to), (17, None));
}

#[test]
fn a_deleted_log_ends_its_cleaning() {
    let mut world = World::memory(compacted());
    for _ in 0..20 {
        world.put_keys(&[("k", Some("v"))]);
    }
    world.seal();
    let mut cleaning = world.log.begin_cleaning(&world.dirt(None), map(), START_MS).unwrap().unwrap();
    let opening = world.opening();
    let other = World::memory(compacted()).log;
    std::mem::replace(&mut world.log, other).delete(uuid::Uuid::from_u128(1)).unwrap();
    assert!(matches!(cleaning.step(100), Err(LogError::Offline { .. })));
    cleaning.abandon();
    assert!(!world.disk.exists(&opening.dir));
}

#[test]
fn readers_do_not_notice() {
    let mut world = World::memory(compacted());
    for n in 0..30 {
        world.put_keys(&[(&(n % 3).to_string(), Some(&n.to_string()))]);
    }
    world.seal();
    let reader = world.log.reader();
    let slice = reader.read(0, 10_000, Isolation::HighWatermark, true).unwrap();
    let before = slice.range.as_ref().unwrap().read().unwrap();
    let dirt = world.dirt(None);
    world.clean(None);
    assert_eq!(slice.range.unwrap().read().unwrap(), before, "what was found before can still be sent");
    let ends = reader.offsets();
    assert_eq!((ends.high_watermark, ends.last_stable, ends.log_end), (30, 30, 30));
    let found = reader.read(0, 10_000, Isolation::HighWatermark, true).unwrap();
    assert!(found.range.unwrap().read().unwrap().len() < before.len());
    assert_eq!(read_all(&reader, Isolation::Committed).len(), 3);
    assert_eq!(reader.bytes_available(0, Isolation::HighWatermark), world.log.size());
    assert_eq!(reader.offset_for_timestamp(START_MS, Isolation::LogEnd).unwrap().unwrap().offset, 27);
    assert!(world.dirt(Some(dirt.end)).ratio() == 0.0);
}

#[test]
fn compacted_and_deleted() {
    let both = CleanupPolicy { delete: true, compact: true };
    let mut world = World::memory(TopicConfig { cleanup_policy: both, retention_ms: 1000, ..compacted() });
    for n in 0..20 {
        world.put_keys(&[(&(n % 15).to_string(), Some("v"))]);
    }
    world.seal();
    let up_to = world.clean(None).up_to;
    assert_eq!(world.state().len(), 15);
    world.now_ms += 2000;
    world.put_keys(&[("young", Some("v"))]);
    let retired = world.log.delete_old_segments(world.now_ms).unwrap();
    assert!(!retired.is_empty());
    retired.into_iter().try_for_each(Retired::run).unwrap();
    assert_eq!(world.state().len(), 1);
    let dirt = world.dirt(Some(up_to));
    assert_eq!((dirt.first_dirty, world.log.log_start_offset()), (20, 20));
    world.seal();
    world.put_keys(&[("young", Some("w"))]);
    world.seal();
    world.clean(Some(up_to));
    assert_eq!(world.told(), ["21 young=w"]);
}

/// If damage were written anew, its checksum would be right.
#[test]
fn damage_stops_a_cleaning_and_harms_nothing() {
    let mut world = World::memory(compacted());
    for n in 0..20 {
        world.put_keys(&[(&(n % 3).to_string(), Some(&n.to_string()))]);
    }
    world.seal();
    // The bytes that are damaged: in a value, in an offset (which no checksum covers), in a length.
    for at in [67, 70, 7, 81] {
        world.overwrite(&world.path(0, ".log"), |bytes| bytes[at] ^= 1);
        let mut cleaning = world.log.begin_cleaning(&world.dirt(None), map(), START_MS).unwrap().unwrap();
        let error = loop {
            match cleaning.step(100) {
                Ok(Step::Working { .. }) => {}
                Ok(step) => panic!("byte {at}: {step:?}"),
                Err(e) => break e,
            }
        };
        assert!(matches!(error, LogError::Corrupt { .. }), "byte {at}: {error}");
        cleaning.abandon();
        assert!(!world.log.is_offline());
        world.overwrite(&world.path(0, ".log"), |bytes| bytes[at] ^= 1);
    }
    world.put_keys(&[("next", Some("v"))]);
}
