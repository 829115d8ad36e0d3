//! The broker of a node: from a controller that can be asked to listeners that serve, and back to logs that are closed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use ottla_log::log::Log;
use ottla_model::BrokerEpoch;
use ottla_model::config::BrokerConfig;
use ottla_node::replicas::Replicas;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tracing::error;
use uuid::Uuid;

use super::failure::{BootError, FirstFailure};
use super::following::Following;
use super::listening::serve;
use super::membership::{Membership, join};
use super::network::Network;
use crate::api::BrokerApis;
use crate::broker::{Broker, sessions};
use crate::loggers::Loggers;
use crate::net::listener::Bound;
use crate::net::memory::RequestMemory;
use crate::net::service::Service;
use crate::node::Node;
use crate::run::owners::controller::Controller;
use crate::run::owners::coordinator::Surroundings;
use crate::run::owners::groups::GroupCoordinator;
use crate::run::owners::markers::{Marked, MarkerWriter};
use crate::run::owners::metadata::Metadata;
use crate::run::owners::partition::{Outlets, Partition};
use crate::run::owners::partitions::Partitions;
use crate::run::owners::proposals::Proposals;
use crate::run::owners::publisher::{Notice, Publisher};
use crate::run::owners::settings::Settings;
use crate::run::owners::storage::Storage;
use crate::run::owners::transactions::{ErrandRunner, TransactionCoordinator};
use crate::run::owners::uplink::Uplink;
use crate::run::work::cleaner::Cleaners;
use crate::run::work::fetchers::Fetchers;
use crate::run::work::flusher::Flushers;
use crate::run::work::housekeeping::keep_house;
use crate::run::work::mover::Movers;
use crate::run::work::post::Post;
use crate::run::work::registrar::Registrar;
use crate::run::work::threads::{SYNCING_THREADS, Threads, on_each};
use crate::stop::Stopping;
use ottla_protocol::api::Listener as Kind;

/// Each reads for one connection at a time. More would not make one disk faster, and would keep it from others for longer.
const READERS_MAX: usize = 4;

/// The broker of a node.
pub(crate) struct RunningBroker {
    pub broker: Arc<Broker>,
    publisher: JoinHandle<()>,
    /// Ends the publisher where no controller does.
    ends_publisher: Sender<Notice>,
    cleaners: Cleaners,
    /// Where the fetchers run.
    fetching: Network,
    membership: Membership,
}

/// What a broker is made of.
pub(super) struct Parts<'a> {
    pub config: &'a Arc<BrokerConfig>,
    pub storage: &'a Arc<Storage>,
    pub loggers: Arc<Loggers>,
    pub flushers: Flushers,
    pub said: Sender<Notice>,
    pub hears: Receiver<Notice>,
    pub ends: FirstFailure,
}

pub(super) async fn start(
    parts: Parts<'_>,
    following: &Following,
    bound: Vec<Bound>,
) -> Result<RunningBroker, BootError> {
    let Parts { config, storage, loggers, flushers, said, hears, ends } = parts;
    let image = Arc::new(Metadata::default());
    let settings = Arc::new(Settings::new(config.clone()));
    let controller = way_to_controller(config, storage, following, &image);
    let (life, hears_of_life) = mpsc::unbounded_channel();
    let registrar = Registrar::new(config.node_id, image.clone(), controller.clone(), life.clone());
    registrar.cordoned(storage.cordon(&config.cordoned_log_dirs));
    let registrar = Arc::new(registrar);
    let partitions: Arc<Partitions> = Arc::default();
    let stopping = Stopping::new();
    let surroundings =
        Surroundings { image: image.clone(), partitions: partitions.clone(), stopping: stopping.clone() };
    let groups = Arc::new(GroupCoordinator::new(config, surroundings.clone()));
    storage.report_to(&said);
    let incarnation = Uuid::new_v4();
    let (proposals, proposed) = Proposals::channel();
    tokio::spawn(proposed.carry(config.node_id, image.clone(), controller.clone()));
    let fetching = Network::start("fetcher").map_err(BootError::Thread)?;
    let fetchers = Fetchers::new(config.node_id, settings.clone(), image.clone(), fetching.handle().clone());
    let (fetchers, elected) = (Arc::new(fetchers), Arc::<Notify>::default());
    let publisher = Publisher {
        me: config.node_id,
        replicas: Replicas::new(config.clone(), incarnation),
        settings: settings.clone(),
        storage: storage.clone(),
        partitions: partitions.clone(),
        outlets: Outlets { flushers: flushers.clone(), failures: said.clone(), proposals },
        fetchers: fetchers.clone(),
        elected: elected.clone(),
        newly_elected: false,
        image: image.clone(),
        give_up: Box::new(move |why| ends.tell(BootError::Storage(why))),
        groups: groups.clone(),
        registrar: registrar.clone(),
    };
    let thread = std::thread::Builder::new().name("publisher".into());
    let thread = thread.spawn(move || publisher.serve(&hears)).map_err(BootError::Thread)?;
    // A connection of its own: no request of a client's delays a heartbeat.
    let hears = way_to_controller(config, storage, following, &image);
    let inputs = (life, hears_of_life);
    let mut membership =
        join(config, hears, &image, storage, &bound, (following.network(), inputs), incarnation).await;
    membership.joined().await?;
    // This fails only when the broker is stopping.
    let _ = said.send(Notice::SetStraysAside);
    let post = Post::new(config.node_id, settings.clone(), image.clone(), Handle::current());
    let runner = errand_runner(config, &surroundings, &groups, &controller, post);
    let node = node(config, storage, loggers, (settings.clone(), image, controller, stopping));
    let broker = Arc::new(Broker {
        joining: Post::new(config.node_id, settings.clone(), node.image.clone(), Handle::current()),
        node,
        sessions: sessions(config),
        movers: Movers::new(partitions.clone(), settings, storage.clone(), registrar),
        storage: storage.clone(),
        partitions,
        groups,
        fetchers,
        sent: Default::default(),
        producer_ids: runner.producer_ids.clone(),
        markers: runner.markers.clone(),
        transactions: TransactionCoordinator::new(config, surroundings, runner),
    });
    tokio::spawn(load_shards(broker.clone(), elected));
    resume_moves(&broker);
    let cleaners = Cleaners::start(broker.partitions.clone(), broker.settings.clone(), storage.clone());
    let cleaners = cleaners.map_err(BootError::Thread)?;
    for socket in bound {
        tokio::spawn(serve(service(&broker), socket));
    }
    tokio::spawn(keep_house(broker.clone(), storage.clone(), flushers));
    Ok(RunningBroker { broker, publisher: thread, ends_publisher: said, cleaners, fetching, membership })
}

