//! Who waits for an append: a producer's request, or a coordinator's shard.

use ottla_log::log::{Appended, Refused};
use ottla_protocol::ErrorCode;
use tokio::sync::oneshot;

use super::produce::Slot;

/// Dropped without an answer, it says KAFKA_STORAGE_ERROR: nobody waits for ever.
#[derive(Debug)]
pub(crate) enum Waiter {
    Producer(Slot),
    Shard(oneshot::Sender<Result<Appended, ErrorCode>>),
}

impl Waiter {
    pub fn fill(self, outcome: Result<Appended, Refused>) {
        match self {
            Waiter::Producer(slot) => slot.fill(outcome),
            // A shard that is gone has nobody to tell.
            Waiter::Shard(waiting) => drop(waiting.send(outcome.map_err(|refused| refused.code))),
        }
    }

    /// The partition does not live here any more.
    pub fn refuse(self) {
        match self {
            Waiter::Producer(slot) => slot.refuse(),
            Waiter::Shard(waiting) => drop(waiting.send(Err(ErrorCode::NotLeaderOrFollower))),
        }
    }
}
