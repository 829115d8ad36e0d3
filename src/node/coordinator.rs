//! A shard of a coordinator: a machine that decides, joined to the log that remembers. What the machine wants written is
//! gathered into batches and appended; what it answers waits until everything that it has seen is replicated; what the
//! log says is loaded into it. Kafka's counterpart is `CoordinatorRuntime`.
//! It must never know what the machine decides about: that is the business of each [`Machine`].
//!
//! All records of the partition pass through its shard, markers of transactions included. That is what lets the shard
//! know each record's offset, and notice when the log has something that the machine has not ([`Shard::is_in_step`]).

mod gathering;
pub mod groups;
pub mod keeper;
pub mod loading;
mod shards;
#[cfg(test)]
mod stories;
pub mod transactions;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::coordinator::{Effect, Input as Asked, Machine, Producer, Record};
use ottla_model::VerificationGuard;
use ottla_model::image::Image;
use ottla_model::txn::TransactionVersion;
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{BatchError, BatchHeader, Compression, DecompressLimit, records};
use ottla_protocol::{ErrorCode, Offset, ProducerId};

pub use gathering::marker;
use gathering::{Content, Gathering};
pub use shards::shard_of;

/// No batch of a coordinator comes near this; a damaged one may claim anything.
const BATCH_BYTES_MAX: DecompressLimit = DecompressLimit(1 << 30);

/// What can happen to a shard. `T` is whatever finds the one who asked.
#[derive(Debug)]
pub enum Input<T, C> {
    Ask {
        token: T,
        command: C,
    },
    /// The transaction coordinator has decided how a transaction ends that has records in this partition.
    EndTransaction {
        token: T,
        ending: Ending,
    },
    Image(Arc<Image>),
    /// What the last [`Output::Append`] came to: the offsets of its first and its last record. An error says that
    /// nothing was appended. First ask [`Shard::is_in_step`]; if it is not, resign and load again.
    Appended(Result<(Offset, Offset), ErrorCode>),
    /// The partition's high watermark has moved.
    Replicated(Offset),
    /// Time has passed.
    Tick,
    /// Nothing that came meanwhile is left to be taken: [`Linger::Adaptive`] gathers no longer.
    Idle,
    /// The shard is somebody else's now, or its state is not to be trusted: everybody is told so, and so is whoever
    /// asks later.
    Resign(ErrorCode),
}

/// The end of a transaction, as WriteTxnMarkers tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub producer: Producer,
    pub result: TransactionResult,
    pub coordinator_epoch: i32,
    pub version: TransactionVersion,
}

/// What the shard wants done.
#[derive(Debug)]
pub enum Output<T, R> {
    Reply {
        token: T,
        reply: R,
    },
    /// Append this batch as a whole. Until its [`Input::Appended`], only [`Input::Replicated`] and [`Input::Resign`] are
    /// allowed.
    Append(ShardBatch),
    /// A line for the log.
    Note(String),
}

/// A batch on its way to the log, and what the batch itself does not say.
#[derive(Clone, Debug)]
pub struct ShardBatch {
    pub bytes: Bytes,
    /// What the log has given out for the first batch of the transaction.
    pub guard: Option<VerificationGuard>,
    /// Of a marker (KIP-1228).
    pub transaction_version: i16,
}

/// What a log says that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("batch at offset {offset}: {source}")]
    Batch { offset: Offset, source: BatchError },
    #[error("record at offset {offset}: {why}")]
    Record { offset: Offset, why: String },
    #[error("reading at offset {offset}: {why}")]
    Read { offset: Offset, why: String },
}

/// How a shard works, by the broker's configuration.
#[derive(Clone, Copy, Debug)]
pub struct ShardSettings {
    /// Of the batches that it writes.
    pub compression: Compression,
    pub linger: Linger,
    /// How long a reply waits for replication.
    pub write_timeout_ms: i64,
}

/// How long records are gathered into one batch (`group.coordinator.append.linger.ms` and the like). The records of
/// a transaction are never gathered with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// As long as there is something to be taken that has come already: see [`Input::Idle`].
    Adaptive,
    /// From the batch's first record on.
    Ms(i64),
}

