//! From a configuration to a broker that serves, and back to a directory that is marked clean.

mod broker;
mod control;
mod failure;
mod following;
mod listening;
mod membership;
mod network;
mod observation;
mod place;

use std::sync::Arc;
use std::sync::mpsc::channel;

use ottla_log::Disk;
use ottla_log::disk::RealDisk;
use ottla_log::survey;
use ottla_model::config::{BrokerConfig, Role};
use tracing::{error, info, warn};

use broker::Parts;
pub(crate) use broker::RunningBroker;
use failure::FirstFailure;
pub use failure::{BootError, Failure};
use following::{Companions, Following};
use listening::{Controllers, bind_all, bind_controllers};

use crate::loggers::{LogFilter, Loggers};
use crate::net::listener::Bound;
use crate::run::owners::storage::Storage;
use crate::run::work::flusher::Flushers;

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
    following: Following,
    storage: Arc<Storage>,
    /// The addresses that it listens on, in the order of `listeners`: those for clients, or a controller's if there are none.
    pub addresses: Vec<std::net::SocketAddr>,
}

/// More log files than these are not kept open, whatever the process may: opening one again takes microseconds.
const OPEN_FILES_MAX: usize = 8192;

/// Starts a node: ports first, then storage, then the quorum, then the partitions, then clients.
pub async fn start(config: BrokerConfig, options: Options) -> Result<(Server, Failure), BootError> {
    let config = Arc::new(config);
    refuse_huge_pages();
    let open_files = allow_files();
    let bound = bind_all(&config, config.broker_listeners())?;
    let controllers = bind_controllers(&config)?;
    let shown = controllers.as_ref().ok().filter(|_| bound.is_empty()).unwrap_or(&bound);
    let addresses = shown.iter().map(|b| b.address).collect();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::with_open_files(open_files));
    take_over(&*disk, &config)?;
    if options.cluster_id.is_none() && has_others(&config) && !Storage::is_formatted(&*disk, &config) {
        return Err(BootError::NoClusterId);
    }
    let storage = Arc::new(Storage::open(disk, &config, options.cluster_id.as_deref())?);
    info!(node_id = config.node_id.0, cluster_id = storage.cluster_id, "starting");
    if let Some(told) = options.cluster_id.filter(|told| *told != storage.cluster_id) {
        warn!(told, "CLUSTER_ID names another cluster than log.dirs, which count");
    }
    let (ends, failure) = FirstFailure::new();
    let flushers = Flushers::default();
    let loggers = Arc::new(Loggers::new(options.log));
    let (said, hears) = channel();
    let companions = Companions { said: &said, flushers: flushers.clone(), ends: ends.clone() };
    let following = Following::start(&config, &storage, companions)?;
    let controllers = needed(controllers, &following).await?;
    following.serve(&config, &storage, loggers.clone(), controllers);
    let running = match config.has_role(Role::Broker) {
        true => {
            let parts = Parts { config: &config, storage: &storage, loggers, flushers, said, hears, ends };
            Some(broker::start(parts, &following, bound).await?)
        }
        false => None,
    };
    info!("Kafka Server started");
    Ok((Server { running, following, storage, addresses }, failure))
}

// Other voters need the controller's listeners, and only the metadata log says whether there are any (KIP-853).
async fn needed(controllers: Controllers, following: &Following) -> Result<Vec<Bound>, BootError> {
    let Err(error) = controllers else { return controllers };
    let state = match following.commands() {
        Some(commands) => commands.describe().await.ok(),
        None => None,
    };
    if state.is_none_or(|state| state.voters.len() != 1) {
        return Err(error);
    }
    warn!("{error}; nothing but --bootstrap-controller needs that listener");
    Ok(Vec::new())
}

// Whether other nodes may have made the cluster that this one is of.
fn has_others(config: &BrokerConfig) -> bool {
    config.controller_quorum_voters.len() > 1 || !config.has_role(Role::Controller)
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
        let Server { running, following, storage, .. } = self;
        let mut running = running;
        let epoch = match &mut running {
            Some(running) => running.leave().await,
            None => None,
        };
        let closed = tokio::task::spawn_blocking(move || {
            following.stop();
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
