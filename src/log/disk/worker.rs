//! Threads that serve clients. A call that changes names or waits for a sync may take as long as the disk's journal does,
//! a second and more when it is busy, and a thread that serves many connections would hold them all up meanwhile. Such
//! calls belong on other threads; here is how that is noticed. Must never decide where something runs instead.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static SERVES: Cell<bool> = const { Cell::new(false) };
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
