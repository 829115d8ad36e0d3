//! Appending: offsets, headers, producer rules, rolling, and one vectored write for all batches of a call that fit into a
//! segment. Bodies are written from where they are, without a copy. It must never ask who may append, or for whom.

use std::io::{self, IoSlice};

use bytes::Bytes;
use ottla_protocol::batch::{BatchHeader, HEADER_BYTES, TimestampType};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::Log;
use super::active::Fill;
use super::epochs::EpochStart;
use super::error::{AppendError, LogError, Refused};
use super::marker::marker;
use super::producers::{Change, Incoming, Undo, Verdict};
use super::txn_index::AbortedTxn;
use crate::CheckedBatch;
use crate::disk::is_full;

/// One appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// -1 unless the topic's timestamps are append times. For a duplicate: the timestamp of the first append, as in
    /// Kafka.
    pub log_append_time_ms: i64,
    /// The producer had sent this batch before: the offsets are those of the first append, and nothing was written.
    pub duplicate: bool,
}

/// Batches that will be written together.
pub(super) struct Group<'a> {
    planned: Vec<Planned<'a>>,
    fill: Fill,
    next: Offset,
    /// The state of each producer before the batches of this group. If the write fails, the producers go back to it.
    undo: Vec<Undo>,
}

pub(super) struct Planned<'a> {
    pub header: BatchHeader,
    pub head: [u8; HEADER_BYTES],
    pub body: &'a Bytes,
    pub change: Option<Change>,
}

impl Log {
    /// Appends as leader, which gives the batches their offsets. A refused batch does not affect the others. An error
    /// means that no batch was appended; if some were appended before the error, because a segment became full in
    /// between, the rest are refused instead.
    pub fn append(
        &mut self,
        batches: &[CheckedBatch],
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Vec<Result<Appended, Refused>>, AppendError> {
        self.check_appendable()?;
        self.told(now_ms);
        if let Err(refused) = self.enter_epoch(leader_epoch)? {
            return Ok(batches.iter().map(|_| Err(refused.clone())).collect());
        }
        let start = self.log_end;
        let mut results = Vec::with_capacity(batches.len());
        let mut group = self.group(batches.len());
        let mut outcome = Ok(());
        for batch in batches {
            let planned = match outcome {
                Ok(()) => self.plan(batch, leader_epoch, now_ms, &mut group),
                Err(_) => Ok(Err(refused_by_storage())),
            };
            results.push(planned.unwrap_or_else(|e| {
                outcome = Err(e);
                Err(refused_by_storage())
            }));
        }
        let outcome = match outcome {
            Ok(()) => self.write(&mut group),
            Err(e) => {
                group.abandon(self);
                Err(e)
            }
        };
        self.publish();
        match outcome {
            Ok(()) => Ok(results),
            Err(e) if self.log_end == start => Err(e),
            Err(e) => {
                tracing::warn!(log = %self.dir.display(), "part of an append failed: {e}");
                let written = |appended: &Appended| appended.base_offset < self.log_end;
                let settle = |result: Result<Appended, Refused>| match result {
                    Ok(appended) if !written(&appended) => Err(refused_by_storage()),
                    result => result,
                };
                Ok(results.into_iter().map(settle).collect())
            }
        }
    }

    /// Whether this append may wait for the disk longer than a write takes: because it creates files, or syncs a leader
    /// epoch.
    pub fn append_waits<'a>(
        &self,
        batches: impl Iterator<Item = &'a CheckedBatch>,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> bool {
        if self.last_epoch() != Some(leader_epoch) || self.epochs.must_be_written() {
            return true;
        }
        let (mut fill, mut next) = (self.active.fill(), self.log_end);
        batches.into_iter().any(|batch| {
            let last = next + i64::from(batch.header.last_offset_delta);
            next = last + 1;
            self.waits_for(&batch.header, last, &mut fill, now_ms)
        })
    }

    /// Whether that batch, after what `fill` counts, needs a new file. It is counted from then on.
    pub(super) fn waits_for(&self, header: &BatchHeader, last: Offset, fill: &mut Fill, now_ms: i64) -> bool {
        let rolls = fill.must_roll(header, now_ms, &self.config) || !self.active.segment.can_index(last);
        fill.take(header);
        // A marker that aborts may create the segment's transaction index.
        rolls || header.is_control()
    }

