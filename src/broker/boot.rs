//! From a configuration to a broker that serves, and back to a directory that is marked clean.

mod control;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ottla_core::controller::{Heartbeat, Registration};
use ottla_log::Disk;
use ottla_log::dirs::DirError;
use ottla_log::disk::RealDisk;
use ottla_log::log::Log;
use ottla_log::survey::{self, Stop};
use ottla_model::BrokerEpoch;
use ottla_model::config::{BrokerConfig, Listener, Source};
use ottla_model::image::Endpoint;
use ottla_node::joining::{Joining, Next};
use ottla_node::quorum::QuorumError;
use ottla_protocol::api::Listener as Kind;
use tracing::{error, info, warn};
use uuid::Uuid;

use control::Control;

use crate::api::BrokerApis;
use crate::broker::{Broker, sessions};
use crate::loggers::{LogFilter, Loggers};
use crate::net::host_name;
use crate::net::listener::{self, Bound, Wishes};
use crate::net::memory::RequestMemory;
use crate::net::service::Service;
use crate::node::Node;
use crate::run::owners::groups;
use crate::run::owners::partition::Partition;
use crate::run::owners::storage::Storage;
use crate::run::work::cleaner::Cleaners;
use crate::run::work::housekeeping::keep_house;
use crate::run::work::mover::Movers;
use crate::run::work::threads::Threads;
use crate::stop::Stopping;

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

/// A broker that serves. Dropping it does not stop it: [`Server::stop`] does.
pub struct Server {
    pub(crate) broker: Arc<Broker>,
    storage: Arc<Storage>,
    threads: Vec<std::thread::JoinHandle<()>>,
    cleaners: Cleaners,
    epoch: BrokerEpoch,
    /// The addresses that it listens on, in the order of `listeners`.
    pub addresses: Vec<std::net::SocketAddr>,
}

/// A way to hear that the broker must stop by itself.
pub type Failure = tokio::sync::oneshot::Receiver<BootError>;

/// More log files than these are not kept open, whatever the process may: opening one again takes microseconds.
const OPEN_FILES_MAX: usize = 8192;

/// Each reads for one connection at a time. More would not make one disk faster, and would keep it from others for longer.
const READERS_MAX: usize = 4;

/// Starts a broker: ports first, then storage, then the quorum, then the partitions, then clients.
pub async fn start(config: BrokerConfig, options: Options) -> Result<(Server, Failure), BootError> {
    let config = Arc::new(config);
    refuse_huge_pages();
    let open_files = allow_files();
    let bound = bind_all(&config)?;
    let addresses = bound.iter().map(|b| b.address).collect();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::with_open_files(open_files));
    take_over(&*disk, &config)?;
    let storage = Arc::new(Storage::open(disk, &config, options.cluster_id.as_deref())?);
    info!(node_id = config.node_id.0, cluster_id = storage.cluster_id, "starting");
    let (control, failure) = Control::start(&config, &storage)?;
    let epoch = join(&config, &control, &storage, &bound).await?;
    storage.set_strays_aside(config.node_id, &control.image.load());
    let Control { settings, partitions, image, flushers, groups, registrar, controller, threads } = control;
    let node = Arc::new(Node {
        me: config.node_id,
        cluster_id: storage.cluster_id.clone(),
        metadata_directory: storage.directory_id(&config.metadata_log_dir),
        settings: settings.clone(),
        loggers: Loggers::new(options.log),
        image,
        controller,
        census: Default::default(),
        request_memory: RequestMemory::new(config.queued_max_request_bytes),
        readers: Threads::new("reader", READERS_MAX),
        stopping: Stopping::new(),
    });
    let broker = Arc::new(Broker {
        node,
        sessions: sessions(&config),
        movers: Movers::new(partitions.clone(), settings, storage.clone(), registrar),
        storage: storage.clone(),
        partitions,
        groups,
        producer_ids: Default::default(),
    });
    groups::wake_all(&broker);
    resume_moves(&broker);
    let cleaners = Cleaners::start(broker.partitions.clone(), broker.settings.clone(), storage.clone());
    let cleaners = cleaners.map_err(BootError::Thread)?;
    for socket in bound {
        tokio::spawn(serve(broker.clone(), socket));
    }
    tokio::spawn(keep_house(broker.clone(), storage.clone(), flushers));
    info!("Kafka Server started");
    Ok((Server { broker, storage, threads, cleaners, epoch, addresses }, failure))
}

