//! What has changed for one replica's fetch session: partitions say so themselves, so that a request looks at those alone,
//! and not at a thousand that are idle. It must never know what has changed about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_core::session::FetchKey;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Shared by a session and the partitions that it fetches.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    changed: Mutex<BTreeSet<FetchKey>>,
    notify: Notify,
}

impl Watch {
    /// The next request looks at these.
    pub fn mark(&self, keys: impl IntoIterator<Item = FetchKey>) {
        self.changed.lock().extend(keys);
    }

    /// Ends the waiting of a request, if there is one.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// What was marked since the last call.
    pub fn take(&self) -> BTreeSet<FetchKey> {
        std::mem::take(&mut *self.changed.lock())
    }

    /// Returns after a `wake` since this was last called. To be called by one request at a time.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// A partition's end of it. The session may be gone.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub watch: std::sync::Weak<Watch>,
    pub key: FetchKey,
}

impl Watcher {
    pub fn new(watch: &Arc<Watch>, key: FetchKey) -> Watcher {
        Watcher { watch: Arc::downgrade(watch), key }
    }

    pub fn is_of(&self, watch: &Arc<Watch>) -> bool {
        std::ptr::eq(self.watch.as_ptr(), Arc::as_ptr(watch))
    }
}
