//! Marks the threads that serve clients. A call that changes names or waits for a sync can take as long as the disk's
//! journal, more than a second when the disk is busy; on a thread that serves many connections it would delay all of
//! them. Such calls belong on other threads, and this module reports those that do not. Must never move a call to another
//! thread.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static SERVES: Cell<bool> = const { Cell::new(false) };
    static CACHED_ONLY: Cell<bool> = const { Cell::new(false) };
}

/// Inside `read`, this thread reads only from memory: bytes that only the device has give `WouldBlock`, and the caller
/// repeats the read on a thread that may wait. A disk in memory ignores this.
pub fn cached_only<R>(read: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            CACHED_ONLY.set(self.0);
        }
    }
    let _before = Before(CACHED_ONLY.replace(true));
    read()
}

pub(super) fn may_only_read_cached() -> bool {
    CACHED_ONLY.get()
}

/// From now on this thread counts as one that serves clients.
pub fn mark() {
    SERVES.set(true);
}

/// Inside `turn`, this thread counts as one that serves clients: for tests of what may run on such a thread.
pub fn serving<R>(turn: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            SERVES.set(self.0);
        }
    }
    let _before = Before(SERVES.replace(true));
    turn()
}

/// Whether this thread serves clients.
pub fn is_marked() -> bool {
    SERVES.get()
}

/// Called before a call that may wait. On a thread that serves clients it panics in a debug build, and otherwise writes a
/// line to the log, which the integration tests look for.
pub(super) fn must_not_wait(doing: &str, path: &Path) {
    if SERVES.get() {
        debug_assert!(false, "a thread that serves clients may not {doing} {}", path.display());
        if TOLD.fetch_add(1, Ordering::Relaxed) < TOLD_MAX {
            tracing::error!(path = %path.display(), "a thread that serves clients waits for the disk: {doing}");
        }
    }
}

static TOLD: AtomicU64 = AtomicU64::new(0);
const TOLD_MAX: u64 = 10;
