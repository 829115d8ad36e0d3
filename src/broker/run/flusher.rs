//! A pool of threads that wait for disks: fsyncs, which go faster many at a time, and files to be removed later.
//! Threads start when there is work and end when there is none for a while, so that an idle broker has none.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ottla_log::log::Retired;
use parking_lot::{Condvar, Mutex};
use tracing::{error, warn};

use crate::broker::now_ms;

/// As many syncs as may be under way at once; devices gain up to about here.
const THREADS_MAX: usize = 16;
/// A thread without work ends after this.
const LINGER: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Pool {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

/// Clones share the pool.
#[derive(Clone, Default)]
pub(crate) struct Flushers {
    pool: Arc<(Mutex<Pool>, Condvar)>,
    retired: Arc<Mutex<Vec<Retired>>>,
}

impl Flushers {
    /// Runs a job on some thread, soon.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let (pool, arrived) = &*self.pool;
        let mut state = pool.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= THREADS_MAX {
            arrived.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = self.pool.clone();
        let started = std::thread::Builder::new().name("flusher".into()).spawn(move || work(&shared));
        if let Err(error) = started {
            // Another thread may take it; with none at all it is done here and now.
            warn!(%error, "cannot start a flusher thread");
            let mut state = pool.lock();
            state.threads -= 1;
            let job = if state.threads == 0 { state.jobs.pop_back() } else { None };
            drop(state);
            if let Some(job) = job {
                carry_out(job);
            }
        }
    }

    /// Keeps files until they are due.
    pub fn retire(&self, retired: Vec<Retired>) {
        self.retired.lock().extend(retired);
    }

    /// Removes the files that are due; with `all`, the others too.
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

// A thread that ended here would still count as one, and with all of them gone every flush would wait for ever.
fn carry_out(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        error!("a flusher's job panicked");
    }
}

// A job is pushed under the lock, and a thread looks for one under the lock before it waits: none is missed between the two.
fn work(shared: &(Mutex<Pool>, Condvar)) {
    let (pool, arrived) = shared;
    let mut state = pool.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            carry_out(job);
            state = pool.lock();
            continue;
        }
        state.idle += 1;
        let waited = arrived.wait_for(&mut state, LINGER);
        state.idle -= 1;
        if waited.timed_out() && state.jobs.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_that_panic_do_not_use_up_the_threads() {
        let flushers = Flushers::default();
        for _ in 0..3 * THREADS_MAX {
            flushers.run(|| panic!("on purpose"));
        }
        let (done, ends) = channel();
        for number in 0..3 * THREADS_MAX {
            let done = done.clone();
            flushers.run(move || done.send(number).expect("somebody waits"));
        }
        drop(done);
        assert_eq!(ends.iter().count(), 3 * THREADS_MAX);
    }
}
