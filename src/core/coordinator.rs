//! The contract between a coordinator's machine and the shard that runs it, which is Kafka's `CoordinatorShard`. A machine decides:
//! a command goes in, records to write and replies come out. Group coordinators and transaction coordinators are
//! machines; `ottla_node::coordinator` runs them and joins them to a partition of their log.
//! Nothing in here may know what the records are about.
//!
//! A machine changes what its records say only by applying them, and applies them only once they are in the log: by
//! [`Machine::replay`] while it is loaded, and by itself when [`Input::Written`] says so. Several of its writes may be
//! under way at once, and the log takes each of them whole or not at all. The outcomes come in the order of the writes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::image::Image;
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId};

/// One partition's share of a coordinator.
pub trait Machine {
    /// What a caller finds its client by. Each one that comes in goes out in one reply.
    type Token;
    type Command;
    type Reply;
    type Record: Record;

    /// While loading: applies a record that the log has at `offset`. `producer` is the batch's, if that is transactional.
    fn replay(&mut self, offset: Offset, producer: Option<ProducerId>, record: &Self::Record);

    /// Ends the transaction that the producer has open here, if any: the log has its marker. Comes while loading and
    /// afterwards.
    fn end_transaction(&mut self, producer: ProducerId, result: TransactionResult);

    /// The log has been replayed to its end. Steps come from now on, and no more [`Machine::replay`].
    fn loaded(&mut self, now_ms: i64);

    /// Takes one input. While a write is under way, only its outcome, the end, and commands that
    /// [`Machine::can_take`] allows may come.
    fn step(
        &mut self,
        now_ms: i64,
        input: Input<Self::Token, Self::Command>,
        out: &mut Vec<Effect<Self::Token, Self::Reply, Self::Record>>,
    );

    /// When an [`Input::Tick`] is wanted. It may have passed already: one tick does not always do all.
    fn next_deadline_ms(&self) -> Option<i64>;

    /// Whether the command may be decided before the outcome of the writes under way is known. It may be if its answer
    /// and its records are right whatever that outcome is.
    fn can_take(&self, command: &Self::Command) -> bool;

    /// Whether the command waits until the shard is loaded, and is not refused meanwhile.
    fn outlasts_loading(command: &Self::Command) -> bool;

    /// The reply that says `error` to all of the command.
    fn refused(command: &Self::Command, error: ErrorCode) -> Self::Reply;

    /// The same reply saying `error` wherever it said that all was well: it did not become true in time.
    fn withdrawn(reply: Self::Reply, error: ErrorCode) -> Self::Reply;

    /// The reply to who has a transaction ended.
    fn transaction_ended(outcome: ErrorCode) -> Self::Reply;
}

/// What a machine remembers by. A value of `None` is a tombstone: the key is forgotten.
pub trait Record: Sized {
    /// Why bytes are no record.
    type Unreadable: fmt::Display;

    fn to_key_value(&self) -> (Bytes, Option<Bytes>);

    /// `None` if it is of a type that came later: it is nothing to us, and stays in the log.
    fn from_key_value(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Self>, Self::Unreadable>;
}

/// What happens to a machine.
#[derive(Debug)]
pub enum Input<T, C> {
    Ask {
        token: T,
        command: C,
    },
    /// The outcome of a [`Effect::Write`]: the offset of its first record. An error says that nothing was appended.
    Written {
        ticket: Ticket,
        result: Result<Offset, ErrorCode>,
    },
    /// The metadata has changed. The first one comes before the first command.
    Image(Arc<Image>),
    /// Time has passed, at least to [`Machine::next_deadline_ms`].
    Tick,
    /// The shard is somebody else's from now on: whoever waits is told this error. The state is of no use afterwards.
    Resign(ErrorCode),
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Effect<T, R, W> {
    Reply {
        token: T,
        reply: R,
    },
    /// Append all of these records in one batch, or none. `transaction` makes it a transactional batch.
    Write {
        ticket: Ticket,
        records: Vec<W>,
        transaction: Option<Producer>,
    },
    /// A line for the broker's log.
    Note(Note),
}

/// Tells a write from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// Whose transaction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
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
