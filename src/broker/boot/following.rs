//! How a node knows the metadata: as one of the controllers, or as one who follows their log.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use ottla_model::config::{BrokerConfig, Role};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::control::Control;
use super::failure::{BootError, FirstFailure};
use super::observation::Observation;
use crate::loggers::Loggers;
use crate::net::listener::Bound;
use crate::run::owners::controller::Commands;
use crate::run::owners::leading::Leading;
use crate::run::owners::metadata::Metadata;
use crate::run::owners::publisher::Notice;
use crate::run::owners::storage::Storage;
use crate::run::work::flusher::Flushers;

/// What follows the metadata log on this node.
pub(super) enum Following {
    Control(Control),
    Observation(Observation),
}

/// What it works with.
pub(super) struct Companions<'a> {
    /// Where a broker on this node hears of the metadata.
    pub said: &'a Sender<Notice>,
    pub flushers: Flushers,
    pub ends: FirstFailure,
}

impl Following {
    pub fn start(
        config: &Arc<BrokerConfig>,
        storage: &Storage,
        companions: Companions<'_>,
    ) -> Result<Following, BootError> {
        let Companions { said, flushers, ends } = companions;
        if config.has_role(Role::Controller) {
            let publisher = config.has_role(Role::Broker).then(|| said.clone());
            return Control::start(config, storage, publisher, flushers, ends).map(Following::Control);
        }
        Observation::start(config, storage, said.clone(), flushers, ends).map(Following::Observation)
    }

    /// Serves the controller listeners, if this node is a controller.
    pub fn serve(
        &self,
        config: &Arc<BrokerConfig>,
        storage: &Storage,
        loggers: Arc<Loggers>,
        bound: Vec<Bound>,
    ) {
        match self {
            Following::Control(control) => control.serve(config, storage, loggers, bound),
            Following::Observation(_) => {}
        }
    }

    /// The controller on this node, if it is one.
    pub fn commands(&self) -> Option<Commands> {
        match self {
            Following::Control(control) => Some(control.commands.clone()),
            Following::Observation(_) => None,
        }
    }

    /// What the controller of this node has agreed on.
    pub fn agreed(&self) -> Option<Arc<Metadata>> {
        match self {
            Following::Control(control) => Some(control.agreed.clone()),
            Following::Observation(_) => None,
        }
    }

    pub fn leading(&self) -> watch::Receiver<Leading> {
        match self {
            Following::Control(control) => control.leading.clone(),
            Following::Observation(observation) => observation.leading.clone(),
        }
    }

    /// The runtime on which a broker's heart beats, too.
    pub fn network(&self) -> &Handle {
        match self {
            Following::Control(control) => control.network(),
            Following::Observation(observation) => observation.network(),
        }
    }

    /// Ends it. May take a second.
    pub fn stop(self) {
        match self {
            Following::Control(control) => control.stop(),
            Following::Observation(observation) => observation.stop(),
        }
    }
}
