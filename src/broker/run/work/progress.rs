//! How far the opening of many logs has come, for whoever waits for it and reads the log. A few logs are not worth a
//! line.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::info;

/// A line as often as this.
const EVERY: Duration = Duration::from_secs(2);
/// Fewer logs than this, opened within [`EVERY`], are passed over.
const MANY: usize = 100;

pub(crate) struct Progress {
    all: usize,
    began: Instant,
    state: Mutex<OpenedSoFar>,
}

struct OpenedSoFar {
    opened: usize,
    said: Instant,
}

impl Progress {
    pub fn of(all: usize) -> Progress {
        let began = Instant::now();
        Progress { all, began, state: Mutex::new(OpenedSoFar { opened: 0, said: began }) }
    }

    pub fn one_more(&self) {
        let mut state = self.state.lock();
        state.opened += 1;
        if state.said.elapsed() >= EVERY {
            state.said = Instant::now();
            info!(opened = state.opened, of = self.all, "opening logs");
        }
    }

    pub fn end(&self) {
        let took = self.began.elapsed();
        if self.all >= MANY || took >= EVERY {
            info!(logs = self.all, took_ms = took.as_millis() as u64, "opened the logs");
        }
    }
}
