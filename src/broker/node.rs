//! What every node has, whatever its roles: who it is, its settings, the metadata as it knows it, the way to the active
//! controller, and what its listeners share. A broker (`broker.rs`) has logs and coordinators besides.

use std::sync::Arc;

use arc_swap::Guard;
use ottla_model::NodeId;
use ottla_model::config::BrokerConfig;

use crate::loggers::Loggers;
use crate::net::census::Census;
use crate::net::memory::RequestMemory;
use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;
use crate::run::owners::settings::Settings;
use crate::run::work::threads::Threads;
use crate::stop::Stopping;

/// A running node, as one of its roles sees it.
pub(crate) struct Node {
    pub me: NodeId,
    pub cluster_id: String,
    pub settings: Arc<Settings>,
    pub loggers: Arc<Loggers>,
    /// A controller's is what is agreed on; a broker's is what it has carried out.
    pub image: Arc<Metadata>,
    pub controller: Controller,
    pub census: Arc<Census>,
    pub request_memory: RequestMemory,
    /// They read from disk what is not in memory, so that no thread that serves clients waits for it.
    pub readers: Threads,
    pub stopping: Stopping,
}

impl Node {
    /// The configuration at this moment; ask again rather than keep it.
    pub fn config(&self) -> Guard<Arc<BrokerConfig>> {
        self.settings.now()
    }
}
