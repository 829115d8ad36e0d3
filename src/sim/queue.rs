//! Virtual time and what is to happen in it, in the order of (time, sequence). It must never know what an event means.

use std::collections::BTreeMap;

/// Events to come.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    now_ms: i64,
    sequence: u64,
    events: BTreeMap<(i64, u64), E>,
}

impl<E> Queue<E> {
    pub fn starting_at(now_ms: i64) -> Queue<E> {
        Queue { now_ms, sequence: 0, events: BTreeMap::new() }
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Events of one moment happen in the order in which they were planned.
    pub fn after(&mut self, delay_ms: i64, event: E) {
        self.at(self.now_ms + delay_ms, event);
    }

    /// Not before now.
    pub fn at(&mut self, time_ms: i64, event: E) {
        self.sequence += 1;
        self.events.insert((time_ms.max(self.now_ms), self.sequence), event);
    }

    /// The next event; its time becomes now.
    pub fn next(&mut self) -> Option<E> {
        let ((time_ms, _), event) = self.events.pop_first()?;
        self.now_ms = time_ms;
        Some(event)
    }
}
