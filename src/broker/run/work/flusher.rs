//! Threads that wait for disks: for fsyncs, which are faster many at a time, and for removing files later.

use std::sync::Arc;

use ottla_log::log::Retired;
use parking_lot::Mutex;
use tracing::warn;

use super::threads::Threads;
use crate::clock::now_ms;

/// The most syncs at once. Up to about this number, devices become faster.
const THREADS_MAX: usize = 16;

/// Clones share the threads.
#[derive(Clone)]
pub(crate) struct Flushers {
    threads: Threads,
    retired: Arc<Mutex<Vec<Retired>>>,
}

impl Default for Flushers {
    fn default() -> Flushers {
        Flushers { threads: Threads::new("flusher", THREADS_MAX), retired: Arc::default() }
    }
}

impl Flushers {
    /// Runs a job on one of the threads, soon.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.threads.run(job);
    }

    /// Keeps these files until they are due.
    pub fn retire(&self, retired: Vec<Retired>) {
        self.retired.lock().extend(retired);
    }

    /// Removes the files that are due; with `all`, the other ones, too.
    pub fn remove_due(&self, all: bool) {
        let now = now_ms();
        let mut retired = self.retired.lock();
        let (due, later) = retired.drain(..).partition(|r: &Retired| all || r.due_ms <= now);
        *retired = later;
        drop(retired);
        for files in due {
            if let Err(error) = files.run() {
                warn!(%error, "cannot remove a retired log file");
            }
        }
    }
}
