//! A lane: the one owner of a partition. It appends in the order in which inputs reach it, keeps the epoch and the
//! high watermark, holds back replies until they are true, and says what has to be flushed or deleted.
//! It must never know who waits for a reply: a token comes in with an append and goes out with its outcome.

#[cfg(test)]
mod restarts;
#[cfg(test)]
mod stories;

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_core::partition::{Acks, Leader, Leadership};
use ottla_log::CheckedBatch;
use ottla_log::log::{
    AppendError, Appended, FlushTicket, Log, LogError, LogReader, NotMoved, NotSwapped, Refused, Relocation,
    Retired, Swap, WriteOut,
};
use ottla_model::NodeId;
use ottla_model::config::TopicConfig;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

/// What can happen to a partition. `T` is whatever finds the one who asked.
#[derive(Debug)]
pub enum Input<T> {
    Append(Append<T>),
    /// The controller's word: this node leads, under that epoch.
    Lead(Leadership),
    /// Nothing else is to be done: write down where this leadership begins, so that no producer waits for that.
    Settle,
    Configure(Arc<TopicConfig>),
    /// `producer.id.expiration.ms` has changed.
    ExpireProducersAfter(i64),
    /// A flush that this lane asked for is done.
    Flushed {
        up_to: Offset,
        result: std::io::Result<()>,
    },
    /// A cleaning of the log has finished an output, which is to take the place of what it was made from.
    SwapCleaned {
        token: T,
        swap: Box<Swap>,
    },
    /// A copy of the log in another directory has caught up, and is to take its place.
    Relocate {
        token: T,
        copy: Box<Relocation>,
    },
    /// Records below an offset are to go; none is all up to the high watermark.
    DeleteRecords {
        token: T,
        before: Option<Offset>,
    },
    /// Time has passed: roll, retire, flush and expire what is due.
    Tick,
}

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Once it is as safe as its `acks` ask for.
    WhenSafe,
    /// Once it has its offsets: a coordinator goes on, and waits for the high watermark by itself.
    WhenAppended,
}

/// A producer's batch for this partition.
#[derive(Debug)]
pub struct Append<T> {
    pub token: T,
    pub batch: CheckedBatch,
    pub acks: Acks,
    pub answered: Answered,
    /// The config that the batch was checked against; the lane refuses one that was checked against another.
    pub checked_against: Arc<TopicConfig>,
    /// When the producer stops waiting for replication.
    pub deadline_ms: i64,
}

/// What the lane wants done.
#[derive(Debug)]
pub enum Output<T> {
    Reply {
        token: T,
        outcome: Result<Appended, Refused>,
    },
    /// The output is in its place, or why not: then the log is as it was.
    Swapped {
        token: T,
        outcome: Result<(), String>,
    },
    /// The log lives where its copy was, and has left this one behind, which is to be deleted; or why not.
    Relocated {
        token: T,
        outcome: Result<Box<Log>, NotMoved>,
    },
    /// Records are deleted: the log starts there now.
    Deleted {
        token: T,
        outcome: Result<Offset, Refused>,
    },
    /// Run the ticket, then bring its result back as [`Input::Flushed`].
    Flush(FlushTicket),
    /// Run it, soon, on a thread that may wait; or leave it, when there is too much of that already.
    WriteOut(WriteOut),
    /// The high watermark moved: fetches that wait here may have something to read.
    Advanced,
    /// Delete these files once `file.delete.delay.ms` has passed.
    Retire(Vec<Retired>),
    /// Nothing more is appended until the log is opened again; `disk` says that the disk failed, not what is on it.
    Offline {
        why: String,
        disk: bool,
    },
    /// No room to append: refused until there is. Said once each time.
    Full,
    /// There is room again.
    Roomy,
}

