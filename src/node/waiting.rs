//! Fetches of the metadata log that wait for something new. Whoever drives a controller keeps them here: it asks again after
//! each step, and at the next deadline.
//! It must never know what a fetch is answered with.

use crate::quorum::{Ends, Fetch, FetchAnswer, Served};

/// Fetches that wait. `T` is whatever finds the one who asked.
#[derive(Debug)]
pub struct Fetches<T> {
    waiting: Vec<Waiting<T>>,
    /// As of when all of them had nothing new.
    seen: Option<Ends>,
}

#[derive(Debug)]
struct Waiting<T> {
    token: T,
    fetch: Fetch,
    until_ms: i64,
}

impl<T> Default for Fetches<T> {
    fn default() -> Fetches<T> {
        Fetches { waiting: Vec::new(), seen: None }
    }
}

impl<T> Fetches<T> {
    /// A fetch has come, and `served` is what the quorum says to it. The answer, unless it waits.
    pub fn hear(
        &mut self,
        now_ms: i64,
        token: T,
        fetch: Fetch,
        max_wait_ms: i64,
        served: Served,
    ) -> Option<(T, FetchAnswer)> {
        match served {
            Served::NothingNew(_) if max_wait_ms > 0 => {
                let until_ms = now_ms + max_wait_ms.min(WAIT_MS_MAX);
                self.waiting.push(Waiting { token, fetch, until_ms });
                None
            }
            Served::Answer(answer) | Served::NothingNew(answer) => Some((token, answer)),
        }
    }

    /// To be called after each step, and at the next deadline: the answers to those that need not wait any longer.
    pub fn look_again(
        &mut self,
        now_ms: i64,
        ends: Ends,
        mut serve: impl FnMut(&Fetch) -> Served,
    ) -> Vec<(T, FetchAnswer)> {
        let moved = self.seen.replace(ends) != Some(ends);
        let due = |waiting: &Waiting<T>| now_ms >= waiting.until_ms;
        if self.waiting.is_empty() || !(moved || self.waiting.iter().any(due)) {
            return Vec::new();
        }
        let mut answers = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let is_due = due(&waiting);
            if !moved && !is_due {
                self.waiting.push(waiting);
                continue;
            }
            match serve(&waiting.fetch) {
                Served::NothingNew(_) if !is_due => self.waiting.push(waiting),
                Served::NothingNew(answer) | Served::Answer(answer) => answers.push((waiting.token, answer)),
            }
        }
        answers
    }

    /// When the next one has waited long enough. `None`: nobody waits.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.waiting.iter().map(|waiting| waiting.until_ms).min()
    }
}

/// Whoever asks may be gone long before.
const WAIT_MS_MAX: i64 = 30_000;
