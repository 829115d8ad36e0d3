//! A compacted log equals the model: everything that was ever in it, less what a newer record of the same key or the end of
//! its time has made superfluous. The newest record of each key is there; a tombstone goes only after `delete.retention.ms`,
//! and then nothing older comes back; nothing goes that is younger than `min.compaction.lag.ms`, not flushed, or
//! superseded by something that is not flushed. No record changes its offset.

use std::collections::{BTreeMap, BTreeSet};

use ottla_log::log::{Isolation, LogReader};
use ottla_model::image::Image;
use ottla_model::record::ResourceType;
use ottla_model::{NodeId, TopicId};
use ottla_protocol::Offset;

use super::copy::{Copied, LogCopy, read_from};
use super::ledger::{Ledger, Loss, RecordId};
use crate::verdict::{Verdict, Violation};

/// What a topic's settings say of its compaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compaction {
    min_lag_ms: i64,
    delete_retention_ms: i64,
}

impl Compaction {
    /// `None`: the topic is not compacted.
    pub fn of_topic(image: &Image, topic: TopicId) -> Option<Compaction> {
        let configs = image.configs(ResourceType::Topic, &image.topic_by_id(topic)?.name)?;
        let ms = |key: &str| configs.get(key).and_then(|value| value.parse().ok());
        configs.get("cleanup.policy").filter(|policy| policy.contains("compact"))?;
        Some(Compaction {
            min_lag_ms: ms("min.compaction.lag.ms").unwrap_or(0),
            delete_retention_ms: ms("delete.retention.ms").unwrap_or(DAY_MS),
        })
    }
}

/// All that a log ever had, and did not lose with the power.
#[derive(Debug, Default)]
pub(crate) struct History {
    records: BTreeMap<Offset, Entry>,
    /// Everything below was looked at.
    end: Offset,
    /// Up to where the log was flushed.
    flushed: Offset,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    record: RecordId,
    /// It is in the log no longer than since then: when its producer began with its batch.
    since_ms: i64,
}

impl History {
    fn add(&mut self, batch: &Copied) {
        let since_ms = batch.header.base_timestamp;
        for (offset, record) in batch.records.iter().filter(|(offset, _)| *offset >= self.end) {
            self.records.insert(*offset, Entry { record: *record, since_ms });
        }
        self.end = self.end.max(batch.header.next_offset());
    }

    /// What was behind was lost.
    pub fn cut(&mut self, end: Offset) {
        self.records.split_off(&end);
        self.end = self.end.min(end);
    }
}

impl Ledger {
    /// The log had that record there, and [`check`] has found a reason for each that it has no more.
    pub fn may_be_compacted(&self, offset: Offset, record: RecordId) -> bool {
        let known = self.history.records.get(&offset);
        self.promise.compaction.is_some() && known.is_some_and(|entry| entry.record == record)
    }
}

/// Of a few, so that records of each key come again and again.
pub(crate) fn key_of(record: RecordId) -> u8 {
    ((record.number + record.client * 3) % KEYS) as u8
}

pub(crate) fn is_tombstone(record: RecordId) -> bool {
    (record.number + record.client * 5).is_multiple_of(9)
}

/// Takes down what was appended since.
pub(crate) fn watch(
    ledger: &mut Ledger,
    node: NodeId,
    reader: &LogReader,
    recovery_point: Offset,
) -> Verdict {
    // What a crash has left of the log is looked at as a whole.
    if ledger.promise.compaction.is_none() || ledger.loss(node) != Loss::Nothing {
        return Ok(());
    }
    let offsets = reader.offsets();
    let history = &mut ledger.history;
    history.flushed = history.flushed.max(recovery_point);
    history.end = history.end.max(offsets.log_start);
    while history.end < offsets.log_end {
        let before = history.end;
        for batch in read_from(reader, history.end, READ_BYTES, Isolation::LogEnd)? {
            history.add(&batch);
        }
        if history.end == before {
            return Err(Violation::new(NAME, format!("nothing is at {before} of {offsets:?}")));
        }
    }
    Ok(())
}

/// What is there now. Without a time, enough of it has passed for everything.
pub(crate) fn check(
    ledger: &mut Ledger,
    compaction: Compaction,
    copy: &LogCopy,
    now_ms: Option<i64>,
) -> Verdict {
    let present = present(copy)?;
    let history = &mut ledger.history;
    for (offset, record) in &present {
        let known = history.records.get(offset).map(|entry| entry.record);
        if known.map_or(*offset < history.end, |known| known != *record) {
            let what = format!("{record} is at offset {offset}, where {known:?} was");
            return Err(Violation::new(NAME, what));
        }
    }
    copy.batches.iter().for_each(|batch| history.add(batch));
    let (start, end) = (copy.offsets.log_start, copy.offsets.log_end);
    // From the newest to the oldest: what of each key is newer, and the keys whose tombstone has gone.
    let mut newer: BTreeMap<u8, Offset> = BTreeMap::new();
    let mut deleted: BTreeSet<u8> = BTreeSet::new();
    for (offset, entry) in history.records.range(start..end.max(start)).rev() {
        let key = key_of(entry.record);
        let superseded_by = newer.insert(key, *offset);
        let wrong = |why: &str| {
            let record = entry.record;
            let what = format!(
                "{record}, key {key} at offset {offset} (log {start} to {end}, flushed to {}): {why}",
                history.flushed
            );
            Err(Violation::new(NAME, what))
        };
        if present.contains_key(offset) {
            if deleted.contains(&key) {
                return wrong("it is there, and the tombstone that deleted it is not");
            }
            continue;
        }
        let older_than = |ms: i64| now_ms.is_none_or(|now_ms| entry.since_ms + ms <= now_ms);
        if *offset >= history.flushed || !older_than(compaction.min_lag_ms) {
            return wrong("it is missing, and not flushed or too young for that");
        }
        if superseded_by.is_none_or(|newer| newer >= history.flushed) {
            if !is_tombstone(entry.record) {
                return wrong("it is missing, and nothing newer that is flushed has its key");
            }
            if !older_than(compaction.delete_retention_ms) {
                return wrong("it is missing, a tombstone that not everybody can have seen");
            }
            deleted.insert(key);
        }
    }
    Ok(())
}

fn present(copy: &LogCopy) -> Result<BTreeMap<Offset, RecordId>, Violation> {
    let (mut present, mut next) = (BTreeMap::new(), 0);
    for (offset, record) in copy.records() {
        if offset < next || offset >= copy.offsets.log_end {
            return Err(Violation::new(NAME, format!("{record} is at {offset} of {:?}", copy.offsets)));
        }
        next = offset + 1;
        present.insert(offset, record);
    }
    Ok(present)
}

const NAME: &str = "a compacted log equals the model";
const KEYS: u32 = 16;
const DAY_MS: i64 = 24 * 3_600_000;
const READ_BYTES: usize = 64 << 10;