impl Linger {
    /// As the configuration says it: -1 is adaptive.
    pub fn of_config(ms: i64) -> Linger {
        if ms < 0 { Linger::Adaptive } else { Linger::Ms(ms) }
    }
}

/// A reply that is not safe to give yet.
#[derive(Debug)]
struct Held<T, R> {
    token: T,
    reply: R,
    /// Safe once the high watermark is here.
    until: Offset,
    deadline_ms: i64,
}

/// One partition's share of a coordinator's work.
pub struct Shard<M: Machine> {
    machine: M,
    terms: ShardSettings,
    /// Everything below is in the machine's state.
    applied: Offset,
    high_watermark: Offset,
    held: VecDeque<Held<M::Token, M::Reply>>,
    /// What the machine wants done elsewhere, each once the high watermark is at its offset.
    errands: VecDeque<(Offset, M::Errand)>,
    gathering: Gathering<M::Token>,
    /// What is being appended.
    appending: Option<Content<M::Token>>,
    /// Has to wait until all that is gathered is written.
    next: Option<Input<M::Token, M::Command>>,
    resigned: Option<ErrorCode>,
}

type Outputs<M> = Vec<Output<<M as Machine>::Token, <M as Machine>::Reply>>;

/// Loading.
impl<M: Machine> Shard<M> {
    /// `machine` is empty: replay the log into the shard, then [`Shard::loaded`].
    pub fn new(machine: M, terms: ShardSettings) -> Shard<M> {
        Shard {
            machine,
            terms,
            applied: 0,
            high_watermark: 0,
            held: VecDeque::new(),
            errands: VecDeque::new(),
            gathering: Gathering::new(terms.compression),
            appending: None,
            next: None,
            resigned: None,
        }
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
            let read = M::Record::from_key_value(&key, record.value.as_ref());
            let offset = record.offset;
            let read = read.map_err(|error| LoadError::Record { offset, why: error.to_string() })?;
            if let Some(read) = read {
                self.machine.replay(offset, producer, &read);
            }
        }
        self.applied = header.next_offset();
        Ok(())
    }

    fn replay_control(&mut self, key: &[u8], value: &[u8], producer: Option<ProducerId>) {
        if let (Some(producer), Ok(ControlRecord::EndTxn(marker))) =
            (producer, ControlRecord::decode(key, value))
        {
            self.machine.end_transaction(producer, marker.result);
        }
    }

    /// The whole log has been replayed, and is replicated up to `high_watermark`. Its last records may have been
    /// deleted, so its end says more than they do.
    pub fn loaded(&mut self, now_ms: i64, log_end: Offset, high_watermark: Offset) {
        self.applied = log_end;
        self.high_watermark = high_watermark;
        self.machine.loaded(now_ms);
    }
}

/// What the owner of a shard asks of it.
impl<M: Machine> Shard<M> {
    /// The offset up to which the log is in the machine's state.
    pub fn applied(&self) -> Offset {
        self.applied
    }

    /// Whether the log has exactly what the machine knows of, after an append came to `outcome` and left the log's end
    /// at `log_end`. If not, it is not known what was written, or somebody else wrote: the state is not to be trusted.
    pub fn is_in_step(&self, outcome: &Result<(Offset, Offset), ErrorCode>, log_end: Offset) -> bool {
        match outcome {
            Ok((first, _)) => *first == self.applied,
            Err(_) => log_end == self.applied,
        }
    }

    /// The high watermark that somebody waits for.
    pub fn awaits(&self) -> Option<Offset> {
        let held = self.held.front().map(|held| held.until);
        let errand = self.errands.iter().map(|(until, _)| *until).find(|until| *until > self.high_watermark);
        [held, errand].into_iter().flatten().min()
    }

    /// The errands that may be done now: their reasons are replicated.
    pub fn take_errands(&mut self) -> Vec<M::Errand> {
        let safe = self.errands.partition_point(|(until, _)| *until <= self.high_watermark);
        self.errands.drain(..safe).map(|(_, errand)| errand).collect()
    }

