//! Threads that serve clients. A call that changes names or waits for a sync may take as long as the disk's journal does,
//! a second and more when it is busy, and a thread that serves many connections would hold them all up meanwhile. Such
//! calls belong on other threads; here is how that is noticed. Must never decide where something runs instead.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static SERVES: Cell<bool> = const { Cell::new(false) };
    static CACHED_ONLY: Cell<bool> = const { Cell::new(false) };
}

/// Within `read` this thread reads from memory alone: what only the device has is `WouldBlock`, and who meets that asks
/// again on a thread which may wait. A disk that has no device takes no notice.
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

/// From now on this thread serves clients.
pub fn mark() {
    SERVES.set(true);
}

/// Whether this thread serves clients.
pub fn is_marked() -> bool {
    SERVES.get()
}

/// Before a call that may wait: in a debug build it ends the thread that serves clients, otherwise it leaves a line in the
/// log, which the integration tests look for.
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
