//! The files of one partition's folder. One file of a good log is replaced by what is given, and the log is opened over
//! it, read from end to end, written to, closed and opened again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{Isolation, Log, LogReader, Opening, ReadError};
use ottla_log::{CheckedBatch, Disk, Origin, Rules, check};
use ottla_model::config::TopicConfig;
use ottla_model::{TopicId, TopicPartition};
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{BatchBuilder, Compression, batches, crc_of_parts, verify_crc};
use ottla_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

const DIR: &str = "/data/t-0";
const NOW_MS: i64 = 1_700_000_000_000;

/// A log of three segments and more, closed.
struct Good {
    disk: MemoryDisk,
    end: Offset,
    /// Base offsets.
    segments: Vec<Offset>,
}

/// How much of the log is still what was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batches {
    Whole,
    Damaged,
}

/// Any segment's batches, read under any circumstances.
pub fn segment(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let bytes = match how & 1 {
        0 => bytes.to_vec(),
        _ => crate::batches::with_right_checksums(bytes),
    };
    let disk = good().disk.fork(1);
    put(&disk, &name(segment_of(*how), "log"), &bytes);
    exercise(&disk, *how, Batches::Damaged);
}

/// `.index`, `.timeindex` and `.txnindex`: whatever they say, what is found is in the file and is what was asked for.
pub fn indexes(bytes: &[u8]) {
    let Some(([how, kind], bytes)) = bytes.split_first_chunk::<2>() else { return };
    let suffix = ["index", "timeindex", "txnindex"][usize::from(*kind) % 3];
    let disk = good().disk.fork(1);
    put(&disk, &name(segment_of(*how), suffix), bytes);
    exercise(&disk, *how, Batches::Whole);
}