/// An append that is in the log, but whose reply would not be true yet.
#[derive(Debug)]
struct Held<T> {
    token: T,
    appended: Appended,
    /// The reply is true once the log is flushed, or replicated, up to here.
    next_offset: Offset,
    acks: Acks,
    deadline_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushing {
    Idle,
    /// A ticket is out; `more` says that another flush is due when it comes back.
    Running {
        more: bool,
    },
}

/// The owner of one partition's log.
#[derive(Debug)]
pub struct Lane<T> {
    log: Log,
    leader: Leader,
    config: Arc<TopicConfig>,
    held: VecDeque<Held<T>>,
    flushing: Flushing,
    /// What is past the recovery point must be flushed before anyone hears of it.
    must_flush: bool,
    /// Waits for the flush that is under way, which is of the log as it is.
    moving: Option<(T, Box<Relocation>)>,
    offline: bool,
    /// The last write found no room.
    full: bool,
}

impl<T> Lane<T> {
    /// Takes over a log that has been opened. `high_watermark` comes from the checkpoint; a sole replica's log is
    /// committed whole, and that is known before the first reader comes. What a killed process had not flushed may be
    /// heard of only once it is: a retried batch is found here and acknowledged, and then the power may go.
    pub fn new(me: NodeId, mut log: Log, leadership: Leadership, config: Arc<TopicConfig>) -> Lane<T> {
        let leader = Leader::new(me, leadership, log.high_watermark());
        let must_flush = log.unflushed_messages() >= config.flush_messages && flush_now(&mut log).is_err();
        let flushing = Flushing::Idle;
        let (held, moving, offline, full) = (VecDeque::new(), None, false, false);
        let mut lane = Lane { log, leader, config, held, flushing, must_flush, moving, offline, full };
        let high_watermark = lane.leader.advance(lane.safe_end());
        lane.log.advance_high_watermark(high_watermark);
        lane
    }

    /// The readers' side of the log.
    pub fn reader(&self) -> Arc<LogReader> {
        self.log.reader()
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader.epoch()
    }

    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Gives the log back, for closing or deleting it; whoever still waits is told that this node leads no more.
    pub fn into_log(mut self, out: &mut Vec<Output<T>>) -> Log {
        self.refuse_all(ErrorCode::NotLeaderOrFollower, out);
        self.refuse_move(out);
        self.log
    }

    /// Whether a turn with these inputs may wait for the disk longer than a write does: then no thread that serves clients
    /// should take it.
    pub fn may_wait<'a>(&self, now_ms: i64, inputs: impl Iterator<Item = &'a Input<T>>) -> bool
    where
        T: 'a,
    {
        let mut appends = Vec::new();
        for input in inputs {
            match input {
                Input::Append(append) => appends.push(&append.batch),
                Input::ExpireProducersAfter(_) | Input::DeleteRecords { .. } => {}
                // What comes behind them is judged by what they say: by another epoch, and other limits of a segment.
                Input::Lead(_) | Input::Configure(_) => return true,
                Input::Flushed { .. } if self.moving.is_none() && !self.log.flush_waits() => {}
                Input::Flushed { .. } | Input::Settle | Input::Tick => return true,
                Input::SwapCleaned { .. } | Input::Relocate { .. } => return true,
            }
        }
        // A flush that an append asks for may open what was rolled; one that is under way comes first.
        let opens = self.flushing == Flushing::Idle && self.log.flush_waits();
        !appends.is_empty()
            && (opens || self.log.append_waits(appends.into_iter(), self.leader.epoch(), now_ms))
    }

