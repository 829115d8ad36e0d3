//! From a configuration to a broker that serves, and back to a directory that is marked clean.

mod broker;
mod control;
mod listening;
mod membership;
mod network;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;

use ottla_log::Disk;
use ottla_log::dirs::DirError;
use ottla_log::disk::RealDisk;
use ottla_log::survey::{self, Stop};
use ottla_model::config::{BrokerConfig, Role};
use ottla_node::quorum::QuorumError;
use tracing::{error, info, warn};

use broker::Parts;
pub(crate) use broker::RunningBroker;
use control::{Control, FirstFailure};
use listening::{bind_all, bind_controllers};

use crate::loggers::{LogFilter, Loggers};
use crate::run::owners::storage::Storage;
use crate::run::work::flusher::Flushers;

/// Why a broker did not start, or had to stop; one line each.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Directory(#[from] DirError),
    #[error("cannot listen on {name}://{host}:{port}: {source}")]
    Listen { name: String, host: String, port: u16, source: io::Error },
    #[error("the metadata quorum failed: {0}")]
    Quorum(#[from] QuorumError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("the controller refused this broker: {0}")]
    Registration(String),
    #[error("cannot go on: {0}")]
    Storage(String),
    #[error("the controller failed: {0}")]
    Controller(String),
    #[error(
        "no cluster id: controller.quorum.voters has several nodes, and log.dirs has no meta.properties; set the same \
         CLUSTER_ID in the environment of each, or format the directories"
    )]
    NoClusterId,
    /// Each in a line of its own.
    #[error("{}", .0.iter().map(Stop::to_string).collect::<Vec<_>>().join("\n"))]
    NotTakenOver(Vec<Stop>),
}

/// What else a start depends on.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The cluster id for storage that has none yet; a random one without it.
    pub cluster_id: Option<String>,
    /// Whose levels administrators may change.
    pub log: LogFilter,
}

/// A node that serves. Dropping it does not stop it: [`Server::stop`] does.
pub struct Server {
    pub(crate) running: Option<RunningBroker>,
    control: Option<Control>,
    storage: Arc<Storage>,
    /// The addresses that it listens on, in the order of `listeners`: those for clients, or a controller's if there are none.
    pub addresses: Vec<std::net::SocketAddr>,
}

/// A way to hear that the broker must stop by itself.
pub type Failure = tokio::sync::oneshot::Receiver<BootError>;

/// More log files than these are not kept open, whatever the process may: opening one again takes microseconds.
const OPEN_FILES_MAX: usize = 8192;

/// Starts a node: ports first, then storage, then the quorum, then the partitions, then clients.
pub async fn start(config: BrokerConfig, options: Options) -> Result<(Server, Failure), BootError> {
    let config = Arc::new(config);
    refuse_huge_pages();
    let open_files = allow_files();
    let bound = bind_all(&config, config.broker_listeners())?;
    let controllers = bind_controllers(&config)?;
    let shown = if bound.is_empty() { &controllers } else { &bound };
    let addresses = shown.iter().map(|b| b.address).collect();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::with_open_files(open_files));
    take_over(&*disk, &config)?;
    if options.cluster_id.is_none()
        && config.controller_quorum_voters.len() > 1
        && !Storage::is_formatted(&*disk, &config)
    {
        return Err(BootError::NoClusterId);
    }
    let storage = Arc::new(Storage::open(disk, &config, options.cluster_id.as_deref())?);
    info!(node_id = config.node_id.0, cluster_id = storage.cluster_id, "starting");
    let (ends, failure) = FirstFailure::new();
    let flushers = Flushers::default();
    let loggers = Arc::new(Loggers::new(options.log));
    let (said, hears) = channel();
    let publisher = config.has_role(Role::Broker).then(|| said.clone());
    let control = Control::start(&config, &storage, publisher, flushers.clone(), ends.clone())?;
    control.serve(&config, &storage, loggers.clone(), controllers);
    let running = match config.has_role(Role::Broker) {
        true => {
            let parts = Parts { config: &config, storage: &storage, loggers, flushers, said, hears, ends };
            Some(broker::start(parts, &control, bound).await?)
        }
        false => None,
    };
    info!("Kafka Server started");
    Ok((Server { running, control: Some(control), storage, addresses }, failure))
}

// Before anything is written: what cannot be served as it is stays as it is. `ottla storage check` lists the same.
fn take_over(disk: &dyn Disk, config: &BrokerConfig) -> Result<(), BootError> {
    let stops = survey::stops(&survey::find(disk, config), config);
    if stops.is_empty() { Ok(()) } else { Err(BootError::NotTakenOver(stops)) }
}

// A kernel may give huge pages to whoever has not asked (`transparent_hugepage` set to `always`): memory that is hardly used
// would be cleared and kept by two megabytes at a time. The allocator asks for none (`no_thp`).
fn refuse_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        warn!(%error, "cannot refuse huge pages; the broker works, and takes more memory");
    }
}

// Shells allow few open files, and a process may help itself to more. Returns how many of them logs may have open: the
// rest is for connections.
fn allow_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut allowed = maximum;
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, ?current, ?maximum, "cannot raise the number of files that may be open");
        allowed = current;
    }
    let half = allowed.map_or(usize::MAX, |files| usize::try_from(files / 2).unwrap_or(usize::MAX));
    half.min(OPEN_FILES_MAX)
}

impl Server {
    /// Stops: no new requests, everything flushed, directories marked clean.
    pub async fn stop(self) {
        info!("shutting down");
        let Server { running, control, storage, .. } = self;
        let mut running = running;
        let epoch = match &mut running {
            Some(running) => running.leave().await,
            None => None,
        };
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(control) = control {
                control.stop();
            }
            if let Some(running) = running {
                running.close(&storage, epoch);
            }
        });
        if closed.await.is_err() {
            error!("closing the logs failed; the next start recovers them");
        }
        info!("shut down");
    }
}
