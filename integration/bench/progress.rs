//! What goes on, for whoever waits: on standard error, with a clock if that is a terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::Kind;
use crate::workload::Workload;

pub struct Progress {
    total: u64,
    done: AtomicU64,
    /// "round 1 of 2"
    round: Mutex<String>,
    begun: Instant,
    expected: Duration,
    clock: Mutex<Option<Clock>>,
}

/// Counts down on the terminal until dropped.
struct Clock {
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// So many workloads, about so long with all that is around them.
    pub fn new(total: u64, expected: Duration) -> Progress {
        Progress {
            total,
            done: AtomicU64::new(0),
            round: Mutex::default(),
            begun: Instant::now(),
            expected,
            clock: Mutex::default(),
        }
    }

    pub fn round(&self, number: usize, of: usize) {
        *self.round.lock().unwrap_or_else(PoisonError::into_inner) = format!("round {number} of {of}");
    }

    pub fn says(&self, what: &str) {
        self.put_clock(None);
        eprintln!("{what}; {}", left(self.expected.saturating_sub(self.begun.elapsed())));
    }

    pub fn measures(&self, kind: Kind, workload: &Workload, time: Duration) {
        let number = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let round = self.round.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = format!("[{number}/{}] {}, {kind:?}, {round}", self.total, workload.name);
        self.says(&format!("{text}: about {} s", time.as_secs()));
        if std::io::stderr().is_terminal() {
            self.put_clock(Some(Clock::start(text, time)));
        }
    }

    fn put_clock(&self, clock: Option<Clock>) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }
}

impl Clock {
    fn start(text: String, time: Duration) -> Clock {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let begun = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                eprint!("\r\x1b[K{text}: {} s left\r", time.saturating_sub(begun.elapsed()).as_secs());
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Clock { stop }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        eprint!("\r\x1b[K");
    }
}

fn left(time: Duration) -> String {
    match time.as_secs() {
        0..90 => format!("{} s left in all", time.as_secs()),
        seconds => format!("about {} min left in all", seconds.div_ceil(60)),
    }
}