// What a kill has cut short, as in Kafka.
fn resume_moves(broker: &Broker) {
    let image = broker.image.load();
    for unfinished in broker.storage.unfinished_moves() {
        let (id, folder) = (&unfinished.partition, &unfinished.folder);
        let topic = image.topic(&id.topic);
        if let Some(partition) = topic.and_then(|topic| broker.partitions.get(topic.id, id.partition))
            && let Err(error) = broker.movers.resume(&partition, folder)
        {
            error!(partition = %id, folder = %folder.display(), %error, "cannot take the move up again");
        }
    }
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

async fn serve(broker: Arc<Broker>, bound: Bound) {
    let name = bound.listener.name.clone();
    let service = Service {
        kind: Kind::Broker,
        settings: broker.settings.clone(),
        census: broker.census.clone(),
        request_memory: broker.request_memory.clone(),
        readers: broker.readers.clone(),
        stopping: broker.stopping.clone(),
        dispatcher: Arc::new(BrokerApis::new(broker)),
    };
    if let Err(error) = listener::accept(Arc::new(service), bound).await {
        error!(listener = name, %error, "stopped listening");
    }
}

fn bind_all(config: &BrokerConfig) -> Result<Vec<Bound>, BootError> {
    // The controller's listener is not opened: the quorum has one voter, and it is this process.
    let listeners = config.broker_listeners();
    let wishes = Wishes { backlog: backlog(config), receive_buffer_bytes: receive_buffer(config) };
    let bind = |listener: &Listener| {
        listener::bind(listener, wishes).map_err(|source| BootError::Listen {
            name: listener.name.clone(),
            host: listener.host.clone().unwrap_or_default(),
            port: listener.port,
            source,
        })
    };
    listeners.map(bind).collect()
}

// Where nobody has set it, as many as the kernel allows: beyond the default of 50 a burst of new connections waits for TCP
// to try again, which takes seconds.
fn backlog(config: &BrokerConfig) -> i32 {
    let set = config.get("socket.listen.backlog.size").is_some_and(|found| found.source != Source::Default);
    if set { config.socket_listen_backlog_size } else { i32::from(i16::MAX) }
}

// The default, which is also what Kafka's own server.properties says, is left to the kernel: it begins with more, and makes it
// larger while a producer sends much. With 100 KB a broker needs a quarter more of the processor for large requests.
fn receive_buffer(config: &BrokerConfig) -> i32 {
    match config.socket_receive_buffer_bytes {
        102_400 => -1,
        bytes => bytes,
    }
}

// Everything that the cluster must know of this broker before it serves.
async fn join(
    config: &BrokerConfig,
    control: &Control,
    storage: &Storage,
    bound: &[Bound],
) -> Result<BrokerEpoch, BootError> {
    let registration = Registration {
        id: config.node_id,
        incarnation: Uuid::new_v4(),
        endpoints: endpoints(config, bound, &own_name(config).await),
        rack: config.rack.clone(),
        log_dirs: storage.directory_ids(),
        features: Vec::new(),
    };
    let mut joining = Joining::new(registration, storage.found());
    let mut command = joining.begin();
    loop {
        let reply = control.controller.ask(command).await;
        command = match joining.next(reply, &control.image.load()) {
            Next::Ask(next) => next,
            Next::Refused(why) => return Err(BootError::Registration(why)),
            Next::Joined(epoch) => {
                info!("The broker has been unfenced. Transitioning from RECOVERY to RUNNING.");
                return Ok(epoch);
            }
        };
    }
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

impl Server {
    /// Stops: no new requests, everything flushed, directories marked clean.
    pub async fn stop(self) {
        info!("shutting down");
        self.broker.stopping.cancel();
        self.broker.census.emptied().await;
        let last_heartbeat = Heartbeat {
            broker: self.broker.me,
            epoch: self.epoch,
            metadata_offset: self.broker.image.load().offset,
            want_fence: false,
            want_shutdown: true,
        };
        // A controller that cannot write any more does not keep the logs from being closed.
        let _ = self.broker.controller.ask(last_heartbeat).await;
        self.broker.controller.stop();
        let Server { broker, storage, threads, cleaners, epoch, .. } = self;
        let closed = tokio::task::spawn_blocking(move || {
            cleaners.stop();
            broker.movers.stop();
            for thread in threads {
                if thread.join().is_err() {
                    error!("a control thread failed");
                }
            }
            let (closed, failed) = close_all(&broker);
            storage.close(&closed, &failed, epoch);
        });
        if closed.await.is_err() {
            error!("closing the logs failed; the next start recovers them");
        }
        info!("shut down");
    }
}

fn close_all(broker: &Broker) -> (Vec<Log>, Vec<PathBuf>) {
    let threads = broker.config().num_recovery_threads_per_data_dir.max(1) as usize;
    let all = broker.partitions.all();
    let share = all.len().div_ceil(threads).max(1);
    let results = std::thread::scope(|scope| {
        let started: Vec<_> = all
            .chunks(share)
            .map(|chunk| scope.spawn(|| chunk.iter().filter_map(close).collect::<Vec<_>>()))
            .collect();
        started.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect::<Vec<_>>()
    });
    let mut closed = Vec::new();
    let mut failed = Vec::new();
    for result in results {
        match result {
            Ok(log) => closed.push(log),
            Err(folder) => failed.push(folder),
        }
    }
    (closed, failed)
}

// None for a partition that was closed before; the folder of one that is not well.
fn close(partition: &Arc<Partition>) -> Option<Result<Log, PathBuf>> {
    let Some(mut log) = partition.close() else {
        return partition.has_failed().then(|| Err(partition.place().folder.clone()));
    };
    Some(match log.close() {
        Ok(()) => Ok(log),
        Err(error) => {
            error!(partition = %log.partition(), %error, "cannot close the log; the next start recovers it");
            Err(log.dir().to_owned())
        }
    })
}
