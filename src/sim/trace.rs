//! The last things that happened, for whoever has to understand a failure. It must never influence a run.

use std::collections::VecDeque;
use std::fmt;

/// A bounded list of lines with their virtual times.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: VecDeque<(i64, String)>,
    max: usize,
}

impl Trace {
    pub fn keeping(max: usize) -> Trace {
        Trace { lines: VecDeque::new(), max }
    }

    pub fn note(&mut self, now_ms: i64, what: impl FnOnce() -> String) {
        if self.max == 0 {
            return;
        }
        if self.lines.len() == self.max {
            self.lines.pop_front();
        }
        self.lines.push_back((now_ms, what()));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(now_ms, line)| writeln!(f, "  {:>8} ms  {line}", now_ms - EPOCH_MS))
    }
}

/// When every run begins, in ms since 1970.
pub(crate) const EPOCH_MS: i64 = 1_700_000_000_000;
