//! The two threads behind everything that a broker does with metadata, and what they share with the rest of it: the
//! controller's thread decides, the publisher's thread carries out what a new image asks.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use ottla_log::Disk;
use ottla_log::disk::RealDisk;
use ottla_model::config::BrokerConfig;
use ottla_model::image::Image;
use ottla_node::controller::{Controller as Machine, Settings as MachineSettings, Snapshots};
use ottla_node::quorum::{Keep, Quorum};
use ottla_node::replicas::Replicas;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{BootError, Failure};
use crate::clock::now_ms;
use crate::run::owners::controller::{self, Controller, Token, Writer};
use crate::run::owners::groups::GroupCoordinator;
use crate::run::owners::partitions::Partitions;
use crate::run::owners::publisher::Publisher;
use crate::run::owners::settings::Settings;
use crate::run::owners::storage::Storage;
use crate::run::work::flusher::Flushers;
use crate::run::work::registrar::Registrar;

/// What both threads work on. The rest of the broker is built around it.
pub(super) struct Control {
    pub settings: Arc<Settings>,
    pub partitions: Arc<Partitions>,
    pub image: Arc<ArcSwap<Image>>,
    pub flushers: Flushers,
    pub groups: Arc<GroupCoordinator>,
    pub registrar: Arc<Registrar>,
    pub controller: Controller,
    pub threads: Vec<JoinHandle<()>>,
}

impl Control {
    pub fn start(
        config: &Arc<BrokerConfig>,
        storage: &Arc<Storage>,
    ) -> Result<(Control, Failure), BootError> {
        // Its own: whoever changes a name on a stalled disk keeps others from opening files.
        let metadata_disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
        let machine = machine(metadata_disk.clone(), config, storage)?;
        let (said, hears) = channel();
        storage.report_to(&said);
        let (ends, failure) = FirstFailure::new();
        let flushers = Flushers::default();
        let writer = Writer { disk: metadata_disk, flushers: flushers.clone() };
        let controller_ends = ends.clone();
        let ended = move |outcome: Result<(), String>| {
            if let Err(failed) = outcome {
                error!(error = failed, "the controller cannot go on");
                controller_ends.tell(BootError::Controller(failed));
            }
        };
        let (controller, controller_thread) =
            controller::start(machine, false, said.clone(), writer, ended).map_err(BootError::Thread)?;
        let image = Arc::new(ArcSwap::from_pointee(Image::empty()));
        let registrar = {
            let (me, image, controller) = (config.node_id, image.clone(), controller.clone());
            Arc::new(Registrar { me, image, tell: Box::new(move |command| controller.tell(command)) })
        };
        let publisher = Publisher {
            me: config.node_id,
            replicas: Replicas::new(config.clone()),
            settings: Arc::new(Settings::new(config.clone())),
            storage: storage.clone(),
            partitions: Arc::default(),
            flushers: flushers.clone(),
            image: image.clone(),
            failures: said,
            give_up: Box::new(move |why| ends.tell(BootError::Storage(why))),
            groups: Arc::new(GroupCoordinator::new(config)),
            registrar: registrar.clone(),
        };
        let (settings, partitions) = (publisher.settings.clone(), publisher.partitions.clone());
        let groups = publisher.groups.clone();
        let publisher_thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || publisher.serve(&hears))
            .map_err(BootError::Thread)?;
        let threads = vec![controller_thread, publisher_thread];
        let control =
            Control { settings, partitions, image, flushers, groups, registrar, controller, threads };
        Ok((control, failure))
    }
}

/// The way to say that the broker must stop by itself. The first reason is the one that counts; the broker may be stopping
/// already.
#[derive(Clone)]
struct FirstFailure(Arc<Mutex<Option<oneshot::Sender<BootError>>>>);

impl FirstFailure {
    fn new() -> (FirstFailure, Failure) {
        let (fails, failure) = oneshot::channel();
        (FirstFailure(Arc::new(Mutex::new(Some(fails)))), failure)
    }

    fn tell(&self, why: BootError) {
        drop(self.0.lock().take().map(|fails| fails.send(why)));
    }
}

// The controller of a quorum that has this node alone.
fn machine(
    disk: Arc<dyn Disk>,
    config: &BrokerConfig,
    storage: &Storage,
) -> Result<Machine<Token>, BootError> {
    let directory = storage.directory_id(&config.metadata_log_dir);
    let (quorum, recovery) = Quorum::of_one(disk, config, directory, now_ms())?;
    if recovery.truncated_bytes > 0 || !recovery.dropped_segments.is_empty() {
        warn!(
            truncated_bytes = recovery.truncated_bytes,
            dropped_segments = ?recovery.dropped_segments,
            log_end_offset = quorum.next_offset(),
            "the metadata log was damaged behind this offset and is cut there"
        );
    }
    let settings = MachineSettings {
        config: config.clone(),
        snapshots: Snapshots {
            bytes: config.metadata_log_max_record_bytes_between_snapshots,
            interval_ms: config.metadata_log_max_snapshot_interval_ms,
            keep: Keep { bytes: config.metadata_max_retention_bytes, ms: config.metadata_max_retention_ms },
        },
        chance: Box::new(rand::random::<u64>),
    };
    Ok(Machine::new(quorum, settings))
}