    /// Whether records are gathered that nothing has been asked to append yet: an [`Input::Idle`] is wanted.
    pub fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// When an [`Input::Tick`] is wanted.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let held = self.held.front().map(|held| held.deadline_ms);
        [self.machine.next_deadline_ms(), held, self.linger_ends_ms()].into_iter().flatten().min()
    }

    /// How large a batch the partition takes, in bytes (`max.message.bytes`).
    pub fn limit_batches(&mut self, bytes_max: usize) {
        self.gathering.bytes_max = bytes_max;
    }

    /// Takes one input. Panics if an append is under way and this input is not allowed meanwhile.
    pub fn step(&mut self, now_ms: i64, input: Input<M::Token, M::Command>, out: &mut Outputs<M>) {
        if let Some(code) = self.resigned {
            return out.extend(input.refused::<M>(code));
        }
        let meanwhile = matches!(input, Input::Appended(_) | Input::Replicated(_) | Input::Resign(_));
        assert!(meanwhile || self.appending.is_none(), "the outcome of an append comes before anything else");
        self.take(now_ms, input, out);
    }
}

/// The steps.
impl<M: Machine> Shard<M> {
    fn take(&mut self, now_ms: i64, input: Input<M::Token, M::Command>, out: &mut Outputs<M>) {
        if self.has_to_wait(now_ms, &input) {
            self.gathering.close();
            self.next = Some(input);
            return self.append(out);
        }
        match input {
            Input::Ask { token, command } => self.turn(now_ms, Asked::Ask { token, command }, out),
            Input::EndTransaction { token, ending } => self.gathering.add_marker(now_ms, token, ending),
            Input::Image(image) => self.turn(now_ms, Asked::Image(image), out),
            Input::Tick => {
                self.time_out(now_ms, out);
                if !self.is_gathering() {
                    self.turn(now_ms, Asked::Tick, out);
                }
            }
            Input::Idle if self.terms.linger == Linger::Adaptive => self.gathering.close(),
            Input::Idle => {}
            // These gather nothing; `appended` looks by itself at what is gathered.
            Input::Appended(outcome) => return self.appended(now_ms, outcome, out),
            Input::Resign(code) => return self.resign(now_ms, code, out),
            Input::Replicated(high_watermark) => {
                self.high_watermark = self.high_watermark.max(high_watermark);
                return self.release(out);
            }
        }
        if self.linger_ends_ms().is_some_and(|ends_ms| ends_ms <= now_ms) {
            self.gathering.close();
        }
        self.append(out);
    }

    /// Whether all that is gathered has to be in the log, and applied, before the input is taken.
    fn has_to_wait(&self, now_ms: i64, input: &Input<M::Token, M::Command>) -> bool {
        self.is_gathering()
            && match input {
                Input::Ask { command, .. } => !self.machine.can_take(command),
                Input::EndTransaction { .. } | Input::Image(_) => true,
                Input::Tick => self.machine.next_deadline_ms().is_some_and(|due_ms| due_ms <= now_ms),
                Input::Appended(_) | Input::Replicated(_) | Input::Idle | Input::Resign(_) => false,
            }
    }

    fn linger_ends_ms(&self) -> Option<i64> {
        match self.terms.linger {
            Linger::Adaptive => None,
            Linger::Ms(ms) => self.gathering.opened_ms().map(|opened_ms| opened_ms.saturating_add(ms)),
        }
    }

    fn append(&mut self, out: &mut Outputs<M>) {
        assert!(self.appending.is_none(), "one append at a time");
        if let Some(gathered) = self.gathering.next() {
            self.appending = Some(gathered.content);
            out.push(Output::Append(gathered.batch));
        }
    }

    fn appended(&mut self, now_ms: i64, outcome: Result<(Offset, Offset), ErrorCode>, out: &mut Outputs<M>) {
        let content = self.appending.take().expect("an append was asked for");
        if let Ok((_, last)) = outcome {
            self.applied = last + 1;
        }
        match content {
            Content::Records(places) => {
                for place in places {
                    let result = outcome.map(|(first, _)| first + place.index);
                    self.turn(now_ms, Asked::Written { ticket: place.ticket, result }, out);
                }
            }
            Content::Marker { token, ending } => {
                if outcome.is_ok() {
                    self.machine.end_transaction(ending.producer.id, ending.result);
                }
                let reply = M::transaction_ended(outcome.err().unwrap_or(ErrorCode::None));
                self.answer(now_ms, token, reply, out);
            }
        }
        self.go_on(now_ms, out);
    }

