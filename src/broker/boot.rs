//! From a configuration to a broker that serves, and back to a directory that is marked clean.

mod control;
mod network;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ottla_core::controller::Registration;
use ottla_log::Disk;
use ottla_log::dirs::DirError;
use ottla_log::disk::RealDisk;
use ottla_log::log::Log;
use ottla_log::survey::{self, Stop};
use ottla_model::BrokerEpoch;
use ottla_model::config::{BrokerConfig, Listener, Role, Source};
use ottla_model::image::Endpoint;
use ottla_node::lifecycle::{Lifecycle, Patience};
use ottla_node::quorum::QuorumError;
use ottla_node::replicas::Replicas;
use ottla_protocol::api::Listener as Kind;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, info, warn};
use uuid::Uuid;

use control::{Control, FirstFailure};

use crate::api::BrokerApis;
use crate::broker::{Broker, sessions};
use crate::clock::now_ms;
use crate::loggers::{LogFilter, Loggers};
use crate::net::host_name;
use crate::net::listener::{self, Bound, Wishes};
use crate::net::memory::RequestMemory;
use crate::net::service::Service;
use crate::node::Node;
use crate::run::owners::controller::Controller;
use crate::run::owners::groups::{self, GroupCoordinator};
use crate::run::owners::metadata::Metadata;
use crate::run::owners::partition::Partition;
use crate::run::owners::publisher::{Notice, Publisher};
use crate::run::owners::settings::Settings;
use crate::run::owners::storage::Storage;
use crate::run::owners::uplink::Uplink;
use crate::run::work::cleaner::Cleaners;
use crate::run::work::flusher::Flushers;
use crate::run::work::heart::{Heart, Standing};
use crate::run::work::housekeeping::keep_house;
use crate::run::work::mover::Movers;
use crate::run::work::registrar::Registrar;
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

/// The broker of a node.
pub(crate) struct RunningBroker {
    pub broker: Arc<Broker>,
    publisher: std::thread::JoinHandle<()>,
    /// Ends the publisher where no controller does.
    ends_publisher: Sender<Notice>,
    cleaners: Cleaners,
    membership: Membership,
}

/// A way to hear that the broker must stop by itself.
pub type Failure = tokio::sync::oneshot::Receiver<BootError>;

/// More log files than these are not kept open, whatever the process may: opening one again takes microseconds.
const OPEN_FILES_MAX: usize = 8192;

/// Each reads for one connection at a time. More would not make one disk faster, and would keep it from others for longer.
const READERS_MAX: usize = 4;

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
            Some(start_broker(parts, &control, bound).await?)
        }
        false => None,
    };
    info!("Kafka Server started");
    Ok((Server { running, control: Some(control), storage, addresses }, failure))
}

/// What a broker is made of.
struct Parts<'a> {
    config: &'a Arc<BrokerConfig>,
    storage: &'a Arc<Storage>,
    loggers: Arc<Loggers>,
    flushers: Flushers,
    said: Sender<Notice>,
    hears: Receiver<Notice>,
    ends: FirstFailure,
}