    /// One turn of the owner: everything that happened since the last one.
    pub fn step(
        &mut self,
        now_ms: i64,
        inputs: impl IntoIterator<Item = Input<T>>,
        out: &mut Vec<Output<T>>,
    ) {
        let mut appends = Vec::new();
        for input in inputs {
            if let Input::Append(append) = input {
                appends.push(append);
                continue;
            }
            self.append(now_ms, &mut appends, out);
            match input {
                Input::Append(_) => {}
                Input::Lead(leadership) => {
                    self.leader.lead(leadership);
                    self.advance(out);
                    // A follower that left the in-sync set may have been all that these waited for.
                    self.release(now_ms, out);
                }
                Input::Settle => self.assign_epoch(out),
                Input::Configure(config) => {
                    self.log.set_config(config.clone());
                    self.config = config;
                }
                Input::ExpireProducersAfter(ms) => self.log.set_producer_id_expiration_ms(ms),
                Input::SwapCleaned { token, swap } => {
                    let outcome = self.swap(now_ms, *swap, out);
                    out.push(Output::Swapped { token, outcome });
                }
                Input::Relocate { token, copy } => {
                    self.refuse_move(out);
                    self.moving = Some((token, copy));
                    if self.flushing == Flushing::Idle {
                        self.relocate(now_ms, out);
                    }
                }
                Input::DeleteRecords { token, before } => {
                    let outcome = self.delete_records(before);
                    out.push(Output::Deleted { token, outcome });
                }
                Input::Flushed { up_to, result } => self.flushed(now_ms, up_to, result, out),
                Input::Tick => self.tick(now_ms, out),
            }
        }
        self.append(now_ms, &mut appends, out);
    }

    // Appends that came together go to the disk in one write. The start of a new epoch is on the disk before the
    // first of them (KAFKA-7415).
    fn append(&mut self, now_ms: i64, appends: &mut Vec<Append<T>>, out: &mut Vec<Output<T>>) {
        if appends.is_empty() {
            return;
        }
        let mut batches = Vec::with_capacity(appends.len());
        let mut waiting = Vec::with_capacity(appends.len());
        for append in appends.drain(..) {
            match self.admit(&append) {
                Ok(()) => {
                    batches.push(append.batch);
                    waiting.push((append.token, append.answered, append.acks, append.deadline_ms));
                }
                Err(refused) => out.push(Output::Reply { token: append.token, outcome: Err(refused) }),
            }
        }
        if batches.is_empty() {
            return;
        }
        match self.log.append(&batches, self.leader.epoch(), now_ms) {
            Ok(outcomes) => {
                if std::mem::take(&mut self.full) {
                    out.push(Output::Roomy);
                }
                for ((token, answered, acks, deadline_ms), outcome) in waiting.into_iter().zip(outcomes) {
                    match outcome {
                        Ok(appended) if answered == Answered::WhenSafe => {
                            self.hold(token, appended, acks, deadline_ms);
                        }
                        Ok(appended) => out.push(Output::Reply { token, outcome: Ok(appended) }),
                        Err(refused) => out.push(Output::Reply { token, outcome: Err(refused) }),
                    }
                }
                self.settle(now_ms, out);
            }
            Err(error) => {
                let code = self.failed(error, out);
                for (token, ..) in waiting {
                    out.push(Output::Reply { token, outcome: Err(refused(code)) });
                }
            }
        }
    }

    // Without room the first append tries again.
    fn assign_epoch(&mut self, out: &mut Vec<Output<T>>) {
        let epoch = self.leader.epoch();
        if self.offline || self.log.last_epoch() == Some(epoch) {
            return;
        }
        match self.log.assign_epoch(epoch, self.log.log_end_offset()) {
            Err(error) if !error.is_full() => drop(self.failed(error.into(), out)),
            _ => {}
        }
    }

    fn admit(&self, append: &Append<T>) -> Result<(), Refused> {
        if self.offline {
            return Err(refused(ErrorCode::KafkaStorageError));
        }
        // A config that changed in between may forbid what was allowed: the producer tries again and is checked anew.
        if !Arc::ptr_eq(&append.checked_against, &self.config) {
            return Err(refused(ErrorCode::NotLeaderOrFollower));
        }
        self.leader.accepts(append.acks, self.config.min_insync_replicas).map_err(refused)
    }

    fn hold(&mut self, token: T, appended: Appended, acks: Acks, deadline_ms: i64) {
        let next_offset = appended.last_offset + 1;
        self.held.push_back(Held { token, appended, next_offset, acks, deadline_ms });
    }