    /// What was gathered before comes before what had to wait for it.
    fn go_on(&mut self, now_ms: i64, out: &mut Outputs<M>) {
        self.append(out);
        if self.appending.is_none() {
            // Without an input that waited, this looks at what the outcome itself has led to.
            let next = self.next.take().unwrap_or(Input::Idle);
            self.take(now_ms, next, out);
        }
    }

    fn turn(&mut self, now_ms: i64, asked: Asked<M::Token, M::Command>, out: &mut Outputs<M>) {
        let mut effects = Vec::new();
        self.machine.step(now_ms, asked, &mut effects);
        for effect in effects {
            match effect {
                Effect::Reply { token, reply } => self.answer(now_ms, token, reply, out),
                Effect::Write { ticket, records, transaction } => {
                    self.gathering.add(now_ms, ticket, &records, transaction);
                }
                Effect::Errand(errand) => self.errands.push_back((self.applied, errand)),
                Effect::Note(note) => out.push(Output::Note(note.to_string())),
            }
        }
    }

    fn resign(&mut self, now_ms: i64, code: ErrorCode, out: &mut Outputs<M>) {
        self.resigned = Some(code);
        self.errands.clear();
        for held in self.held.drain(..) {
            out.push(Output::Reply { token: held.token, reply: M::withdrawn(held.reply, code) });
        }
        // Whoever wants records written is told by the machine.
        for token in
            self.appending.take().into_iter().chain(self.gathering.drain()).filter_map(Content::token)
        {
            out.push(Output::Reply { token, reply: M::transaction_ended(code) });
        }
        let mut effects = Vec::new();
        self.machine.step(now_ms, Asked::Resign(code), &mut effects);
        for effect in effects {
            if let Effect::Reply { token, reply } = effect {
                out.push(Output::Reply { token, reply });
            }
        }
        out.extend(self.next.take().and_then(|next| next.refused::<M>(code)));
    }
}

/// Replies.
impl<M: Machine> Shard<M> {
    // A reply may tell of what was just applied: nobody hears of it before it is safe.
    fn answer(&mut self, now_ms: i64, token: M::Token, reply: M::Reply, out: &mut Outputs<M>) {
        if self.applied <= self.high_watermark {
            out.push(Output::Reply { token, reply });
            return;
        }
        let deadline_ms = now_ms.saturating_add(self.terms.write_timeout_ms);
        self.held.push_back(Held { token, reply, until: self.applied, deadline_ms });
    }

    fn release(&mut self, out: &mut Outputs<M>) {
        while let Some(held) = self.held.pop_front_if(|held| held.until <= self.high_watermark) {
            out.push(Output::Reply { token: held.token, reply: held.reply });
        }
    }

    // It stands and may yet be replicated; the client asks again, and finds it so or not.
    fn time_out(&mut self, now_ms: i64, out: &mut Outputs<M>) {
        while let Some(held) = self.held.pop_front_if(|held| held.deadline_ms <= now_ms) {
            let reply = M::withdrawn(held.reply, ErrorCode::CoordinatorNotAvailable);
            out.push(Output::Reply { token: held.token, reply });
        }
    }
}

impl<T, C> Input<T, C> {
    /// The refusal of an input that nobody can take. `None` if nobody waits for an answer to it.
    pub fn refused<M>(self, code: ErrorCode) -> Option<Output<T, M::Reply>>
    where
        M: Machine<Token = T, Command = C>,
    {
        match self {
            Input::Ask { token, command } => Some(Output::Reply { token, reply: M::refused(&command, code) }),
            Input::EndTransaction { token, .. } => {
                Some(Output::Reply { token, reply: M::transaction_ended(code) })
            }
            _ => None,
        }
    }
}