/// Producer snapshots, with a checksum that fits or without.
pub fn snapshots(bytes: &[u8]) {
    let Some(([how, at], bytes)) = bytes.split_first_chunk::<2>() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 && bytes.len() >= 6 {
        let crc = crc_of_parts(&bytes[6..], &[]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    let disk = good().disk.fork(1);
    let offset = match at & 1 {
        0 => good().end,
        _ => segment_of(*how),
    };
    put(&disk, &name(offset, "snapshot"), &bytes);
    exercise(&disk, *how, Batches::Whole);
}

/// `leader-epoch-checkpoint` and `partition.metadata`.
pub fn texts(bytes: &[u8]) {
    let Some(([how, which], bytes)) = bytes.split_first_chunk::<2>() else { return };
    let disk = good().disk.fork(1);
    put(&disk, ["leader-epoch-checkpoint", "partition.metadata"][usize::from(*which) % 2], bytes);
    // By the first epoch a start tells segments that retention had removed: a false one takes some with it.
    exercise(&disk, *how, Batches::Damaged);
}

fn segment_of(how: u8) -> Offset {
    let segments = &good().segments;
    segments[usize::from(how >> 4) % segments.len()]
}

fn name(offset: Offset, suffix: &str) -> String {
    format!("{offset:020}.{suffix}")
}

fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    disk.replace(&Path::new(DIR).join(name), bytes).expect("a healthy disk");
}

/// `how` says whether the shutdown was clean, and from where recovery would begin.
fn exercise(disk: &MemoryDisk, how: u8, batches: Batches) {
    let mut opening = opening(disk);
    opening.clean_shutdown = how & 2 == 2;
    opening.recovery_point = if how & 4 == 4 { good().end } else { 0 };
    let (mut log, recovery) = match Log::open(opening.clone()) {
        Ok(opened) => opened,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let reader = log.reader();
    if batches == Batches::Whole {
        assert_eq!(reader.offsets().log_end, good().end, "side files say nothing about where a log ends");
        assert_eq!((recovery.truncated_bytes, recovery.dropped_segments.len()), (0, 0));
    }
    read(&reader, batches);
    look_up(&reader);
    // Damage may speak of any epoch, and an older one is fenced.
    let Ok(appended) = log.append(&[plain("one more")], LeaderEpoch(i32::MAX), NOW_MS) else { return };
    assert!(appended.iter().all(Result::is_ok), "a plain batch is never refused: {appended:?}");
    let end = log.log_end_offset();
    log.advance_high_watermark(end);
    read(&reader, batches);
    if log.close().is_err() {
        return;
    }
    drop(log);
    opening.clean_shutdown = true;
    if let Ok((again, _)) = Log::open(opening) {
        assert_eq!(again.log_end_offset(), end, "closed, and opened again");
        read(&again.reader(), batches);
    }
}

/// Every offset, one after another and then from its neighbours.
fn read(reader: &LogReader, batches: Batches) {
    let offsets = reader.offsets();
    assert!(
        offsets.log_start <= offsets.high_watermark && offsets.high_watermark <= offsets.log_end,
        "{offsets:?}"
    );
    assert!(offsets.last_stable <= offsets.high_watermark, "{offsets:?}");
    let mut from = offsets.log_start;
    for _ in 0..STEPS_MAX {
        let Some((bytes, next)) = slice_at(reader, from) else { break };
        if batches == Batches::Whole {
            check_batches(&bytes, from);
        }
        assert!(next > from, "a read that goes on at {next} after {from}");
        from = next;
    }
    if batches == Batches::Whole {
        assert_eq!(from, offsets.log_end, "everything can be read");
        for offset in offsets.log_start..offsets.log_end {
            let (bytes, _) = slice_at(reader, offset).expect("an offset of the log");
            check_batches(&bytes, offset);
        }
    }
}

fn slice_at(reader: &LogReader, from: Offset) -> Option<(Bytes, Offset)> {
    match reader.read(from, 300, Isolation::LogEnd, true) {
        Ok(slice) => {
            let range = slice.range?;
            let file_bytes = range.file.len().expect("a healthy disk");
            assert!(
                range.position + range.len as u64 <= file_bytes,
                "beyond the file, which has {file_bytes} bytes"
            );
            Some((range.read().expect("it is in the file").into(), slice.next_offset))
        }
        Err(ReadError::OutOfRange(offsets)) => {
            assert!(!(offsets.log_start..=offsets.log_end).contains(&from), "{from} is in {offsets:?}");
            None
        }
        Err(ReadError::Io(_)) => None,
    }
}

fn check_batches(bytes: &Bytes, from: Offset) {
    let (first, _) = batches(bytes).next().expect("a batch").expect("a whole one");
    assert!((first.base_offset..=first.last_offset()).contains(&from), "{from} is not in {first:?}");
    for batch in batches(bytes) {
        let (_, batch) = batch.expect("whole batches only");
        assert!(verify_crc(&batch));
    }
}

fn look_up(reader: &LogReader) {
    let offsets = reader.offsets();
    for timestamp in [0, NOW_MS - 1, NOW_MS, NOW_MS + 3, NOW_MS + 5, i64::MAX] {
        if let Ok(Some(found)) = reader.offset_for_timestamp(timestamp, Isolation::LogEnd) {
            assert!(found.timestamp >= timestamp, "{found:?}");
            assert!((offsets.log_start..offsets.log_end).contains(&found.offset), "{found:?}, {offsets:?}");
        }
    }
    // Of no matter here what they find.
    let _ = reader.max_timestamp(Isolation::Committed);
    let _ = reader.aborted_transactions(offsets.log_start, offsets.log_end);
    reader.epoch_end_offset(LeaderEpoch(1));
    reader.bytes_available(offsets.log_start, Isolation::HighWatermark);
}

/// Damage may say that a log has more offsets than bytes.
const STEPS_MAX: usize = 1_000;

fn opening(disk: &MemoryDisk) -> Opening {
    Opening {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from(DIR),
        partition: TopicPartition::new("t", 0),
        topic_id: Some(TopicId::from_u128(77)),
        config: Arc::new(config()),
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms: NOW_MS,
        producer_id_expiration_ms: 86_400_000,
        jitter_seed: 1,
    }
}

fn config() -> TopicConfig {
    TopicConfig { segment_bytes: 700, index_interval_bytes: 1, ..TopicConfig::default() }
}

fn checked(builder: &BatchBuilder, origin: Origin) -> CheckedBatch {
    let (partition, topic) = (TopicPartition::new("t", 0), config());
    let rules = Rules { partition: &partition, topic: &topic, origin, now_ms: NOW_MS, produce_version: 13 };
    let mut checked = check(builder.build(0, LeaderEpoch::NONE), &rules).expect("a valid batch");
    checked.pop().expect("one batch")
}

fn records(timestamp: i64, value: &str) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(timestamp, Some(b"k"), Some(value.as_bytes()), &[]);
    builder.append(timestamp, None, Some(b"second"), &[]);
    builder
}

fn plain(value: &str) -> CheckedBatch {
    checked(&records(NOW_MS, value), Origin::Client)
}

/// Plain batches, an idempotent producer, and transactions that were committed, aborted and left open.
fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let disk = MemoryDisk::new(7);
        disk.create_dir_all(Path::new("/data")).expect("a healthy disk");
        let (mut log, _) = Log::open(opening(&disk)).expect("a new log");
        let mut put = |batch: CheckedBatch, epoch| {
            let results = log.append(&[batch], LeaderEpoch(epoch), NOW_MS).expect("a healthy disk");
            assert!(results.iter().all(Result::is_ok), "batches in order: {results:?}");
            log.advance_high_watermark(log.log_end_offset());
        };
        for n in 0..8 {
            put(checked(&records(NOW_MS + n, "plain"), Origin::Client), n as i32 / 4);
            let by =
                records(NOW_MS + n, "idempotent").producer(ProducerId(1), ProducerEpoch(0), 2 * n as i32);
            put(checked(&by, Origin::Client), n as i32 / 4);
        }
        for (id, result) in
            [(2, Some(TransactionResult::Commit)), (3, Some(TransactionResult::Abort)), (4, None)]
        {
            let by = |builder: BatchBuilder, sequence| {
                builder.producer(ProducerId(id), ProducerEpoch(0), sequence).transactional()
            };
            put(checked(&by(records(NOW_MS, "transactional"), 0), Origin::Client), 2);
            if let Some(result) = result {
                let mut marker = by(BatchBuilder::new(Compression::None), -1).control();
                marker.append_control(NOW_MS, &ControlRecord::end_txn(result, 0));
                put(checked(&marker, Origin::Coordinator), 2);
            }
        }
        let end = log.log_end_offset();
        log.close().expect("a healthy disk");
        disk.write_back();
        let names = disk.list(Path::new(DIR)).expect("the folder").into_iter().map(|entry| entry.name);
        let segments = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        Good { disk, end, segments }
    })
}