type Shared = (Arc<Settings>, Arc<Metadata>, Controller, Stopping);

fn node(
    config: &BrokerConfig,
    storage: &Storage,
    loggers: Arc<Loggers>,
    (settings, image, controller, stopping): Shared,
) -> Arc<Node> {
    Arc::new(Node {
        me: config.node_id,
        cluster_id: storage.cluster_id.clone(),
        settings,
        loggers,
        image,
        controller,
        census: Default::default(),
        request_memory: RequestMemory::new(config.queued_max_request_bytes),
        readers: Threads::new("reader", READERS_MAX),
        stopping,
    })
}

fn way_to_controller(
    config: &BrokerConfig,
    storage: &Storage,
    following: &Following,
    image: &Arc<Metadata>,
) -> Controller {
    let here = following.commands();
    // Where the voters are not in the configuration, more can be added at any time (KIP-853).
    let elsewhere = config.controller_quorum_voters.len() != 1 || here.is_none();
    let uplink = || Uplink::new(storage.cluster_id.clone(), following.leading(), image.clone());
    Controller {
        here,
        uplink: elsewhere.then(|| Arc::new(uplink())),
        leading: following.leading(),
        carried_out: true,
        agreed: following.agreed(),
        missed: None,
    }
}

fn errand_runner(
    config: &BrokerConfig,
    surroundings: &Surroundings,
    groups: &Arc<GroupCoordinator>,
    controller: &Controller,
    post: Post<Marked>,
) -> ErrandRunner {
    let Surroundings { image, partitions, .. } = surroundings.clone();
    let markers = MarkerWriter {
        me: config.node_id,
        image: image.clone(),
        partitions,
        groups: groups.clone(),
        post,
        timeout_ms: config.request_timeout_ms.into(),
    };
    ErrandRunner {
        me: config.node_id,
        image,
        controller: controller.clone(),
        producer_ids: Arc::default(),
        markers: Arc::new(markers),
    }
}

// Whoever becomes a coordinator loads what it has to know before the first client asks.
async fn load_shards(broker: Arc<Broker>, elected: Arc<Notify>) {
    let stopping = broker.stopping.clone();
    loop {
        broker.groups.wake_all();
        broker.transactions.wake_all();
        tokio::select! {
            () = elected.notified() => {}
            () = stopping.cancelled() => return,
        }
    }
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

impl RunningBroker {
    /// Hands over what it leads, then sends the clients away. The epoch that it had.
    pub async fn leave(&mut self) -> Option<BrokerEpoch> {
        let epoch = self.membership.leave().await;
        self.broker.stopping.cancel();
        self.broker.census.emptied().await;
        epoch
    }

    /// Ends what goes on in the background and closes every log.
    pub fn close(self, storage: &Storage, epoch: Option<BrokerEpoch>) {
        let RunningBroker { broker, publisher, ends_publisher, cleaners, fetching, .. } = self;
        // This fails if the publisher has ended with its controller.
        let _ = ends_publisher.send(Notice::Ended);
        broker.fetchers.stop();
        fetching.stop();
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
    // Closing a log syncs its files, which is faster for many at once.
    let threads = SYNCING_THREADS.max(broker.config().num_recovery_threads_per_data_dir.max(1) as usize);
    let results = on_each(broker.partitions.all(), threads, |partition| {
        let closed = catch_unwind(AssertUnwindSafe(|| close(&partition)));
        closed.unwrap_or_else(|_| Some(Err(partition.place().folder.clone())))
    });
    let mut closed = Vec::new();
    let mut failed = Vec::new();
    for result in results.into_iter().flatten() {
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
