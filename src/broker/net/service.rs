//! What stands behind a listener: who answers its requests, and what its connections share with those of other
//! listeners. The node that it belongs to is behind the dispatcher, so that a listener can be served without a broker.

use std::sync::Arc;

use ottla_protocol::api::Listener;

use super::census::Census;
use super::memory::RequestMemory;
use crate::request::Dispatcher;
use crate::run::owners::settings::Settings;
use crate::run::work::threads::Threads;
use crate::stop::Stopping;

/// One for each listener.
pub(crate) struct Service {
    /// Which APIs are answered.
    pub kind: Listener,
    pub dispatcher: Arc<dyn Dispatcher>,
    pub settings: Arc<Settings>,
    pub census: Arc<Census>,
    pub request_memory: RequestMemory,
    /// They read from disk what is not in memory, so that no thread that serves clients waits for it.
    pub readers: Threads,
    pub stopping: Stopping,
}
