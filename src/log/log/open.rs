//! Opening: builds a log from its folder, however the process that wrote it ended. What was flushed is trusted, what came
//! after is read again and cut at the first batch that is not whole.

use std::path::PathBuf;
use std::sync::Arc;

use ottla_model::config::TopicConfig;
use ottla_model::{TopicId, TopicPartition};
use ottla_protocol::Offset;

use super::epochs::Epochs;
use super::error::{LogError, io as io_error};
use super::flush::Unflushed;
use super::inventory::Inventory;
use super::leftovers::tidy;
use super::loading::Loading;
use super::lowered::Lowered;
use super::producers::Producers;
use super::snapshot::Snapshots;
use super::{Log, partition_metadata};
use crate::Disk;

/// The arguments of [`Log::open`]. Times are in ms since 1970.
#[derive(Clone, Debug)]
pub struct Opening {
    pub disk: Arc<dyn Disk>,
    /// The partition's own folder. It is created if it does not exist.
    pub dir: PathBuf,
    pub partition: TopicPartition,
    /// Written to `partition.metadata`, or compared with its contents. `None`: taken from that file.
    pub topic_id: Option<TopicId>,
    pub config: Arc<TopicConfig>,
    /// The log directory has its clean-shutdown marker, so nothing is scanned.
    pub clean_shutdown: bool,
    /// From the checkpoint files; 0 if they have no entry for the partition.
    pub recovery_point: Offset,
    pub log_start: Offset,
    pub now_ms: i64,
    pub producer_id_expiration_ms: i64,
    /// Seeds this log's `segment.jitter.ms`.
    pub jitter_seed: u64,
}

/// What opening had to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of segments after the recovery point, which were read again.
    pub scanned_bytes: u64,
    /// Bytes cut off after the last valid batch, without those of dropped segments.
    pub truncated_bytes: u64,
    /// The new log end. `None`: nothing was cut off or dropped.
    pub truncated_to: Option<Offset>,
    /// Base offsets of segments that were dropped because they came after the first invalid batch or a hole.
    pub dropped_segments: Vec<Offset>,
    /// Base offsets of segments below the recovery point whose indexes were rebuilt.
    pub rebuilt_indexes: Vec<Offset>,
}

pub(super) fn open(opening: Opening) -> Result<(Log, Recovery), LogError> {
    let (disk, dir) = (&opening.disk, &opening.dir);
    let mut unflushed = Unflushed::since(opening.now_ms);
    if !opening.clean_shutdown || !disk.exists(dir) {
        // An earlier process may have left renames that are not durable yet.
        unflushed.folder_changed();
        unflushed.parent_changed();
    }
    disk.create_dir_all(dir).map_err(io_error("creating a partition's folder"))?;
    let topic_id = partition_metadata::settle(disk.as_ref(), dir, opening.topic_id)?;
    let entries = tidy(disk.as_ref(), dir)?;
    let mut inventory = Inventory::read(disk.as_ref(), dir, &entries)?;
    let starts = Epochs::read(disk.as_ref(), dir).map_err(io_error("reading the leader epochs"))?;
    if let Some(first) = starts.as_ref().and_then(|starts| starts.first()).filter(|_| !opening.clean_shutdown)
    {
        inventory.drop_retired(disk.as_ref(), dir, first.offset)?;
    }
    let reading = io_error("reading a lowered recovery point");
    let lowered = Lowered::read(disk.as_ref(), dir, opening.recovery_point).map_err(reading)?;
    let mut loading = Loading {
        lowered,
        epochs_known: starts.is_some(),
        epochs: Epochs::new(dir, starts.unwrap_or_default()),
        snapshots: Snapshots::new(disk.clone(), dir, inventory.snapshots),
        segments: Vec::new(),
        current: None,
        producers: Producers::new(opening.log_start, opening.producer_id_expiration_ms),
        unflushed,
        recovery: Recovery::default(),
        opening: &opening,
    };
    match opening.clean_shutdown {
        true => loading.load_clean(&inventory.segments)?,
        false => loading.load_unclean(&inventory.segments)?,
    }
    loading.finish(topic_id)
}
