//! The contract between a coordinator's state machine and the shard that runs it: Kafka's `CoordinatorShard`. A machine
//! decides: a command goes in, records to write and replies come out. Group coordinators and transaction coordinators are
//! such machines; `ottla_node::coordinator` runs them on a partition of their log. Nothing in here may know what the
//! records are about.
//!
//! A machine changes the state that its records describe only by applying records, and applies a record only once it is
//! in the log: by [`Machine::replay`] during loading, and by itself when [`Input::Written`] arrives. Several of its
//! writes may be in progress at once. The log appends each of them whole or not at all, and the outcomes arrive in the
//! order of the writes.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::VerificationGuard;
use ottla_model::image::Image;
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId};

/// One partition of a coordinator.
pub trait Machine {
    /// Identifies the caller of a command. Each token that comes in goes out in exactly one reply.
    type Token;
    type Command;
    type Reply;
    type Record: Record;
    /// What the machine has others do, see [`Effect::Errand`]. `Infallible` if it never does.
    type Errand;

    /// During loading: applies the record at `offset` of the log. `producer` is that of its batch, if the batch is
    /// transactional.
    fn replay(&mut self, offset: Offset, producer: Option<ProducerId>, record: &Self::Record);

    /// Ends the producer's open transaction, if it has one here: its marker is in the log. Called during loading and
    /// afterwards.
    fn end_transaction(&mut self, producer: ProducerId, result: TransactionResult);

    /// The whole log has been replayed. From now on there are steps, and no more calls of [`Machine::replay`].
    fn loaded(&mut self, now_ms: i64);

    /// Takes one input. While a write is in progress, the only inputs are its outcome, `Resign`, and commands that
    /// [`Machine::can_take`] allows.
    fn step(&mut self, now_ms: i64, input: Input<Self::Token, Self::Command>, out: &mut Vec<EffectOf<Self>>);

    /// When the next [`Input::Tick`] is due. It may be due again right after a tick, since one tick does not always do
    /// everything.
    fn next_deadline_ms(&self) -> Option<i64>;

    /// Whether the command may be taken before the outcome of the writes in progress is known. It may if its reply and
    /// its records are right whatever that outcome is.
    fn can_take(&self, command: &Self::Command) -> bool;

    /// Whether a command that arrives during loading waits until the shard is loaded. Otherwise it is refused.
    fn outlasts_loading(command: &Self::Command) -> bool;

    /// The reply with `error` for every part of the command.
    fn refused(command: &Self::Command, error: ErrorCode) -> Self::Reply;

    /// The same reply, with `error` in each place where it reported success: its records were not replicated in time.
    fn withdrawn(reply: Self::Reply, error: ErrorCode) -> Self::Reply;

    /// The reply to a caller that has ended a transaction.
    fn transaction_ended(outcome: ErrorCode) -> Self::Reply;
}

/// What a machine keeps in the log. A value of `None` is a tombstone: it deletes the key.
pub trait Record: Sized {
    /// Why bytes could not be parsed.
    type Unreadable: fmt::Display;

    fn to_key_value(&self) -> (Bytes, Option<Bytes>);

    /// `None`: the record has a type of a later version. It is ignored, and stays in the log.
    fn from_key_value(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Self>, Self::Unreadable>;
}

/// The inputs of a machine.
#[derive(Debug)]
pub enum Input<T, C> {
    Ask {
        token: T,
        command: C,
    },
    /// The outcome of an [`Effect::Write`]: the offset of its first record, or an error, which means that nothing was
    /// appended.
    Written {
        ticket: Ticket,
        result: Result<Offset, ErrorCode>,
    },
    /// The metadata has changed. The first image comes before the first command.
    Image(Arc<Image>),
    /// Time has passed, at least until [`Machine::next_deadline_ms`].
    Tick,
    /// The shard moves to another broker: every waiting caller gets this error. The state must not be used afterwards.
    Resign(ErrorCode),
}

/// The effects of one machine.
pub type EffectOf<M> =
    Effect<<M as Machine>::Token, <M as Machine>::Reply, <M as Machine>::Record, <M as Machine>::Errand>;

/// What a machine wants to be done.
#[derive(Debug)]
pub enum Effect<T, R, W, E = Infallible> {
    Reply {
        token: T,
        reply: R,
    },
    /// Append all of these records in one batch, or none. `transaction`: the batch is transactional.
    Write {
        ticket: Ticket,
        records: Vec<W>,
        transaction: Option<InTransaction>,
    },
    /// Have this done elsewhere, once everything that the machine has applied is replicated: a coordinator that is
    /// replaced must not have acted on records that its successor does not have. What it comes to is told by a command.
    Errand(E),
    /// A line for the broker's log.
    Note(Note),
}

/// Identifies a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// The producer of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// The transaction that records are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransaction {
    pub producer: Producer,
    /// What the log has given out for its first batch there. `None`: the transaction was open there already.
    pub guard: Option<VerificationGuard>,
}

impl From<Producer> for InTransaction {
    /// It is open there already.
    fn from(producer: Producer) -> InTransaction {
        InTransaction { producer, guard: None }
    }
}

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(pub String);

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Random numbers.
pub type Chance = Box<dyn FnMut() -> u64 + Send>;