    pub(super) fn group<'a>(&self, batches: usize) -> Group<'a> {
        let planned = Vec::with_capacity(batches);
        Group { planned, fill: self.active.fill(), next: self.log_end, undo: Vec::new() }
    }

    /// Decides about one batch. If the write of the group fails later, this decision is undone with it.
    fn plan<'a>(
        &mut self,
        batch: &'a CheckedBatch,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
        group: &mut Group<'a>,
    ) -> Result<Result<Appended, Refused>, AppendError> {
        let mut header = batch.header;
        let append_time = self.config.message_timestamp_type == TimestampType::LogAppendTime;
        if append_time && header.timestamp_type() != TimestampType::LogAppendTime {
            // The topic's config has changed since `check` stamped the batch.
            header.set_timestamp_type(TimestampType::LogAppendTime);
            header.max_timestamp = now_ms;
            header.crc = header.crc_with(batch.body());
        }
        header.base_offset = group.next;
        header.partition_leader_epoch = leader_epoch.0;
        if let Err(refused) = self.check_fits(&header) {
            return Ok(Err(refused));
        }
        let change = match self.judge(batch, header) {
            Err(refused) => return Ok(Err(refused)),
            Ok(Some(Verdict::Duplicate(seen))) => {
                return Ok(Ok(Appended {
                    base_offset: seen.first_offset(),
                    last_offset: seen.last_offset,
                    log_append_time_ms: seen.timestamp,
                    duplicate: true,
                }));
            }
            Ok(Some(Verdict::New(change))) => Some(change),
            Ok(None) => None,
        };
        self.add(Planned { header, head: header.to_bytes(), body: batch.body(), change }, now_ms, group)?;
        Ok(Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time_ms: if append_time { header.max_timestamp } else { -1 },
            duplicate: false,
        }))
    }

    fn check_fits(&self, header: &BatchHeader) -> Result<(), Refused> {
        let (size, most) = (header.size_in_bytes(), self.config.segment_bytes);
        if size as u64 > u64::try_from(most).unwrap_or(0) {
            let message = format!("A batch of {size} bytes is larger than segment.bytes, {most}");
            return Err(Refused::new(ErrorCode::RecordListTooLarge, message));
        }
        Ok(())
    }

    fn judge(&self, batch: &CheckedBatch, header: BatchHeader) -> Result<Option<Verdict>, Refused> {
        if !header.has_producer_id() {
            return Ok(None);
        }
        let marker = match header.is_control() {
            true => marker(&header, &batch_bytes(batch), batch.transaction_version),
            false => None,
        };
        self.producers.judge(&Incoming { header, marker, origin: batch.origin, guard: batch.guard }).map(Some)
    }

    /// Puts a batch into the group. If the batch has to go into a new segment, the group so far is written first.
    pub(super) fn add<'a>(
        &mut self,
        planned: Planned<'a>,
        now_ms: i64,
        group: &mut Group<'a>,
    ) -> Result<(), AppendError> {
        let header = planned.header;
        let rolls = |log: &Log, fill: &Fill| {
            fill.must_roll(&header, now_ms, &log.config)
                || !log.active.segment.can_index(header.last_offset())
        };
        if rolls(self, &group.fill) {
            self.write(group)?;
            if rolls(self, &group.fill) {
                self.roll(&header, now_ms)?;
                group.fill = self.active.fill();
            }
        }
        // A marker that aborts is written with its transaction index entry, and both or neither count.
        let alone = planned.change.and_then(|change| change.ended).is_some_and(|ended| ended.aborted);
        if alone {
            self.write(group)?;
        }
        if let Some(change) = &planned.change {
            group.undo.push(self.producers.apply(change));
        }
        group.next = header.next_offset();
        group.fill.take(&header);
        group.planned.push(planned);
        if alone { self.write(group) } else { Ok(()) }
    }

    /// Writes the group and makes it part of the log. After an error the log is as it was before the group.
    pub(super) fn write(&mut self, group: &mut Group<'_>) -> Result<(), AppendError> {
        if group.planned.is_empty() {
            return Ok(());
        }
        if let Err(e) = self.write_bytes(&group.planned) {
            group.abandon(self);
            return Err(self.write_failed(e));
        }
        for planned in group.planned.drain(..) {
            let header = &planned.header;
            self.unflushed.bytes += header.size_in_bytes() as u64;
            let position = self.active.end(header.base_offset);
            self.remember_boundary(position);
            if let Some(change) = &planned.change {
                self.producers.settle(change, position);
            }
            self.active.took(header, self.config.index_interval_bytes);
            self.log_end = header.next_offset();
        }
        self.producers.end = self.log_end;
        group.undo.clear();
        group.fill = self.active.fill();
        if let Err(e) = self.active.write_groups() {
            // The batches are appended. With the log offline, later appends are refused.
            tracing::error!(log = %self.dir.display(), "writing an index: {e}");
            self.go_offline();
        }
        Ok(())
    }

    fn write_bytes(&self, planned: &[Planned<'_>]) -> io::Result<()> {
        let slices =
            planned.iter().flat_map(|p| [IoSlice::new(&p.head), IoSlice::new(p.body)]).collect::<Vec<_>>();
        let segment = &self.active.segment;
        segment.log.write_vectored_at(&slices, self.active.size)?;
        let aborted =
            planned.iter().filter_map(|p| p.change.and_then(|change| change.ended)).find(|e| e.aborted);
        if let Some(ended) = aborted {
            let last_stable = self.producers.last_stable_with(&ended);
            let (producer_id, first_offset) = (ended.producer_id, ended.first_offset);
            let last_offset = ended.marker_offset;
            segment.txn_index.append(AbortedTxn { producer_id, first_offset, last_offset, last_stable })?;
        }
        Ok(())
    }

    /// The log stays usable only after a full disk, and only if the partly written batches could be cut off
    /// (KAFKA-10778).
    fn write_failed(&mut self, e: io::Error) -> AppendError {
        if is_full(&e) && self.active.segment.log.truncate(self.active.size).is_ok() {
            self.unflushed.cut();
            return AppendError::DiskFull { dir: self.dir.clone(), waits_for_flush: false };
        }
        self.go_offline();
        LogError::Io { doing: "appending", source: e }.into()
    }

    pub(super) fn check_appendable(&self) -> Result<(), AppendError> {
        self.check_online()?;
        match self.unflushed.cut_pending() {
            true => Err(AppendError::DiskFull { dir: self.dir.clone(), waits_for_flush: true }),
            false => Ok(()),
        }
    }

    fn enter_epoch(&mut self, epoch: LeaderEpoch) -> Result<Result<(), Refused>, AppendError> {
        let latest = self.epochs.latest().map(|latest| latest.epoch);
        if latest.is_some_and(|latest| epoch.is_some() && epoch < latest) {
            let message = format!("Leader epoch {epoch} is below {}", latest.unwrap_or(LeaderEpoch::NONE));
            return Ok(Err(Refused::new(ErrorCode::FencedLeaderEpoch, message)));
        }
        if epoch.is_some() && latest != Some(epoch) {
            self.persist_epoch(EpochStart { epoch, offset: self.log_end })?;
        }
        self.correct_epochs()?;
        Ok(Ok(()))
    }

    pub(super) fn persist_epoch(&mut self, start: EpochStart) -> Result<(), AppendError> {
        let assigned = self.assign_epoch(start.epoch, start.offset);
        self.epochs_written(assigned)
    }

    /// Before anything is appended.
    pub(super) fn correct_epochs(&mut self) -> Result<(), AppendError> {
        if !self.epochs.must_be_written() {
            return Ok(());
        }
        let written = self.write_epochs();
        self.epochs_written(written)
    }

    fn epochs_written(&self, outcome: Result<(), LogError>) -> Result<(), AppendError> {
        match outcome {
            Err(LogError::Io { source, .. }) if is_full(&source) => {
                Err(AppendError::DiskFull { dir: self.dir.clone(), waits_for_flush: false })
            }
            outcome => Ok(outcome?),
        }
    }
}

impl Group<'_> {
    pub fn abandon(&mut self, log: &mut Log) {
        self.undo.drain(..).rev().for_each(|undo| log.producers.undo(undo));
        self.planned.clear();
        self.next = log.log_end;
        self.fill = log.active.fill();
    }
}

fn refused_by_storage() -> Refused {
    Refused::new(ErrorCode::KafkaStorageError, "The log could not be written")
}

/// Header and body in one buffer. Only for control batches, which are small.
pub(super) fn batch_bytes(batch: &CheckedBatch) -> Bytes {
    if batch.header.is_control() { batch.to_bytes() } else { Bytes::new() }
}
