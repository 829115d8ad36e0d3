//! Appending as a follower: the leader has assigned offsets and epochs and checked the producers. It must never refuse
//! what the leader was allowed to write; it refuses only batches that do not follow the log's end or are damaged.

use bytes::Bytes;
use ottla_protocol::batch::batches;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::Log;
use super::append::{Group, Planned, batch_bytes};
use super::epochs::EpochStart;
use super::error::{AppendError, Refused};
use super::marker::marker;
use super::producers::{Incoming, Verdict};
use crate::CheckedBatch;
use crate::check::{Origin, Rules, check};

/// What a follower has appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// First and last offset. `None`: there was no whole batch.
    pub offsets: Option<(Offset, Offset)>,
    pub bytes: usize,
}

impl Log {
    /// Appends what the leader sent, with its offsets and epochs. A batch that is cut off at the end is left out. Batches
    /// are left out from the first one on whose epoch is above `leader_epoch` (KAFKA-18723).
    pub fn append_as_follower(
        &mut self,
        records: Bytes,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Result<Followed, Refused>, AppendError> {
        self.check_appendable()?;
        self.told(now_ms);
        let config = self.config.clone();
        let partition = self.reader.partition().clone();
        let rules = Rules {
            partition: &partition,
            topic: &config,
            origin: Origin::Replication,
            now_ms,
            produce_version: -1,
        };
        let mut batches = match check(records, &rules) {
            Ok(batches) => batches,
            Err(rejected) => return Ok(Err(Refused::new(rejected.code, rejected.message))),
        };
        let known = batches.iter().take_while(|b| b.header.partition_leader_epoch <= leader_epoch.0).count();
        batches.truncate(known);
        if let Some(base) = self.starts_inside(&batches) {
            self.truncate_fully(base, now_ms)?;
        }
        if let Err(refused) = self.check_order(&batches) {
            return Ok(Err(refused));
        }
        if !batches.is_empty() {
            self.correct_epochs()?;
        }
        let outcome = self.follow(&batches, now_ms);
        self.publish();
        outcome.map(Ok)
    }

    /// Whether [`Log::append_as_follower`] may wait for the disk longer than a write takes: for a sync, or for a file that it
    /// creates.
    pub fn follow_waits(&self, records: &Bytes, now_ms: i64) -> bool {
        let headers = batches(records).map_while(Result::ok).map(|(header, _)| header);
        // A batch that begins below the end truncates an empty log.
        let mut headers = headers.peekable();
        let truncates = headers.peek().is_some_and(|first| first.base_offset < self.log_end);
        let latest = self.last_epoch().map(|epoch| epoch.0);
        let mut fill = self.active.fill();
        let corrects = headers.peek().is_some() && self.epochs.must_be_written();
        truncates
            || corrects
            || headers.any(|header| {
                let begins_an_epoch = Some(header.partition_leader_epoch) != latest;
                begins_an_epoch || self.waits_for(&header, header.last_offset(), &mut fill, now_ms)
            })
    }

    /// If the leader's log starts in the middle of a batch, the leader sends the whole batch: an empty log starts in the
    /// middle, too.
    fn starts_inside(&self, batches: &[CheckedBatch]) -> Option<Offset> {
        let first = batches.first()?.header;
        let inside = (0..self.log_end).contains(&first.base_offset) && first.last_offset() >= self.log_end;
        (inside && self.log_end == self.log_start).then_some(first.base_offset)
    }

    fn follow(&mut self, batches: &[CheckedBatch], now_ms: i64) -> Result<Followed, AppendError> {
        let mut group = self.group(batches.len());
        for batch in batches {
            let header = batch.header;
            let epoch =
                EpochStart { epoch: LeaderEpoch(header.partition_leader_epoch), offset: header.base_offset };
            let planned = self.plan_follow(batch, epoch, now_ms, &mut group);
            if let Err(e) = planned {
                group.abandon(self);
                return Err(e);
            }
        }
        self.write(&mut group)?;
        Ok(Followed {
            offsets: batches
                .first()
                .zip(batches.last())
                .map(|(f, l)| (f.header.base_offset, l.header.last_offset())),
            bytes: batches.iter().map(CheckedBatch::size_in_bytes).sum(),
        })
    }

    fn plan_follow<'a>(
        &mut self,
        batch: &'a CheckedBatch,
        epoch: EpochStart,
        now_ms: i64,
        group: &mut Group<'a>,
    ) -> Result<(), AppendError> {
        let header = batch.header;
        if epoch.epoch.is_some() && self.epochs.latest().is_none_or(|latest| latest.epoch != epoch.epoch) {
            // An epoch is noted where the log ends: what comes before it may still find no room.
            self.write(group)?;
            self.persist_epoch(epoch)?;
        }
        let change = match header.has_producer_id() {
            false => None,
            true => {
                let marker = marker(&header, &batch_bytes(batch), 0);
                match self.producers.judge(&Incoming {
                    header,
                    marker,
                    origin: Origin::Replication,
                    guard: None,
                }) {
                    Ok(Verdict::New(change)) => Some(change),
                    // Duplicates and wrong sequences are not refused here: only a client's batches are.
                    Ok(Verdict::Duplicate(_)) | Err(_) => None,
                }
            }
        };
        self.add(Planned { header, head: header.to_bytes(), body: batch.body(), change }, now_ms, group)
    }

    /// Checks that the leader's batches follow the end of the log and each other.
    fn check_order(&self, batches: &[CheckedBatch]) -> Result<(), Refused> {
        let mut next = self.log_end;
        for CheckedBatch { header, .. } in batches {
            if header.base_offset < next || header.last_offset() < header.base_offset {
                let (base, last) = (header.base_offset, header.last_offset());
                let message =
                    format!("Unexpected batch with offsets {base} to {last}, expected {next} or later");
                return Err(Refused::new(ErrorCode::InvalidRecord, message));
            }
            next = header.next_offset();
        }
        Ok(())
    }
}
