//! A shard of a coordinator: the machine that decides, and the log that remembers. What the machine wants written is
//! appended; what it answers waits until everything it has seen is replicated; what the log says is loaded into it.
//! It must never know what a group is: that is `ottla_core::group`.

mod refuse;
#[cfg(test)]
mod stories;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{Chance, Command, Effect, Groups, Input as Asked, Reply, Settings, Ticket};
use ottla_model::group::{GroupRecord, Unreadable};
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{BatchBuilder, BatchError, BatchHeader, Compression, DecompressLimit, records};
use ottla_protocol::{ErrorCode, Offset, ProducerId};

/// No batch of a coordinator comes near this; a damaged one may claim anything.
const BATCH_BYTES_MAX: DecompressLimit = DecompressLimit(1 << 30);
/// Records of coordinators have no sequence: nobody retries them blindly.
const NO_SEQUENCE: i32 = -1;

/// What can happen to a shard. `T` is whatever finds the one who asked.
#[derive(Debug)]
pub enum Input<T> {
    Ask {
        token: T,
        command: Command,
    },
    /// What the last [`Output::Append`] came to: the offsets of its first and its last record. An error says that
    /// nothing was appended; where that is not sure, resign and load again.
    Appended(Result<(Offset, Offset), ErrorCode>),
    /// The partition's high watermark has moved.
    Replicated(Offset),
    /// Time has passed.
    Tick,
    /// The shard is somebody else's now, or its state is not to be trusted: everybody is told so.
    Resign(ErrorCode),
}

/// What the shard wants done.
#[derive(Debug)]
pub enum Output<T> {
    Reply {
        token: T,
        reply: Reply,
    },
    /// Append this batch as a whole. Nothing but its [`Input::Appended`], a move of the high watermark or the end is
    /// taken in before.
    Append(Bytes),
    /// A line for the log.
    Note(String),
}

/// What a log says that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("batch at offset {offset}: {source}")]
    Batch { offset: Offset, source: BatchError },
    #[error("record at offset {offset}: {source}")]
    Record { offset: Offset, source: Unreadable },
}

/// A reply that is not safe to give yet.
#[derive(Debug)]
struct Held<T> {
    token: T,
    reply: Reply,
    /// Safe once the high watermark is here.
    until: Offset,
    deadline_ms: i64,
}

/// How a shard works, by the broker's configuration.
#[derive(Clone, Debug)]
pub struct Terms {
    pub settings: Arc<Settings>,
    /// `offsets.topic.compression.codec`
    pub compression: Compression,
    /// `offsets.commit.timeout.ms`
    pub commit_timeout_ms: i64,
}

/// One partition's share of the coordinator's work.
pub struct Shard<T> {
    groups: Groups<T>,
    terms: Terms,
    /// Everything below is in the machine's state.
    applied: Offset,
    high_watermark: Offset,
    held: VecDeque<Held<T>>,
    writing: Option<Ticket>,
}

impl<T> Shard<T> {
    /// An empty one: replay its log into it, then [`Shard::loaded`].
    pub fn new(terms: Terms, chance: Chance) -> Shard<T> {
        let groups = Groups::new(terms.settings.clone(), chance);
        Shard { groups, terms, applied: 0, high_watermark: 0, held: VecDeque::new(), writing: None }
    }

    /// Loads one batch, in the order of the log.
    pub fn replay(&mut self, batch: &Bytes) -> Result<(), LoadError> {
        let at = self.applied;
        let header = BatchHeader::parse(batch).map_err(|source| LoadError::Batch { offset: at, source })?;
        let wrong = |source| LoadError::Batch { offset: header.base_offset, source };
        let producer = header.is_transactional().then_some(ProducerId(header.producer_id));
        for record in records(batch, BATCH_BYTES_MAX).map_err(wrong)? {
            let record = record.map_err(wrong)?;
            let key = record.key.unwrap_or_default();
            if header.is_control() {
                self.replay_control(&key, record.value.as_deref().unwrap_or_default(), producer);
                continue;
            }
            let read = GroupRecord::from_key_value(&key, record.value.as_ref());
            let read = read.map_err(|source| LoadError::Record { offset: record.offset, source })?;
            // A record of a type that came later is nothing to us, and stays in the log.
            if let Some(read) = read {
                self.groups.replay(record.offset, producer, &read);
            }
        }
        self.applied = header.next_offset();
        Ok(())
    }