    // Flush if the topic asks for it, move the high watermark as far as it is safe, answer whom it makes happy.
    fn settle(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) {
        if self.log.unflushed_messages() >= self.config.flush_messages {
            self.must_flush = true;
        }
        // A rolled segment and `flush.ms` want a flush too, but nobody waits for that one.
        let behind = self.log.unflushed_bytes() >= WRITE_BEHIND_BYTES && self.flushing == Flushing::Idle;
        if self.must_flush || self.log.flush_due(now_ms) || behind {
            self.flush(out);
        }
        out.extend(self.log.write_out().map(Output::WriteOut));
        self.advance(out);
        self.release(now_ms, out);
    }

    // The log end, or as much of it as may be heard of while a flush is due.
    fn safe_end(&self) -> Offset {
        if self.must_flush { self.log.recovery_point() } else { self.log.log_end_offset() }
    }

    fn advance(&mut self, out: &mut Vec<Output<T>>) {
        let high_watermark = self.leader.advance(self.safe_end());
        if high_watermark > self.log.high_watermark() {
            self.log.advance_high_watermark(high_watermark);
            out.push(Output::Advanced);
        }
    }

    fn release(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) {
        let safe_end = self.safe_end();
        let high_watermark = self.log.high_watermark();
        let mut rest = VecDeque::new();
        while let Some(held) = self.held.pop_front() {
            let reached = if held.acks == Acks::All { high_watermark } else { safe_end };
            if held.next_offset <= reached {
                out.push(Output::Reply { token: held.token, outcome: Ok(held.appended) });
            } else if held.deadline_ms <= now_ms {
                out.push(Output::Reply {
                    token: held.token,
                    outcome: Err(refused(ErrorCode::RequestTimedOut)),
                });
            } else {
                rest.push_back(held);
            }
        }
        self.held = rest;
    }

    fn flush(&mut self, out: &mut Vec<Output<T>>) {
        match &mut self.flushing {
            Flushing::Running { more } => *more = true,
            Flushing::Idle => match self.log.flush_begin() {
                Ok(ticket) => {
                    self.flushing = Flushing::Running { more: false };
                    out.push(Output::Flush(ticket));
                }
                Err(error) => {
                    let code = self.failed(error.into(), out);
                    self.refuse_all(code, out);
                }
            },
        }
    }

    fn flushed(&mut self, now_ms: i64, up_to: Offset, result: std::io::Result<()>, out: &mut Vec<Output<T>>) {
        let more = matches!(self.flushing, Flushing::Running { more: true });
        self.flushing = Flushing::Idle;
        if let Err(error) = result {
            // The kernel may have dropped the pages: what was acknowledged before is on disk, nothing newer is sure.
            let failed = LogError::Io { doing: "flush", source: error };
            let code = self.failed(failed.into(), out);
            self.refuse_all(code, out);
            self.refuse_move(out);
            return;
        }
        self.log.flush_end(up_to);
        let moved = self.relocate(now_ms, out);
        if moved || up_to >= self.log.log_end_offset() {
            self.must_flush = false;
        }
        if (more && !moved && up_to < self.log.log_end_offset()) || self.log.needs_flush_to_append() {
            self.flush(out);
        }
        self.settle(now_ms, out);
    }

    // Producers wait meanwhile: what is missing is copied, and all of it is synced. Whether the log has moved.
    fn relocate(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) -> bool {
        let Some((token, copy)) = self.moving.take() else { return false };
        let outcome = match self.log.relocate(copy, now_ms) {
            Err(NotMoved::Torn(error)) => {
                // It is the other directory's disk that has failed.
                self.offline = true;
                out.push(Output::Offline { why: error.to_string(), disk: false });
                self.refuse_all(ErrorCode::KafkaStorageError, out);
                Err(NotMoved::Torn(error))
            }
            Ok(left) => {
                self.must_flush = false;
                if std::mem::take(&mut self.full) {
                    out.push(Output::Roomy);
                }
                Ok(Box::new(left))
            }
            Err(not_moved) => Err(not_moved),
        };
        let moved = outcome.is_ok();
        out.push(Output::Relocated { token, outcome });
        if moved {
            self.settle(now_ms, out);
        }
        moved
    }

