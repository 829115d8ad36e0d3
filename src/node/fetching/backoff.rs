//! How long to wait before the next attempt: a little at first, twice as long each time. After a change of leaders the two
//! brokers hear of it one after the other, so that the first attempt often comes only milliseconds too early.

#[derive(Clone, Debug)]
pub struct Backoff {
    next_ms: i64,
    max_ms: i64,
}

impl Backoff {
    pub fn new(max_ms: i64) -> Backoff {
        Backoff { next_ms: FIRST_MS.min(max_ms), max_ms }
    }

    /// How long to wait this time.
    pub fn next_ms(&mut self) -> i64 {
        let ms = self.next_ms;
        self.next_ms = ms.saturating_mul(2).min(self.max_ms);
        ms
    }

    /// An attempt went well.
    pub fn reset(&mut self) {
        self.next_ms = FIRST_MS.min(self.max_ms);
    }
}

const FIRST_MS: i64 = 20;
