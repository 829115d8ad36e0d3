//! What the parts of a running broker share: the config, the newest metadata image, the partitions that live here,
//! and the ways to the controller. Each piece of state behind it has an owner of its own.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ottla_core::session::{Limits, Sessions};
use ottla_model::NodeId;
use ottla_model::config::BrokerConfig;
use ottla_model::image::Image;
use parking_lot::Mutex;

use crate::loggers::Loggers;
use crate::net::census::Census;
use crate::net::memory::RequestMemory;
use crate::run::owners::controller::Controller;
use crate::run::owners::groups::GroupCoordinator;
use crate::run::owners::partitions::Partitions;
use crate::run::owners::producer_ids::ProducerIds;
use crate::run::owners::settings::Settings;
use crate::run::owners::storage::Storage;
use crate::run::work::mover::Movers;
use crate::run::work::threads::Threads;
use crate::stop::Stopping;

/// A running broker.
pub(crate) struct Broker {
    pub me: NodeId,
    pub cluster_id: String,
    pub settings: Arc<Settings>,
    pub loggers: Loggers,
    pub storage: Arc<Storage>,
    pub partitions: Arc<Partitions>,
    pub sessions: Mutex<Sessions>,
    pub controller: Controller,
    pub groups: Arc<GroupCoordinator>,
    pub movers: Movers,
    pub producer_ids: ProducerIds,
    pub census: Arc<Census>,
    pub request_memory: RequestMemory,
    /// They read from disk what is not in memory, so that no thread that serves clients waits for it.
    pub readers: Threads,
    pub stopping: Stopping,
    pub image: Arc<ArcSwap<Image>>,
}

impl Broker {
    /// The configuration at this moment; ask again rather than keep it.
    pub fn config(&self) -> Guard<Arc<BrokerConfig>> {
        self.settings.now()
    }
}

/// Kafka's MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS.
const SESSION_EVICTION_MS: i64 = 120_000;

/// An empty session cache of the configured size.
pub(crate) fn sessions(config: &BrokerConfig) -> Mutex<Sessions> {
    let slots = config.max_incremental_fetch_session_cache_slots.max(0) as usize;
    Mutex::new(Sessions::new(Limits { slots, eviction_ms: SESSION_EVICTION_MS }))
}
