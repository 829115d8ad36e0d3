//! Opening: what is in the folder becomes a log again, whatever stopped the process that wrote it. What was flushed is
//! believed, what came after is read again and cut at the first batch that is not whole.

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

/// What [`Log::open`] needs to know. Times are ms since 1970.
#[derive(Clone, Debug)]
pub struct Opening {
    pub disk: Arc<dyn Disk>,
    /// The partition's own folder, created if absent.
    pub dir: PathBuf,
    pub partition: TopicPartition,
    /// Written to `partition.metadata`, or compared with what is there. None: taken from there.
    pub topic_id: Option<TopicId>,
    pub config: Arc<TopicConfig>,
    /// The log directory's clean-shutdown marker was there: nothing is scanned.
    pub clean_shutdown: bool,
    /// From the checkpoint files; 0 where they say nothing.
    pub recovery_point: Offset,
    pub log_start: Offset,
    pub now_ms: i64,
    pub producer_id_expiration_ms: i64,
    /// Draws this log's `segment.jitter.ms`.
    pub jitter_seed: u64,
}

/// What opening had to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of segments that were read again, being past the recovery point.
    pub scanned_bytes: u64,
    /// Bytes cut off behind the last valid batch, dropped segments not counted.
    pub truncated_bytes: u64,
    /// Where the log ends now, if something was cut off or dropped at its end.
    pub truncated_to: Option<Offset>,
    /// Base offsets of segments that were behind the first invalid batch or a hole.
    pub dropped_segments: Vec<Offset>,
    /// Base offsets of segments below the recovery point whose indexes were made anew.
    pub rebuilt_indexes: Vec<Offset>,
}

pub(super) fn open(opening: Opening) -> Result<(Log, Recovery), LogError> {
    let (disk, dir) = (&opening.disk, &opening.dir);
    let mut unflushed = Unflushed::since(opening.now_ms);
    if !opening.clean_shutdown || !disk.exists(dir) {
        // Nobody knows whether the names that an earlier process left are there for good.
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
