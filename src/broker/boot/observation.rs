//! A node that is no controller, and how it follows the metadata log: the thread that observes, and the runtime of what it
//! says to controllers.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_log::Disk;
use ottla_log::disk::RealDisk;
use ottla_model::config::BrokerConfig;
use ottla_node::observer::{Observer as Machine, Settings};
use ottla_node::quorum::ReplicaKey;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, warn};

use super::failure::{BootError, FirstFailure};
use super::network::Network;
use crate::clock::now_ms;
use crate::run::owners::controller::Writer;
use crate::run::owners::controllers::Controllers;
use crate::run::owners::leading::Leading;
use crate::run::owners::observer::{self, Observing, Surroundings};
use crate::run::owners::publisher::Notice;
use crate::run::owners::storage::Storage;
use crate::run::work::asker::Asker;
use crate::run::work::flusher::Flushers;

/// An observer that follows.
pub(super) struct Observation {
    pub leading: watch::Receiver<Leading>,
    observing: Observing,
    thread: JoinHandle<()>,
    network: Network,
}

impl Observation {
    /// Starts the thread; `publisher` hears what the broker has to carry out.
    pub fn start(
        config: &Arc<BrokerConfig>,
        storage: &Storage,
        publisher: Sender<Notice>,
        flushers: Flushers,
        ends: FirstFailure,
    ) -> Result<Observation, BootError> {
        // Its own: whoever changes a name on a stalled disk keeps others from opening files.
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
        let machine = machine(disk.clone(), config, storage)?;
        let network = Network::start("controller-net").map_err(BootError::Thread)?;
        let patience = Duration::from_millis(config.controller_quorum_request_timeout_ms.max(1) as u64);
        let (leading, known) = watch::channel(Leading::nobody());
        let surroundings = Surroundings {
            publisher,
            leading,
            writer: Writer { disk, flushers },
            asker: Asker::new(network.handle().clone(), patience),
            controllers: Controllers::of(config),
        };
        let ended = move |outcome: Result<(), String>| {
            if let Err(failed) = outcome {
                error!(error = failed, "the metadata log cannot be followed any more");
                ends.tell(BootError::Controller(failed));
            }
        };
        let (observing, thread) = observer::start(machine, surroundings, ended).map_err(BootError::Thread)?;
        Ok(Observation { leading: known, observing, thread, network })
    }

    /// The runtime on which a broker's heart beats, too.
    pub fn network(&self) -> &Handle {
        self.network.handle()
    }

    pub fn stop(self) {
        self.observing.stop();
        if self.thread.join().is_err() {
            error!("the thread that follows the metadata log failed");
        }
        self.network.stop();
    }
}

fn machine(disk: Arc<dyn Disk>, config: &BrokerConfig, storage: &Storage) -> Result<Machine, BootError> {
    let directory_id = storage.directory_id(&config.metadata_log_dir).unwrap_or_default();
    let settings =
        Settings::of(config, storage.cluster_id.clone(), ReplicaKey { id: config.node_id, directory_id });
    let (machine, recovery) =
        Machine::begin(disk, config, settings, now_ms()).map_err(|e| BootError::Controller(e.to_string()))?;
    if recovery.truncated_bytes > 0 || !recovery.dropped_segments.is_empty() {
        warn!(
            truncated_bytes = recovery.truncated_bytes,
            dropped_segments = ?recovery.dropped_segments,
            log_end_offset = machine.log().log_end_offset(),
            "the metadata log was damaged behind this offset and is cut there"
        );
    }
    Ok(machine)
}
