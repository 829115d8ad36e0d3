//! The controller of a node: the thread that decides, the runtime of its listener, and what others know it by.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_core::controller::{Bootstrap, ControllerRegistration};
use ottla_log::Disk;
use ottla_log::disk::RealDisk;
use ottla_model::config::BrokerConfig;
use ottla_model::feature;
use ottla_model::image::{Endpoint, FeatureRange};
use ottla_node::controller::{Controller as Machine, Settings as MachineSettings, Snapshots};
use ottla_node::quorum::{Founder, Keep, Quorum};
use ottla_protocol::api::Listener as Kind;
use ottla_protocol::batch::control::{VoterEndpoint, VoterNode};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, warn};
use uuid::Uuid;

use super::failure::{BootError, FirstFailure};
use super::listening::serve;
use super::network::Network;
use super::place::Place;
use crate::api::ControllerApis;
use crate::clock::now_ms;
use crate::loggers::Loggers;
use crate::net::listener::Bound;
use crate::net::memory::RequestMemory;
use crate::net::service::Service;
use crate::node::Node;
use crate::run::owners::controller::{self, Commands, Companions, Controller, Token, Writer};
use crate::run::owners::controllers::Controllers;
use crate::run::owners::leading::Leading;
use crate::run::owners::metadata::Metadata;
use crate::run::owners::publisher::Notice;
use crate::run::owners::settings::Settings;
use crate::run::owners::storage::Storage;
use crate::run::owners::uplink::Uplink;
use crate::run::work::asker::Asker;
use crate::run::work::flusher::Flushers;
use crate::run::work::introduction::introduce;
use crate::run::work::joining::Joining;
use crate::run::work::lookout::Lookout;
use crate::run::work::messenger::Messenger;
use crate::run::work::threads::Threads;
use crate::stop::Stopping;

/// A controller that serves.
pub(super) struct Control {
    pub commands: Commands,
    pub leading: watch::Receiver<Leading>,
    pub agreed: Arc<Metadata>,
    thread: JoinHandle<()>,
    network: Network,
    stopping: Stopping,
}

impl Control {
    /// Starts the thread; `publisher` hears what a broker on this node has to carry out.
    pub fn start(
        config: &Arc<BrokerConfig>,
        storage: &Storage,
        publisher: Option<Sender<Notice>>,
        flushers: Flushers,
        ends: FirstFailure,
    ) -> Result<Control, BootError> {
        // Its own: whoever changes a name on a stalled disk keeps others from opening files.
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
        let machine = machine(disk.clone(), config, storage)?;
        let network = Network::start("controller-net").map_err(BootError::Thread)?;
        let patience = Duration::from_millis(config.controller_quorum_request_timeout_ms.max(1) as u64);
        let (leading, known) = watch::channel(Leading::nobody());
        let agreed = Arc::new(Metadata::default());
        let companions = Companions {
            publisher,
            agreed: agreed.clone(),
            leading,
            writer: Writer { disk, flushers },
            messenger: Messenger::new(network.handle().clone(), patience),
            asker: Asker::new(network.handle().clone(), patience),
            controllers: Controllers::of(config),
            lookout: Lookout::new(network.handle().clone()),
            listener: config.inter_broker_listener_name.clone(),
        };
        let ended = move |outcome: Result<(), String>| {
            if let Err(failed) = outcome {
                error!(error = failed, "the controller cannot go on");
                ends.tell(BootError::Controller(failed));
            }
        };
        let (commands, thread) = controller::start(machine, companions, ended).map_err(BootError::Thread)?;
        Ok(Control { commands, leading: known, agreed, thread, network, stopping: Stopping::new() })
    }

    /// Serves the controller listeners.
    pub fn serve(
        &self,
        config: &Arc<BrokerConfig>,
        storage: &Storage,
        loggers: Arc<Loggers>,
        bound: Vec<Bound>,
    ) {
        let settings = Arc::new(Settings::new(config.clone()));
        let node = Arc::new(Node {
            me: config.node_id,
            cluster_id: storage.cluster_id.clone(),
            settings: settings.clone(),
            loggers,
            image: self.agreed.clone(),
            controller: Controller {
                here: Some(self.commands.clone()),
                uplink: None,
                leading: self.leading.clone(),
                carried_out: false,
                agreed: Some(self.agreed.clone()),
                missed: None,
            },
            census: Default::default(),
            request_memory: RequestMemory::new(-1),
            readers: Threads::new("controller-reader", 1),
            stopping: self.stopping.clone(),
        });
        self.introduce(config, storage, &bound);
        for socket in bound {
            let service = Service {
                kind: Kind::Controller,
                settings: settings.clone(),
                census: node.census.clone(),
                request_memory: node.request_memory.clone(),
                readers: node.readers.clone(),
                stopping: node.stopping.clone(),
                dispatcher: Arc::new(ControllerApis::new(node.clone())),
            };
            self.network.handle().spawn(serve(service, socket));
        }
    }

