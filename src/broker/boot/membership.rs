//! A broker's place in its cluster: what it registers with, and the way to have it join and leave.

use std::sync::Arc;

use ottla_core::controller::Registration;
use ottla_model::BrokerEpoch;
use ottla_model::config::BrokerConfig;
use ottla_model::image::Endpoint;
use ottla_node::lifecycle::{Input, Lifecycle, Timing};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::info;
use uuid::Uuid;

use super::failure::BootError;
use crate::clock::now_ms;
use crate::net::host_name;
use crate::net::listener::Bound;
use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;
use crate::run::owners::storage::Storage;
use crate::run::work::heart::{Heart, Known, Standing};

/// For so long a broker that stops waits until others have taken over, as in Kafka.
const HAND_OVER_MS: i64 = 300_000;

/// A broker's place in its cluster.
pub(super) struct Membership {
    known: watch::Receiver<Known>,
    inputs: mpsc::UnboundedSender<Input>,
}

impl Membership {
    /// Waits until it serves.
    pub async fn joined(&mut self) -> Result<(), BootError> {
        let settled = self.known.wait_for(|known| known.standing != Standing::Coming).await;
        match settled.map(|known| known.standing.clone()) {
            Ok(Standing::Here) => Ok(()),
            Ok(Standing::Refused(why)) => Err(BootError::Registration(why)),
            Ok(Standing::Coming | Standing::Left) | Err(_) => {
                Err(BootError::Registration("it was asked to leave".into()))
            }
        }
    }

    /// Hands over what it leads, as far as others can take it. The epoch that it had.
    pub async fn leave(&mut self) -> Option<BrokerEpoch> {
        // If the task has ended, it is over, too.
        let _ = self.inputs.send(Input::Stop { deadline_ms: now_ms() + HAND_OVER_MS });
        let over = |known: &Known| matches!(known.standing, Standing::Left | Standing::Refused(_));
        let _ = self.known.wait_for(over).await;
        self.known.borrow().epoch
    }
}

/// What others have to say to a broker's life: both ends.
pub(super) type Inputs = (mpsc::UnboundedSender<Input>, mpsc::UnboundedReceiver<Input>);

// Begins to tell the cluster everything that it must know of this broker before it serves, and that it is alive.
pub(super) async fn join(
    config: &BrokerConfig,
    controller: Controller,
    image: &Arc<Metadata>,
    storage: &Storage,
    bound: &[Bound],
    (network, (inputs, hears)): (&Handle, Inputs),
    incarnation: Uuid,
) -> Membership {
    let registration = Registration {
        id: config.node_id,
        incarnation,
        endpoints: endpoints(config, bound, &own_name(config).await),
        rack: config.rack.clone(),
        log_dirs: storage.directory_ids(),
        features: Vec::new(),
        previous_epoch: storage.previous_epoch(),
    };
    let life = Lifecycle::new(registration, storage.found(), Timing::of(config));
    let (known, knows) = watch::channel(Known { standing: Standing::Coming, epoch: None });
    let heart = Heart { life, controller, image: image.clone(), known, inputs: hears };
    network.spawn(heart.beat());
    Membership { known: knows, inputs }
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
