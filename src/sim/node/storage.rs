//! The node's one log directory, used as the broker's shell uses it: formatted once, swept, checkpointed while it runs,
//! marked clean when it stops. It must never know who leads what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::Disk;
use ottla_log::dirs::{Checkpoint, DirError, Expected, LogDir, MetaProperties, format};
use ottla_log::log::{Log, LogError, Opening, Recovery};
use ottla_model::{
    BrokerEpoch, DirectoryId, FolderSuffix, NodeId, PartitionFolder, TopicPartition, fresh_id,
};
use ottla_node::replicas;
use ottla_protocol::Offset;
use uuid::Uuid;

use crate::dice::Dice;
use crate::marks::mark_if;
use crate::mutation::Mutation;

pub(crate) type Offsets = BTreeMap<TopicPartition, Offset>;

/// The directory, locked for as long as this lives.
pub(crate) struct Storage {
    pub disk: Arc<dyn Disk>,
    held: LogDir,
    pub id: DirectoryId,
    clean: bool,
    /// What the checkpoints on disk say, in the order of `CHECKPOINTS`.
    written: [Offsets; 3],
    producer_id_expiration_ms: i64,
    leaving: Vec<(PathBuf, i64)>,
    /// A log that is here could not be opened.
    damaged: bool,
    mutation: Option<Mutation>,
}

impl Storage {
    pub fn open(
        disk: Arc<dyn Disk>,
        me: NodeId,
        dice: &mut Dice,
        mutation: Option<Mutation>,
    ) -> Result<Storage, DirError> {
        let path = Path::new(DATA);
        let mut random = || (u128::from(dice.number()) << 64) | u128::from(dice.number());
        if MetaProperties::read(&*disk, path)?.is_none() {
            let directory_id = Some(fresh_id(&mut random));
            let meta = MetaProperties { cluster_id: "simulated".into(), node_id: me, directory_id };
            format(&*disk, path, &meta)?;
        }
        let expected = Expected { cluster_id: Some("simulated"), node_id: me };
        let mut held = LogDir::open(disk.clone(), path, expected)?;
        let id = held.adopt_id(fresh_id(&mut random))?;
        held.sweep(&held.folders()?)?;
        // A damaged checkpoint is one that says nothing: recovery reads more.
        let written = CHECKPOINTS.map(|which| held.checkpoint(which).unwrap_or_default());
        let clean = held.take_clean()?.is_some();
        mark_if(clean, "a start after a clean stop");
        let clean = clean || mutation == Some(Mutation::TrustEveryStop);
        let (leaving, damaged) = Default::default();
        let producer_id_expiration_ms = PRODUCER_ID_EXPIRATION_MS;
        Ok(Storage { disk, held, id, clean, written, producer_id_expiration_ms, leaving, damaged, mutation })
    }

    pub fn open_log(
        &mut self,
        opening: &replicas::Opening,
        now_ms: i64,
        jitter_seed: u64,
    ) -> Result<Log, LogError> {
        let id = &opening.id;
        if !self.disk.exists(&self.held.path().join(id.to_string())) {
            let source = std::io::Error::other("a checkpoint cannot be written");
            self.forget(id).map_err(|_| LogError::Io { doing: "forgetting an earlier topic", source })?;
        }
        let forgets = self.mutation == Some(Mutation::ForgetProducers);
        let producer_id_expiration_ms = if forgets { -1 } else { self.producer_id_expiration_ms };
        let dir = self.held.path().join(id.to_string());
        mark_if(holds(&*self.disk, &dir, ".snapshot"), "producers were read from a snapshot");
        let (log, recovery) = Log::open(Opening {
            disk: self.disk.clone(),
            dir,
            partition: id.clone(),
            topic_id: Some(opening.topic),
            config: opening.config.clone(),
            clean_shutdown: opening.last_owner.left_it_clean(self.clean),
            recovery_point: self.written[RECOVERY_POINT].get(id).copied().unwrap_or(0),
            log_start: self.written[LOG_START].get(id).copied().unwrap_or(0),
            now_ms,
            producer_id_expiration_ms,
            jitter_seed,
        })?;
        mark_recovery(&recovery);
        Ok(log)
    }

    /// For the logs that are opened from now on.
    pub fn expire_producers_after(&mut self, ms: i64) {
        self.producer_id_expiration_ms = ms;
    }

    /// Nothing here is clean.
    pub fn could_not_open(&mut self) {
        self.damaged = true;
    }

