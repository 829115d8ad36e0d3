//! What the storage engine does for a batch that comes in and for a reader, without the disk's own work.

use std::hint::black_box;
use std::sync::Arc;

use ottla_log::check;
use ottla_log::log::{Isolation, LogReader};
use ottla_model::config::TopicConfig;
use ottla_protocol::Offset;

use super::fixtures::{ALL, EPOCH, LARGE, LZ4, NOW_MS, SMALL, Shape, empty_log, partition, rules};
use crate::count::Operation;

pub fn check_large() -> Operation {
    checking(LARGE)
}

pub fn check_lz4() -> Operation {
    checking(LZ4)
}

pub fn check_small() -> Operation {
    checking(SMALL)
}

fn checking(shape: Shape) -> Operation {
    let (batch, partition, topic) = (shape.batch(), partition(), TopicConfig::default());
    Box::new(move |_| {
        let checked = check(black_box(&batch).clone(), &rules(&partition, &topic));
        assert!(black_box(&checked).is_ok());
    })
}

pub fn append_large() -> Operation {
    appending(LARGE, 1)
}

pub fn append_small() -> Operation {
    appending(SMALL, 1)
}

pub fn append_many() -> Operation {
    appending(SMALL, 16)
}

fn appending(shape: Shape, together: usize) -> Operation {
    let mut log = empty_log(&Arc::new(TopicConfig::default()));
    let batches = shape.stream(ALL * together);
    Box::new(move |at| {
        let batches = &batches[at * together..][..together];
        let appended = log.append(batches, EPOCH, NOW_MS).expect("the disk works");
        assert!(black_box(&appended).iter().all(|outcome| outcome.as_ref().is_ok_and(|a| !a.duplicate)));
    })
}

pub fn plan_tail() -> Operation {
    let reader = reader_of_a_log();
    let end = reader.offsets().log_end;
    planning(reader, move |_| end - i64::from(LARGE.records))
}

pub fn plan_middle() -> Operation {
    planning(reader_of_a_log(), |at| at as i64 * i64::from(LARGE.records))
}

fn planning(reader: Arc<LogReader>, from: impl Fn(usize) -> Offset + 'static) -> Operation {
    Box::new(move |at| {
        let slice =
            reader.read(from(at), FETCH_BYTES, Isolation::HighWatermark, true).expect("the disk works");
        assert!(black_box(&slice).range.as_ref().is_some_and(|range| range.len > FETCH_BYTES / 2));
    })
}

/// Most of its index is on disk, the entries of its end are in memory.
fn reader_of_a_log() -> Arc<LogReader> {
    let mut log = empty_log(&Arc::new(TopicConfig::default()));
    let batches = LARGE.stream(BATCHES);
    for batch in batches.chunks(1) {
        log.append(batch, EPOCH, NOW_MS).expect("the disk works");
    }
    log.advance_high_watermark(log.log_end_offset());
    log.reader()
}

const BATCHES: usize = 200;
/// One batch and a half, so that the plan has to find where whole batches end.
const FETCH_BYTES: usize = 96 << 10;
