//! One switch that is turned once: the broker is stopping.

use std::sync::Arc;

use tokio::sync::watch;

/// Clones share the switch.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(Arc<watch::Sender<bool>>);

impl Stopping {
    pub fn new() -> Stopping {
        Stopping(Arc::new(watch::Sender::new(false)))
    }

    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// A way to wait for the switch again and again.
    pub fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    /// Returns once the switch is turned.
    pub async fn cancelled(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`, so this cannot fail before it is true.
        let _ = changes.wait_for(|stopping| *stopping).await;
    }
}

/// One waiter's view of the switch.
#[derive(Debug)]
pub(crate) struct Watch(watch::Receiver<bool>);

impl Watch {
    /// Whether the switch is turned.
    pub fn is_on(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once the switch is turned, or can never be.
    pub async fn cancelled(&mut self) {
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}
