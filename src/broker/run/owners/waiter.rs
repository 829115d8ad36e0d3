//! Who waits for a lane: a producer's request, a coordinator's shard, somebody who wants records deleted, a cleaner or a
//! mover.

use std::sync::Arc;

use ottla_log::log::{Appended, Log, NotMoved, Refused};
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::oneshot;

use super::volume::Volume;
use crate::run::serve::produce::Slot;

/// Dropped without an answer, it says KAFKA_STORAGE_ERROR: nobody waits for ever.
#[derive(Debug)]
pub(crate) enum Waiter {
    Producer(Slot),
    Shard(oneshot::Sender<Result<Appended, ErrorCode>>),
    /// Hears where the log starts now.
    Deletion(oneshot::Sender<Result<Offset, ErrorCode>>),
    /// Hears whether its output is in place.
    Cleaner(oneshot::Sender<Result<(), String>>),
    /// Hears which log is left behind, or why it has not moved to that volume.
    Mover {
        waiting: oneshot::Sender<Result<Box<Log>, NotMoved>>,
        volume: Option<Arc<Volume>>,
    },
}

impl Waiter {
    pub fn fill(self, outcome: Result<Appended, Refused>) {
        match self {
            Waiter::Producer(slot) => slot.fill(outcome),
            // A shard that is gone has nobody to tell.
            Waiter::Shard(waiting) => drop(waiting.send(outcome.map_err(|refused| refused.code))),
            _ => unreachable!("this is no append"),
        }
    }

    /// Records were deleted, or could not be.
    pub fn deleted(self, outcome: Result<Offset, Refused>) {
        match self {
            // Whoever asked may have stopped waiting.
            Waiter::Deletion(waiting) => drop(waiting.send(outcome.map_err(|refused| refused.code))),
            _ => unreachable!("this is no deletion"),
        }
    }

    /// A cleaner's output is in its place, or is not taken.
    pub fn swapped(self, outcome: Result<(), String>) {
        match self {
            // A cleaner that has ended leaves nothing to be done.
            Waiter::Cleaner(waiting) => drop(waiting.send(outcome)),
            _ => unreachable!("nobody else swaps"),
        }
    }

    /// Where a log is to move to, if anywhere.
    pub fn volume(&self) -> Option<Arc<Volume>> {
        match self {
            Waiter::Mover { volume, .. } => volume.clone(),
            _ => None,
        }
    }

    /// A log has moved, or has not.
    pub fn moved(self, outcome: Result<Box<Log>, NotMoved>) {
        match self {
            // A mover that has ended leaves nothing to be done.
            Waiter::Mover { waiting, .. } => drop(waiting.send(outcome)),
            _ => unreachable!("nobody else moves"),
        }
    }

    /// The partition does not live here any more.
    pub fn refuse(self) {
        let code = ErrorCode::NotLeaderOrFollower;
        match self {
            Waiter::Producer(slot) => slot.refuse(),
            Waiter::Shard(waiting) => drop(waiting.send(Err(code))),
            Waiter::Deletion(waiting) => drop(waiting.send(Err(code))),
            Waiter::Cleaner(waiting) => drop(waiting.send(Err("the partition does not live here".into()))),
            // Dropped, it says so.
            Waiter::Mover { waiting, .. } => drop(waiting),
        }
    }
}