    fn refuse_move(&mut self, out: &mut Vec<Output<T>>) {
        if let Some((token, copy)) = self.moving.take() {
            copy.abandon();
            let dir = self.log.dir().to_owned();
            out.push(Output::Relocated { token, outcome: Err(NotMoved::Failed(LogError::Offline { dir })) });
        }
    }

    fn swap(&mut self, now_ms: i64, swap: Swap, out: &mut Vec<Output<T>>) -> Result<(), String> {
        match self.log.swap_cleaned(swap, now_ms) {
            Ok(retired) => {
                out.push(Output::Retire(retired));
                Ok(())
            }
            Err(NotSwapped::Refused(why)) => Err(why.to_owned()),
            Err(NotSwapped::Io(error)) => {
                let why = error.to_string();
                let code = self.failed(error.into(), out);
                self.refuse_all(code, out);
                Err(why)
            }
        }
    }

    // As in Kafka, what is only compacted is not deleted at anybody's wish (KIP-107). The segments below the new start go
    // with the next tick.
    fn delete_records(&mut self, before: Option<Offset>) -> Result<Offset, Refused> {
        if self.offline {
            return Err(refused(ErrorCode::KafkaStorageError));
        }
        let policy = self.config.cleanup_policy;
        if policy.compact && !policy.delete {
            return Err(refused(ErrorCode::PolicyViolation));
        }
        let before = before.unwrap_or(self.log.high_watermark());
        if before < 0 {
            return Err(refused(ErrorCode::OffsetOutOfRange));
        }
        self.log.advance_log_start(before)?;
        Ok(self.log.log_start_offset())
    }

    fn tick(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) {
        if self.offline {
            return;
        }
        self.log.expire_producers(now_ms);
        if let Err(error) = self.log.roll_if_due(now_ms) {
            self.failed(error, out);
            // Where there is no room, deleting is what makes some.
            if self.offline {
                return;
            }
        }
        match self.log.delete_old_segments(now_ms) {
            Ok(retired) if !retired.is_empty() => out.push(Output::Retire(retired)),
            Ok(_) => {}
            Err(error) => {
                self.failed(error.into(), out);
                return;
            }
        }
        self.settle(now_ms, out);
    }

    fn failed(&mut self, error: AppendError, out: &mut Vec<Output<T>>) -> ErrorCode {
        match error {
            // There will be room again: the log is whole, and the producer may retry.
            AppendError::DiskFull { .. } => {
                if !std::mem::replace(&mut self.full, true) {
                    out.push(Output::Full);
                }
                if self.log.needs_flush_to_append() && self.flushing == Flushing::Idle {
                    self.flush(out);
                }
            }
            AppendError::Io(error) => {
                if !std::mem::replace(&mut self.offline, true) {
                    let disk = matches!(error, LogError::Io { .. }) && !error.is_full();
                    out.push(Output::Offline { why: error.to_string(), disk });
                }
            }
        }
        ErrorCode::KafkaStorageError
    }

    fn refuse_all(&mut self, code: ErrorCode, out: &mut Vec<Output<T>>) {
        let held = self.held.drain(..);
        out.extend(held.map(|h| Output::Reply { token: h.token, outcome: Err(refused(code)) }));
    }
}

/// So much is flushed where nothing asks for it: a loss of power then costs a node without others no more than that. Most of it
/// is on the device by then ([`Output::WriteOut`]).
const WRITE_BEHIND_BYTES: u64 = 32 << 20;

// An error has taken the log offline, and whoever comes first is told so.
fn flush_now(log: &mut Log) -> Result<(), LogError> {
    let ticket = log.flush_begin()?;
    let up_to = ticket.up_to;
    ticket.run().map_err(|source| LogError::Io { doing: "flush", source })?;
    log.flush_end(up_to);
    Ok(())
}

fn refused(code: ErrorCode) -> Refused {
    Refused { code, message: code.message().to_owned() }
}