async fn start_broker(
    parts: Parts<'_>,
    control: &Control,
    bound: Vec<Bound>,
) -> Result<RunningBroker, BootError> {
    let Parts { config, storage, loggers, flushers, said, hears, ends } = parts;
    let image = Arc::new(Metadata::default());
    let settings = Arc::new(Settings::new(config.clone()));
    let several = config.controller_quorum_voters.len() > 1;
    let uplink = || Uplink::new(storage.cluster_id.clone(), control.leading.clone(), image.clone());
    let controller = Controller {
        here: Some(control.commands.clone()),
        uplink: several.then(|| Arc::new(uplink())),
        leading: control.leading.clone(),
        carried_out: true,
        missed: None,
    };
    let registrar = Arc::new(Registrar::new(config.node_id, image.clone(), controller.clone()));
    storage.report_to(&said);
    let publisher = Publisher {
        me: config.node_id,
        replicas: Replicas::new(config.clone()),
        settings: settings.clone(),
        storage: storage.clone(),
        partitions: Arc::default(),
        flushers: flushers.clone(),
        image: image.clone(),
        failures: said.clone(),
        give_up: Box::new(move |why| ends.tell(BootError::Storage(why))),
        groups: Arc::new(GroupCoordinator::new(config)),
        registrar: registrar.clone(),
    };
    let (partitions, groups) = (publisher.partitions.clone(), publisher.groups.clone());
    let thread = std::thread::Builder::new().name("publisher".into());
    let thread = thread.spawn(move || publisher.serve(&hears)).map_err(BootError::Thread)?;
    // A connection of its own: no request of a client's delays a heartbeat.
    let hears =
        Controller { uplink: controller.uplink.as_ref().map(|_| Arc::new(uplink())), ..controller.clone() };
    let mut membership = join(config, hears, &image, storage, &bound, control.network()).await;
    membership.joined().await?;
    storage.set_strays_aside(config.node_id, &image.load());
    let node = Arc::new(Node {
        me: config.node_id,
        cluster_id: storage.cluster_id.clone(),
        settings: settings.clone(),
        loggers,
        image,
        controller,
        census: Default::default(),
        request_memory: RequestMemory::new(config.queued_max_request_bytes),
        readers: Threads::new("reader", READERS_MAX),
        stopping: Stopping::new(),
    });
    let broker = Arc::new(Broker {
        node,
        sessions: sessions(config),
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
        tokio::spawn(serve(service(&broker), socket));
    }
    tokio::spawn(keep_house(broker.clone(), storage.clone(), flushers));
    Ok(RunningBroker { broker, publisher: thread, ends_publisher: said, cleaners, membership })
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

fn service(broker: &Arc<Broker>) -> Service {
    Service {
        kind: Kind::Broker,
        settings: broker.settings.clone(),
        census: broker.census.clone(),
        request_memory: broker.request_memory.clone(),
        readers: broker.readers.clone(),
        stopping: broker.stopping.clone(),
        dispatcher: Arc::new(BrokerApis::new(broker.clone())),
    }
}

async fn serve(service: Service, bound: Bound) {
    let name = bound.listener.name.clone();
    if let Err(error) = listener::accept(Arc::new(service), bound).await {
        error!(listener = name, %error, "stopped listening");
    }
}

fn bind_all<'a>(
    config: &BrokerConfig,
    listeners: impl Iterator<Item = &'a Listener>,
) -> Result<Vec<Bound>, BootError> {
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

// A controller that is alone is needed by no other node: its listener is for tools, and may be missing.
fn bind_controllers(config: &BrokerConfig) -> Result<Vec<Bound>, BootError> {
    let alone = config.controller_quorum_voters.len() < 2 && config.has_role(Role::Broker);
    match bind_all(config, config.controller_listeners()) {
        Err(error) if alone => {
            warn!("{error}; nothing but --bootstrap-controller needs that listener");
            Ok(Vec::new())
        }
        bound => bound,
    }
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

/// A broker's place in its cluster.
pub(crate) struct Membership {
    standing: watch::Receiver<Standing>,
    leave: watch::Sender<bool>,
}

impl Membership {
    // The epoch under which it serves.
    async fn joined(&mut self) -> Result<BrokerEpoch, BootError> {
        let settled = self.standing.wait_for(|standing| *standing != Standing::Coming).await;
        match settled.map(|standing| standing.clone()) {
            Ok(Standing::Here(epoch)) => Ok(epoch),
            Ok(Standing::Refused(why)) => Err(BootError::Registration(why)),
            Ok(Standing::Coming | Standing::Left) | Err(_) => {
                Err(BootError::Registration("it was asked to leave".into()))
            }
        }
    }

    // Hands over what it leads, as far as others can take it. The epoch that it had.
    async fn leave(&mut self) -> Option<BrokerEpoch> {
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
async fn join(
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

impl Server {
    /// Stops: no new requests, everything flushed, directories marked clean.
    pub async fn stop(self) {
        info!("shutting down");
        let Server { running, control, storage, .. } = self;
        let mut epoch = None;
        let mut running = running;
        if let Some(running) = &mut running {
            // Others lead before clients are sent away, so that they find somebody.
            epoch = running.membership.leave().await;
            running.broker.stopping.cancel();
            running.broker.census.emptied().await;
        }
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

impl RunningBroker {
    fn close(self, storage: &Storage, epoch: Option<BrokerEpoch>) {
        let RunningBroker { broker, publisher, ends_publisher, cleaners, .. } = self;
        // This fails if the publisher has ended with its controller.
        let _ = ends_publisher.send(Notice::Ended);
        cleaners.stop();
        broker.movers.stop();
        if publisher.join().is_err() {
            error!("the thread that follows the metadata failed");
        }
        let (closed, failed) = close_all(&broker);
        storage.close(&closed, &failed, epoch.unwrap_or(BrokerEpoch::NONE));
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
