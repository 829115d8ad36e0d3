//! What the parts of a running broker share: what every node has, the partitions that live here, and its coordinators.
//! Each piece of state behind it has an owner of its own.

use std::ops::Deref;
use std::sync::Arc;

use ottla_core::session::{Limits, Sessions};
use ottla_model::config::BrokerConfig;
use parking_lot::Mutex;

use crate::node::Node;
use crate::run::owners::groups::GroupCoordinator;
use crate::run::owners::markers::MarkerWriter;
use crate::run::owners::partitions::Partitions;
use crate::run::owners::producer_ids::ProducerIds;
use crate::run::owners::storage::Storage;
use crate::run::owners::throttling::Throttled;
use crate::run::owners::transactions::TransactionCoordinator;
use crate::run::serve::verify::Joining;
use crate::run::serve::watch::Watch;
use crate::run::work::fetchers::Fetchers;
use crate::run::work::mover::Movers;
use crate::run::work::post::Post;

/// A running broker. It is a node, and is used as one.
pub(crate) struct Broker {
    pub node: Arc<Node>,
    pub storage: Arc<Storage>,
    pub partitions: Arc<Partitions>,
    /// Those of other replicas have somebody who tells them what has changed.
    pub sessions: Mutex<Sessions<Option<Arc<Watch>>>>,
    pub groups: Arc<GroupCoordinator>,
    pub transactions: TransactionCoordinator,
    pub markers: Arc<MarkerWriter>,
    /// Partitions of transactions, on their way to their coordinators.
    pub joining: Post<Joining>,
    pub fetchers: Arc<Fetchers>,
    /// What is sent to replicas that are filled.
    pub sent: Throttled,
    pub movers: Movers,
    pub producer_ids: Arc<ProducerIds>,
}

impl Deref for Broker {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// Kafka's MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS.
const SESSION_EVICTION_MS: i64 = 120_000;

/// An empty session cache of the configured size.
pub(crate) fn sessions(config: &BrokerConfig) -> Mutex<Sessions<Option<Arc<Watch>>>> {
    let slots = config.max_incremental_fetch_session_cache_slots.max(0) as usize;
    Mutex::new(Sessions::new(Limits { slots, eviction_ms: SESSION_EVICTION_MS }))
}