    /// What the checkpoints on disk say of an earlier topic of that name must not be taken for the new one's: its log
    /// would begin where the other one ended, or be thrown away after the next crash.
    fn forget(&mut self, id: &TopicPartition) -> Result<(), DirError> {
        for which in [RECOVERY_POINT, LOG_START] {
            self.held.forget(CHECKPOINTS[which], &mut self.written[which], id)?;
        }
        Ok(())
    }

    /// Makes way for a topic whose name an earlier one had. A crash after the earlier one's deletion was agreed on, and
    /// before its folder was renamed, leaves that folder behind. As in Kafka it is kept, for somebody to look at.
    pub fn set_aside(&mut self, id: &TopicPartition, unique: Uuid) -> std::io::Result<()> {
        let folder = PartitionFolder::marked(id, FolderSuffix::Stray, unique);
        let to = self.held.path().join(folder);
        self.disk.rename(&self.held.path().join(id.to_string()), &to)?;
        self.disk.sync_dir(self.held.path())
    }

    /// Where the folders of partitions are.
    pub fn found(&self) -> Result<Vec<(TopicPartition, DirectoryId)>, DirError> {
        let live = self.held.folders()?.live.into_iter();
        Ok(live.map(|folder| (folder.partition, self.id)).collect())
    }

    pub fn remove_later(&mut self, folder: PathBuf, due_ms: i64) {
        self.leaving.push((folder, due_ms));
    }

    pub fn remove_due(&mut self, now_ms: i64) {
        let (due, later): (Vec<_>, Vec<_>) =
            self.leaving.drain(..).partition(|(_, due_ms)| *due_ms <= now_ms);
        self.leaving = later;
        for (folder, _) in due {
            // The next start sweeps what cannot be removed now.
            let _ = self.disk.remove_dir_all(&folder);
        }
    }

    /// False when the file could not be written.
    pub fn checkpoint<'a>(&mut self, which: Checkpoint, logs: impl Iterator<Item = &'a Log>) -> bool {
        let lies = self.mutation == Some(Mutation::CheckpointLogEnd);
        let at = |log: &Log| match which {
            Checkpoint::RecoveryPoint if lies => log.log_end_offset(),
            Checkpoint::RecoveryPoint => log.recovery_point(),
            Checkpoint::LogStart => log.log_start_offset(),
            Checkpoint::HighWatermark | Checkpoint::Cleaner => log.high_watermark(),
        };
        let mut offsets: Offsets = logs.map(|log| (log.partition().clone(), at(log))).collect();
        let slot = &mut self.written[CHECKPOINTS.iter().position(|known| *known == which).unwrap_or(0)];
        self.held.keep_known(slot, &mut offsets);
        if *slot == offsets {
            return true;
        }
        let written = self.held.write_checkpoint(which, &offsets).is_ok();
        if written {
            *slot = offsets;
        }
        written
    }

    /// The end of a clean stop.
    pub fn close(&mut self, closed: &[Log], all_closed: bool, epoch: BrokerEpoch) {
        let mut whole = all_closed && !self.damaged;
        for which in CHECKPOINTS {
            whole &= self.checkpoint(which, closed.iter());
        }
        if whole {
            // Without the mark the next start reads more.
            let _ = self.held.mark_clean(epoch);
        }
    }
}

/// Whether a file with such an end of its name is there.
pub(super) fn holds(disk: &dyn Disk, dir: &Path, suffix: &str) -> bool {
    let entries = if disk.exists(dir) { disk.list(dir).unwrap_or_default() } else { Vec::new() };
    entries.iter().any(|entry| entry.name.ends_with(suffix))
}

/// For the marks: what opening had to do.
pub(crate) fn mark_recovery(recovery: &Recovery) {
    mark_if(recovery.truncated_bytes > 0, "a torn tail was cut off");
    mark_if(!recovery.dropped_segments.is_empty(), "segments behind a damaged one were dropped");
}

/// Those that a start or its operator reads, in the order in which a stop writes them.
pub(crate) const CHECKPOINTS: [Checkpoint; 3] =
    [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::HighWatermark];
const RECOVERY_POINT: usize = 0;
const LOG_START: usize = 1;
/// Where everything is.
pub(crate) const DATA: &str = "/data";
/// Longer than any run: what a producer sent is known for as long as it matters.
const PRODUCER_ID_EXPIRATION_MS: i64 = 7 * 24 * 3_600_000;
