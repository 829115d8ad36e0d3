//! The fetch of another replica is noted by the lane of each of its partitions: how far the replica is. The answer to the
//! fetch waits for that, because a lane may have to refuse it. It must never know what a lane does with a note.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The notes of one fetch. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noting(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    done: Notify,
}

#[derive(Debug, Default)]
struct State {
    missing: usize,
    /// Places of partitions in the fetch, and why they were refused.
    refused: Vec<(usize, ErrorCode)>,
}

/// The note for one partition. If it is dropped unanswered, the partition is not here any more.
#[derive(Debug)]
pub(crate) struct Note {
    noting: Arc<Shared>,
    place: usize,
    answered: bool,
}

impl Noting {
    /// A note for the partition at that place in the fetch.
    pub fn note(&self, place: usize) -> Note {
        self.0.state.lock().missing += 1;
        Note { noting: self.0.clone(), place, answered: false }
    }

    /// The partition at that place in the fetch has no lane any more that could take note.
    pub fn refuse(&self, place: usize, code: ErrorCode) {
        self.0.state.lock().refused.push((place, code));
    }

    /// Whether every lane has answered.
    pub fn is_done(&self) -> bool {
        self.0.state.lock().missing == 0
    }

    /// Waits until every lane has answered. To be called by one task only.
    pub async fn done(&self) {
        while !self.is_done() {
            self.0.done.notified().await;
        }
    }

    /// The partitions that were refused so far.
    pub fn refused(&self) -> Vec<(usize, ErrorCode)> {
        self.0.state.lock().refused.clone()
    }
}

impl Note {
    pub fn noted(mut self, outcome: Result<(), ErrorCode>) {
        self.answer(outcome);
    }

    fn answer(&mut self, outcome: Result<(), ErrorCode>) {
        self.answered = true;
        let mut state = self.noting.state.lock();
        state.missing -= 1;
        state.refused.extend(outcome.err().map(|code| (self.place, code)));
        if state.missing == 0 {
            self.noting.done.notify_one();
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Err(ErrorCode::NotLeaderOrFollower));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fetch_waits_for_every_lane_and_hears_who_refused() {
        let noting = Noting::default();
        assert!(noting.is_done(), "nobody was asked");
        let (first, second, third) = (noting.note(0), noting.note(1), noting.note(2));
        first.noted(Ok(()));
        second.noted(Err(ErrorCode::UnknownLeaderEpoch));
        assert!(!noting.is_done());
        drop(third);
        noting.done().await;
        let refused = [(1, ErrorCode::UnknownLeaderEpoch), (2, ErrorCode::NotLeaderOrFollower)];
        assert_eq!(noting.refused(), refused);
    }
}
