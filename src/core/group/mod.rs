//! One shard of the group coordinator, which is one partition of `__consumer_offsets`: every group whose name falls
//! to it, and every offset that was committed there. A command goes in; records to write and replies come out.
//! It must never know how records are written or when they are replicated, and it sees no API version.

mod command;
mod reply;
mod settings;

use std::fmt;
use std::sync::Arc;

use ottla_model::group::GroupRecord;
use ottla_protocol::{ErrorCode, Offset, ProducerId};

pub use command::*;
pub use reply::*;
pub use settings::Settings;

/// What happens to a shard.
#[derive(Debug)]
pub enum Input<T> {
    Ask {
        token: T,
        command: Command,
    },
    /// The outcome of a [`Effect::Write`]: the offset of its first record. An error says that nothing was appended.
    Written {
        ticket: Ticket,
        result: Result<Offset, ErrorCode>,
    },
    /// Time has passed, at least to [`Groups::next_deadline_ms`].
    Tick,
    /// The shard is somebody else's from now on: whoever waits is told this error. The state is of no use afterwards.
    Resign(ErrorCode),
}

/// What a shard wants done. At most one of a step's effects is a [`Effect::Write`], and the next input is its
/// [`Input::Written`].
#[derive(Debug)]
pub enum Effect<T> {
    Reply {
        token: T,
        reply: Reply,
    },
    /// Append all of these records in one batch, or none. `transaction` makes it a transactional batch.
    Write {
        ticket: Ticket,
        records: Vec<GroupRecord>,
        transaction: Option<Producer>,
    },
    /// A line for the broker's log.
    Note(Note),
}

/// Tells a write from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(String);

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Random numbers, for member ids.
pub type Chance = Box<dyn FnMut() -> u64 + Send>;

/// The state of a shard. `T` is what a caller finds its client by; each one that comes in goes out in one reply.
pub struct Groups<T> {
    settings: Arc<Settings>,
    _tokens: Vec<T>,
}

impl<T> Groups<T> {
    pub fn new(settings: Arc<Settings>, _chance: Chance) -> Groups<T> {
        Groups { settings, _tokens: Vec::new() }
    }

    /// While loading: applies a record that the log has. `producer` is the batch's, if it is transactional.
    pub fn replay(&mut self, _offset: Offset, _producer: Option<ProducerId>, _record: &GroupRecord) {}

    /// While loading, and whenever a marker is appended: ends the transaction that the producer has open.
    pub fn end_transaction(&mut self, _producer: ProducerId, _committed: bool) {}

    /// After the last record: members have their session timeout from now on to be heard of.
    pub fn loaded(&mut self, _now_ms: i64) {}

    pub fn step(&mut self, _now_ms: i64, input: Input<T>, out: &mut Vec<Effect<T>>) {
        if let Input::Ask { token, command } = input {
            let reply = command.refused(ErrorCode::CoordinatorNotAvailable);
            out.push(Effect::Reply { token, reply });
        }
        let _ = &self.settings;
    }

    /// When a [`Input::Tick`] is wanted.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        None
    }
}
