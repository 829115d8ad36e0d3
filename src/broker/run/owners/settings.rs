//! The configuration in force. Code that depends on a setting reads it here each time. It must never know what a setting
//! does, or where it comes from.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ottla_model::config::BrokerConfig;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Written by the publisher thread, read by everybody.
#[derive(Debug)]
pub(crate) struct Settings {
    now: ArcSwap<BrokerConfig>,
    changed: Notify,
}

impl Settings {
    /// The configuration that the broker was started with.
    pub fn new(config: Arc<BrokerConfig>) -> Settings {
        Settings { now: ArcSwap::new(config), changed: Notify::new() }
    }

    /// The configuration at this moment.
    pub fn now(&self) -> Guard<Arc<BrokerConfig>> {
        self.now.load()
    }

    /// Ends with the next change after this call.
    pub fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub fn put(&self, config: Arc<BrokerConfig>) {
        self.now.store(config);
        self.changed.notify_waiters();
    }
}
