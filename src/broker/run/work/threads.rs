//! Threads for jobs that wait for a disk. They start when there is work and end when there was none for a while, so that
//! an idle broker has none. It must never know what the jobs are.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::{error, warn};

/// A thread ends after this time without work.
const LINGER: Duration = Duration::from_secs(5);

/// So many threads may as well wait for the disk together: a file system makes one sync of many.
pub(crate) const SYNCING_THREADS: usize = 16;

/// Does that with each of the items, on at most so many threads that may wait for the disk. The results are in any order. A
/// panic goes on in the caller.
pub(crate) fn on_each<T: Send, R: Send>(items: Vec<T>, most: usize, act: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = most.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(act).collect();
    }
    let queue = Mutex::new(items.into_iter());
    // A statement of its own, so that the lock is released while the item is at work.
    let next = || queue.lock().next();
    let work = || std::iter::from_fn(next).map(&act).collect::<Vec<R>>();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.flat_map(|results| results.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Pool {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

/// Clones share the threads.
#[derive(Clone)]
pub(crate) struct Threads {
    name: &'static str,
    most: usize,
    pool: Arc<(Mutex<Pool>, Condvar)>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("name", &self.name).field("most", &self.most).finish_non_exhaustive()
    }
}

impl Threads {
    /// A pool with at most this many threads.
    pub fn new(name: &'static str, most: usize) -> Threads {
        Threads { name, most, pool: Arc::default() }
    }

    /// How many jobs wait for a thread.
    pub fn waiting(&self) -> usize {
        self.pool.0.lock().jobs.len()
    }

    /// Runs a job on one of the threads, soon. With a single thread, the jobs run one after the other.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let (pool, arrived) = &*self.pool;
        let mut state = pool.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= self.most {
            arrived.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = self.pool.clone();
        let started = std::thread::Builder::new().name(self.name.into()).spawn(move || work(&shared));
        if let Err(error) = started {
            // A running thread may take the job. If there is none, it runs here and now.
            warn!(%error, "cannot start a {} thread", self.name);
            let mut state = pool.lock();
            state.threads -= 1;
            let job = if state.threads == 0 { state.jobs.pop_back() } else { None };
            drop(state);
            if let Some(job) = job {
                carry_out(job);
            }
        }
    }
}

// A panic must not end the thread: it would still be counted, and with all threads gone every job would wait for ever.
fn carry_out(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        error!("a job that waits for a disk panicked");
    }
}

// Jobs are added under the lock, and a thread checks for jobs under the lock before it waits, so it misses none.
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
        let threads = Threads::new("test", 16);
        for _ in 0..50 {
            threads.run(|| panic!("on purpose"));
        }
        let (done, ends) = channel();
        for number in 0..50 {
            let done = done.clone();
            threads.run(move || done.send(number).expect("somebody waits"));
        }
        drop(done);
        assert_eq!(ends.iter().count(), 50);
    }

    #[test]
    fn one_thread_does_one_after_the_other() {
        let threads = Threads::new("test", 1);
        let (go, may_go) = channel();
        let (done, ends) = channel();
        threads.run(move || may_go.recv().expect("it is told"));
        for number in 0..20 {
            let done = done.clone();
            threads.run(move || done.send(number).expect("somebody waits"));
        }
        assert!(threads.waiting() >= 20);
        go.send(()).expect("it waits");
        drop(done);
        assert_eq!(ends.iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        assert_eq!(threads.waiting(), 0);
    }
}
