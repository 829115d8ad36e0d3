//! What a listener uses to serve its connections: the dispatcher that answers requests, and what connections share with
//! those of other listeners. The node is behind the dispatcher, so that a listener can be served without a broker.

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
    /// The kind of listener, which decides which APIs are answered.
    pub kind: Listener,
    pub dispatcher: Arc<dyn Dispatcher>,
    pub settings: Arc<Settings>,
    pub census: Arc<Census>,
    pub request_memory: RequestMemory,
    /// Threads that read from disk, so that no thread that serves clients waits for it.
    pub readers: Threads,
    pub stopping: Stopping,
}
