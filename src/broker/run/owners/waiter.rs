//! Who waits for a lane of this broker: a producer's request, a coordinator's shard, somebody who wants records deleted, a
//! cleaner or a mover.

use std::convert::Infallible;
use std::sync::Arc;

use ottla_log::log::{Appended, Log, NotMoved, Refused};
use ottla_node::lane::Waiters;
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::oneshot;

use super::volume::Volume;
use crate::run::serve::produce::Slot;

/// By what was asked. Each of them hears something also if its token is dropped: nobody waits for ever.
#[derive(Debug)]
pub(crate) enum Waiting {}

impl Waiters for Waiting {
    type Append = Appender;
    /// Hears where the log starts now.
    type Deletion = oneshot::Sender<Result<Offset, ErrorCode>>;
    /// Hears whether its output is in place.
    type Swap = oneshot::Sender<Result<(), String>>;
    type Move = Mover;
    /// One node has no other replicas: nobody fetches or follows here yet.
    type Fetch = Infallible;
    type Fetcher = Infallible;
}

/// Somebody who wants a batch appended.
#[derive(Debug)]
pub(crate) enum Appender {
    Producer(Slot),
    Shard(oneshot::Sender<Result<Appended, ErrorCode>>),
}

/// Somebody who wants a log moved.
#[derive(Debug)]
pub(crate) struct Mover {
    /// Hears which log is left behind, or why it has not moved.
    pub waiting: oneshot::Sender<Result<Box<Log>, NotMoved>>,
    /// Where the log is to move to.
    pub volume: Option<Arc<Volume>>,
}

impl Appender {
    pub fn fill(self, outcome: Result<Appended, Refused>) {
        match self {
            Appender::Producer(slot) => slot.fill(outcome),
            Appender::Shard(waiting) => tell(waiting, outcome.map_err(|refused| refused.code)),
        }
    }

    /// The partition is not on this broker any more.
    pub fn refuse(self) {
        match self {
            Appender::Producer(slot) => slot.refuse(),
            Appender::Shard(waiting) => tell(waiting, Err(ErrorCode::NotLeaderOrFollower)),
        }
    }
}

/// Whoever asked may have stopped waiting, and then has nothing to hear.
pub(crate) fn tell<T>(waiting: oneshot::Sender<T>, outcome: T) {
    let _ = waiting.send(outcome);
}
