//! A broker's place in its cluster: what it registers with, and the way to have it join and leave.

use std::sync::Arc;

use ottla_core::controller::Registration;
use ottla_model::BrokerEpoch;
use ottla_model::config::BrokerConfig;
use ottla_model::image::Endpoint;
use ottla_node::lifecycle::{Lifecycle, Patience};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::info;
use uuid::Uuid;

use super::BootError;
use crate::clock::now_ms;
use crate::net::host_name;
use crate::net::listener::Bound;
use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;
use crate::run::owners::storage::Storage;
use crate::run::work::heart::{Heart, Standing};

/// A broker's place in its cluster.
pub(super) struct Membership {
    standing: watch::Receiver<Standing>,
    leave: watch::Sender<bool>,
}

impl Membership {
    /// The epoch under which it serves.
    pub async fn joined(&mut self) -> Result<BrokerEpoch, BootError> {
        let settled = self.standing.wait_for(|standing| *standing != Standing::Coming).await;
        match settled.map(|standing| standing.clone()) {
            Ok(Standing::Here(epoch)) => Ok(epoch),
            Ok(Standing::Refused(why)) => Err(BootError::Registration(why)),
            Ok(Standing::Coming | Standing::Left) | Err(_) => {
                Err(BootError::Registration("it was asked to leave".into()))
            }
        }
    }

    /// Hands over what it leads, as far as others can take it. The epoch that it had.
    pub async fn leave(&mut self) -> Option<BrokerEpoch> {
        let had = match &*self.standing.borrow() {
            Standing::Here(epoch) => Some(*epoch),
            _ => None,
        };
        self.leave.send_replace(true);
        let over = |standing: &Standing| matches!(standing, Standing::Left | Standing::Refused(_));
        // If the task has ended, it is over, too.
        let _ = self.standing.wait_for(over).await;
        had
    }
}

// Begins to tell the cluster everything that it must know of this broker before it serves, and that it is alive.
pub(super) async fn join(
    config: &BrokerConfig,
    controller: Controller,
    image: &Arc<Metadata>,
    storage: &Storage,
    bound: &[Bound],
    network: &Handle,
) -> Membership {
    let registration = Registration {
        id: config.node_id,
        incarnation: Uuid::new_v4(),
        endpoints: endpoints(config, bound, &own_name(config).await),
        rack: config.rack.clone(),
        log_dirs: storage.directory_ids(),
        features: Vec::new(),
    };
    let life = Lifecycle::new(registration, storage.found(), Patience::of(config), now_ms());
    let (standing, stands) = watch::channel(Standing::Coming);
    let (leave, leaves) = watch::channel(false);
    let heart = Heart { life, controller, image: image.clone(), standing, leave: leaves };
    network.spawn(heart.beat());
    Membership { standing: stands, leave }
}

// What clients are told where the configuration names no host; it is looked up only then.
async fn own_name(config: &BrokerConfig) -> String {
    if config.advertised_listeners.iter().all(|listener| listener.host.is_some()) {
        return String::new();
    }
    let found = tokio::task::spawn_blocking(host_name::canonical).await;
    let name = found.expect("looking a name up does not panic");
    info!(host = name, "advertised listeners without a host are told with the name of this machine");
    name
}

fn endpoints(config: &BrokerConfig, bound: &[Bound], host_name: &str) -> Vec<Endpoint> {
    let advertised = config.advertised_listeners.iter().filter_map(|listener| {
        let socket = bound.iter().find(|b| b.listener.name == listener.name)?;
        let resolved = listener.resolved(host_name, socket.address.port());
        Some(Endpoint {
            name: resolved.name,
            host: resolved.host.unwrap_or_default(),
            port: resolved.port,
            security_protocol: resolved.protocol.code(),
        })
    });
    advertised.collect()
}
