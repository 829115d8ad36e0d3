//! Logs the progress of opening many logs, for an operator who reads the log during a start. For a few logs nothing is
//! written.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::info;

/// A line is written this often.
const EVERY: Duration = Duration::from_secs(2);
/// If there are fewer logs than this, and they are open within [`EVERY`], nothing is written.
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
