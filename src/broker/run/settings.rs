//! The configuration in force: what the broker was started with, and what the metadata lays over it (KIP-226). Whoever
//! acts on a setting looks here each time. It must never know what a setting does.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ottla_model::NodeId;
use ottla_model::config::{BrokerConfig, ConfigError, Dynamic, DynamicScope, check_dynamic_config};
use ottla_model::image::Image;
use ottla_model::record::ResourceType;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tracing::{error, info, warn};

/// Kept by the follower thread, read by everybody.
#[derive(Debug)]
pub(crate) struct Settings {
    started_with: BrokerConfig,
    now: ArcSwap<BrokerConfig>,
    changed: Notify,
}

impl Settings {
    pub fn new(config: BrokerConfig) -> Settings {
        Settings { now: ArcSwap::from_pointee(config.clone()), started_with: config, changed: Notify::new() }
    }

    /// What counts at this moment.
    pub fn now(&self) -> Guard<Arc<BrokerConfig>> {
        self.now.load()
    }

    /// Ends with the next change; it begins to listen when it is made.
    pub fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Takes over what the metadata says of this broker. Whether that was news.
    pub fn follow(&self, me: NodeId, image: &Image) -> bool {
        let of = |name: &str| image.configs(ResourceType::Broker, name).cloned().unwrap_or_default();
        let config = match self.laid_over(&of(&me.to_string()), &of("")) {
            Ok(config) => config,
            Err(error) => {
                error!(%error, "the dynamic configuration cannot be applied; the one before stays in force");
                return false;
            }
        };
        if config == **self.now.load() {
            return false;
        }
        info!("the dynamic configuration has changed");
        self.now.store(Arc::new(config));
        self.changed.notify_waiters();
        true
    }

    // What was stored by another version, or by Apache Kafka, may be nothing for this one: the rest still counts.
    fn laid_over(
        &self,
        per_broker: &BTreeMap<String, String>,
        cluster_default: &BTreeMap<String, String>,
    ) -> Result<BrokerConfig, ConfigError> {
        let whole = Dynamic { per_broker, cluster_default };
        self.started_with.with_dynamic(whole).or_else(|_| {
            let per_broker = valid(per_broker, DynamicScope::OneBroker);
            let cluster_default = valid(cluster_default, DynamicScope::AllBrokers);
            let rest = Dynamic { per_broker: &per_broker, cluster_default: &cluster_default };
            self.started_with.with_dynamic(rest)
        })
    }
}

fn valid(stored: &BTreeMap<String, String>, scope: DynamicScope) -> BTreeMap<String, String> {
    let mut kept = stored.clone();
    kept.retain(|name, value| match check_dynamic_config(name, value, scope) {
        Ok(()) => true,
        Err(error) => {
            warn!(%error, "ignoring a dynamic setting");
            false
        }
    });
    kept
}