    // Makes this controller known to the active one, and has it care for its place among the voters.
    fn introduce(&self, config: &Arc<BrokerConfig>, storage: &Storage, bound: &[Bound]) {
        let place = Place::of(config, bound);
        let uplink = Uplink::new(storage.cluster_id.clone(), self.leading.clone(), self.agreed.clone());
        let controller = Controller {
            here: Some(self.commands.clone()),
            uplink: Some(Arc::new(uplink)),
            leading: self.leading.clone(),
            carried_out: false,
            agreed: Some(self.agreed.clone()),
            missed: None,
        };
        let ms = |ms: i32| Duration::from_millis(ms.max(1) as u64);
        let (cluster_id, agreed, id) = (storage.cluster_id.clone(), self.agreed.clone(), config.node_id);
        let directory_id = storage.directory_id(&config.metadata_log_dir).unwrap_or_default();
        let (commands, leading) = (self.commands.clone(), self.leading.clone());
        let config = config.clone();
        self.network.handle().spawn(async move {
            let endpoints = place.endpoints().await;
            let own = VoterNode {
                id: id.0,
                directory_id,
                endpoints: endpoints.iter().map(as_voters).collect(),
                kraft_version_min: 0,
                kraft_version_max: 1,
            };
            let joining = Joining {
                cluster_id,
                own,
                joins: config.controller_quorum_auto_join_enable,
                knows_where: place.is_configured(),
                commands,
                leading,
                patience: ms(config.controller_quorum_request_timeout_ms),
                period: ms(config.controller_quorum_fetch_timeout_ms),
            };
            tokio::spawn(joining.care());
            let features = feature::supported(false);
            let features = features.map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max });
            let (incarnation, features) = (Uuid::new_v4(), features.collect());
            let registration = ControllerRegistration { id, incarnation, endpoints, features };
            introduce(registration, controller, agreed).await;
        });
    }

    /// The runtime on which a broker's heart beats, too.
    pub fn network(&self) -> &Handle {
        self.network.handle()
    }

    /// Hands leadership over, and ends. May take a second.
    pub fn stop(self) {
        self.commands.stop();
        if self.thread.join().is_err() {
            error!("the thread of the controller failed");
        }
        self.stopping.cancel();
        self.network.stop();
    }
}

fn as_voters(endpoint: &Endpoint) -> VoterEndpoint {
    VoterEndpoint { name: endpoint.name.clone(), host: endpoint.host.clone(), port: endpoint.port }
}

fn machine(
    disk: Arc<dyn Disk>,
    config: &BrokerConfig,
    storage: &Storage,
) -> Result<Machine<Token>, BootError> {
    let founder = Founder {
        cluster_id: storage.cluster_id.clone(),
        directory: storage.directory_id(&config.metadata_log_dir),
        chance: Box::new(rand::random::<u64>),
    };
    let (quorum, recovery) = Quorum::found(disk, config, founder, now_ms())?;
    if recovery.truncated_bytes > 0 || !recovery.dropped_segments.is_empty() {
        warn!(
            truncated_bytes = recovery.truncated_bytes,
            dropped_segments = ?recovery.dropped_segments,
            log_end_offset = quorum.next_offset(),
            "the metadata log was damaged behind this offset and is cut there"
        );
    }
    let formatted = quorum.founded_with().and_then(Bootstrap::of);
    let settings = MachineSettings {
        config: config.clone(),
        snapshots: Snapshots {
            bytes: config.metadata_log_max_record_bytes_between_snapshots,
            interval_ms: config.metadata_log_max_snapshot_interval_ms,
            keep: Keep { bytes: config.metadata_max_retention_bytes, ms: config.metadata_max_retention_ms },
        },
        bootstrap: formatted.unwrap_or_else(Bootstrap::latest),
        chance: Box::new(rand::random::<u64>),
    };
    Ok(Machine::new(quorum, settings))
}
