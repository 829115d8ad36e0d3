//! The waiters of this broker's lanes: a producer's request, a coordinator's shard, a request to delete records, a
//! cleaner, a mover, the verification of a transaction, the fetch of another replica, a fetcher of this broker.

use std::sync::Arc;

use ottla_log::log::{Appended, NotMoved, Refused};
use ottla_model::VerificationGuard;
use ottla_node::lane::{LeftBehind, Waiters};
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::oneshot;

use super::volume::Volume;
use crate::run::serve::noting::Note;
use crate::run::serve::produce::Slot;
use crate::run::work::fetchers::Report;

/// One token type for each kind of request. A token that is dropped gives an error to its waiter, so that nothing waits
/// for ever.
#[derive(Debug)]
pub(crate) enum Waiting {}

impl Waiters for Waiting {
    type Append = Appender;
    /// Gets the new log start.
    type Deletion = oneshot::Sender<Result<Offset, ErrorCode>>;
    /// Gets whether the output was swapped in.
    type Swap = oneshot::Sender<Result<(), String>>;
    type Move = Mover;
    /// Gets the guard, or nothing if the transaction is open there.
    type Verification = oneshot::Sender<Result<Option<VerificationGuard>, ErrorCode>>;
    type Fetch = Note;
    type Fetcher = Report;
}

/// The waiter of an append.
#[derive(Debug)]
pub(crate) enum Appender {
    Producer(Slot),
    /// The broker itself: a coordinator's shard, or whoever writes markers.
    Broker(oneshot::Sender<Result<Appended, ErrorCode>>),
}

/// The waiter of a move to another directory.
#[derive(Debug)]
pub(crate) struct Mover {
    /// Hears which folder is left behind, or why the log has not moved.
    pub waiting: oneshot::Sender<Result<LeftBehind, NotMoved>>,
    /// Where the log is to move to.
    pub volume: Option<Arc<Volume>>,
}

impl Appender {
    pub fn fill(self, outcome: Result<Appended, Refused>) {
        match self {
            Appender::Producer(slot) => slot.fill(outcome),
            Appender::Broker(waiting) => tell(waiting, outcome.map_err(|refused| refused.code)),
        }
    }

    /// The partition is not on this broker any more.
    pub fn refuse(self) {
        match self {
            Appender::Producer(slot) => slot.refuse(),
            Appender::Broker(waiting) => tell(waiting, Err(ErrorCode::NotLeaderOrFollower)),
        }
    }
}

/// Sends the outcome. This fails if the caller has stopped waiting, and does not matter then.
pub(crate) fn tell<T>(waiting: oneshot::Sender<T>, outcome: T) {
    let _ = waiting.send(outcome);
}