    fn replay_control(&mut self, key: &[u8], value: &[u8], producer: Option<ProducerId>) {
        if let (Some(producer), Ok(ControlRecord::EndTxn(marker))) =
            (producer, ControlRecord::decode(key, value))
        {
            self.groups.end_transaction(producer, marker.result == TransactionResult::Commit);
        }
    }

    /// The whole log has been replayed, and is replicated up to `high_watermark`. Its last records may have been
    /// deleted, so its end says more than they do.
    pub fn loaded(&mut self, now_ms: i64, log_end: Offset, high_watermark: Offset) {
        self.applied = log_end;
        self.high_watermark = high_watermark;
        self.groups.loaded(now_ms);
    }

    /// The offset up to which the log is in the state; it must be the log's end between two appends.
    pub fn applied(&self) -> Offset {
        self.applied
    }

    /// The high watermark that somebody waits for.
    pub fn awaits(&self) -> Option<Offset> {
        self.held.front().map(|held| held.until)
    }

    /// When a [`Input::Tick`] is wanted.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let held = self.held.front().map(|held| held.deadline_ms);
        [self.groups.next_deadline_ms(), held].into_iter().flatten().min()
    }

    pub fn step(&mut self, now_ms: i64, input: Input<T>, out: &mut Vec<Output<T>>) {
        match input {
            Input::Ask { token, command } => self.turn(now_ms, Asked::Ask { token, command }, out),
            Input::Appended(outcome) => {
                let ticket = self.writing.take().expect("an append was asked for");
                if let Ok((_, last)) = outcome {
                    self.applied = last + 1;
                }
                let result = outcome.map(|(first, _)| first);
                self.turn(now_ms, Asked::Written { ticket, result }, out);
            }
            Input::Replicated(high_watermark) => {
                self.high_watermark = self.high_watermark.max(high_watermark);
                self.release(out);
            }
            Input::Tick => {
                self.time_out(now_ms, out);
                self.turn(now_ms, Asked::Tick, out);
            }
            Input::Resign(code) => {
                let held = self.held.drain(..);
                out.extend(
                    held.map(|h| Output::Reply { token: h.token, reply: refuse::refused(h.reply, code) }),
                );
                let mut effects = Vec::new();
                self.groups.step(now_ms, Asked::Resign(code), &mut effects);
                for effect in effects {
                    if let Effect::Reply { token, reply } = effect {
                        out.push(Output::Reply { token, reply });
                    }
                }
            }
        }
    }

    fn turn(&mut self, now_ms: i64, asked: Asked<T>, out: &mut Vec<Output<T>>) {
        assert!(self.writing.is_none(), "the outcome of a write comes before anything else");
        let mut effects = Vec::new();
        self.groups.step(now_ms, asked, &mut effects);
        for effect in effects {
            match effect {
                Effect::Reply { token, reply } => self.answer(now_ms, token, reply, out),
                Effect::Write { ticket, records, transaction } => {
                    let mut batch = BatchBuilder::new(self.terms.compression);
                    if let Some(producer) = transaction {
                        batch = batch.producer(producer.id, producer.epoch, NO_SEQUENCE).transactional();
                    }
                    for record in &records {
                        let (key, value) = record.to_key_value();
                        batch.append(now_ms, Some(&key), value.as_deref(), &[]);
                    }
                    self.writing = Some(ticket);
                    out.push(Output::Append(batch.build(0, ottla_protocol::LeaderEpoch::NONE)));
                }
                Effect::Note(note) => out.push(Output::Note(note.to_string())),
            }
        }
    }

    // A reply may tell of what was just applied: nobody hears of it before it is safe.
    fn answer(&mut self, now_ms: i64, token: T, reply: Reply, out: &mut Vec<Output<T>>) {
        if self.applied <= self.high_watermark {
            out.push(Output::Reply { token, reply });
            return;
        }
        let deadline_ms = now_ms.saturating_add(self.terms.commit_timeout_ms);
        self.held.push_back(Held { token, reply, until: self.applied, deadline_ms });
    }

    fn release(&mut self, out: &mut Vec<Output<T>>) {
        while let Some(held) = self.held.pop_front_if(|held| held.until <= self.high_watermark) {
            out.push(Output::Reply { token: held.token, reply: held.reply });
        }
    }

    // It stands and may yet be replicated; the client asks again, and finds it so or not.
    fn time_out(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) {
        while let Some(held) = self.held.pop_front_if(|held| held.deadline_ms <= now_ms) {
            let reply = refuse::refused(held.reply, ErrorCode::CoordinatorNotAvailable);
            out.push(Output::Reply { token: held.token, reply });
        }
    }
}