fn file(name: &str) -> Vec<u8> {
    good().disk.read_to_vec(&Path::new(DIR).join(name)).unwrap_or_default()
}

/// Each segment that `how` can mean, in each circumstance.
fn each_how() -> impl Iterator<Item = (u8, Offset)> {
    let numbers = 0..good().segments.len().min(15) as u8;
    numbers.flat_map(|number| (0..8).map(move |low| (number << 4 | low, segment_of(number << 4))))
}

pub fn segments() -> Vec<Vec<u8>> {
    each_how().map(|(how, base)| [&[how][..], &file(&name(base, "log"))].concat()).collect()
}

pub fn index_files() -> Vec<Vec<u8>> {
    let kinds = [(0, "index"), (1, "timeindex"), (2, "txnindex")];
    let of = |(how, base): (u8, Offset)| {
        kinds.map(|(kind, suffix)| [&[how, kind][..], &file(&name(base, suffix))].concat())
    };
    each_how().flat_map(of).collect()
}

pub fn snapshot_files() -> Vec<Vec<u8>> {
    let at_end = file(&name(good().end, "snapshot"));
    let of = |(how, base): (u8, Offset)| {
        [[&[how, 0][..], &at_end].concat(), [&[how, 1][..], &file(&name(base, "snapshot"))].concat()]
    };
    each_how().flat_map(of).collect()
}

pub fn text_files() -> Vec<Vec<u8>> {
    let names = [(0, "leader-epoch-checkpoint"), (1, "partition.metadata")];
    let of = |(how, _): (u8, Offset)| names.map(|(which, name)| [&[how, which][..], &file(name)].concat());
    each_how().flat_map(of).collect()
}
