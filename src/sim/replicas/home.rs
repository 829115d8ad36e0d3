//! The log directory of a process: its log, its checkpoints, and the mark of a clean stop. It must never know who leads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::Disk;
use ottla_log::dirs::{Checkpoint, Checkpoints, DirError, Expected, LogDir, MetaProperties};
use ottla_log::log::{Log, LogError, Opening};
use ottla_model::config::TopicConfig;
use ottla_model::{BrokerEpoch, NodeId, TopicPartition};
use ottla_protocol::Offset;

use crate::disk::SimDisk;
use crate::mutation::Mutation;
use crate::node::mark_recovery;

pub(super) struct Home {
    disk: Arc<SimDisk>,
    held: LogDir,
    checkpoints: Checkpoints,
    /// The epoch of the process before, if that has stopped cleanly.
    pub previous: Option<BrokerEpoch>,
    mutation: Option<Mutation>,
}

impl Home {
    pub fn open(me: NodeId, disk: Arc<SimDisk>, mutation: Option<Mutation>) -> Result<Home, DirError> {
        let expected = Expected { cluster_id: Some(CLUSTER), node_id: me };
        let new = || Some(MetaProperties { cluster_id: CLUSTER.to_owned(), node_id: me, directory_id: None });
        let held = LogDir::open_or_format(disk.clone(), Path::new(DIR), expected, new)?;
        let checkpoints = Checkpoints::read(&held);
        let previous = held.take_clean()?.map(|mark| mark.epoch);
        Ok(Home { disk, held, checkpoints, previous, mutation })
    }

    /// The log of the partition, made if it is not there.
    pub fn open_log(&self, config: &Arc<TopicConfig>, now_ms: i64, life: u64) -> Result<Log, LogError> {
        let says = |which| self.checkpoints.says(which, &partition()).unwrap_or(0);
        let trusts = self.mutation == Some(Mutation::TrustEveryStop);
        let (log, recovery) = Log::open(Opening {
            disk: self.disk.clone(),
            dir: folder(),
            partition: partition(),
            topic_id: None,
            config: config.clone(),
            clean_shutdown: self.previous.is_some() || trusts,
            recovery_point: says(Checkpoint::RecoveryPoint),
            log_start: says(Checkpoint::LogStart),
            now_ms,
            producer_id_expiration_ms: i64::MAX,
            jitter_seed: life,
        })?;
        mark_recovery(&recovery);
        Ok(log)
    }

    /// False when a file could not be written.
    pub fn checkpoint(&mut self, log: &Log) -> bool {
        Checkpoint::OF_OPEN_LOGS.into_iter().fold(true, |all, which| {
            let lies =
                self.mutation == Some(Mutation::CheckpointLogEnd) && which == Checkpoint::RecoveryPoint;
            let at = if lies { Some(log.log_end_offset()) } else { log.checkpoint(which) };
            let offsets = at.map(|at| (partition(), at)).into_iter().collect();
            self.checkpoints.write(&self.held, which, offsets).is_ok() & all
        })
    }

    /// The end of a clean stop. `epoch`: of the process, which has registered. Without the mark the next start reads more,
    /// and proves nothing.
    pub fn close(mut self, mut log: Log, epoch: i64) {
        if log.close().is_ok() && self.checkpoint(&log) {
            let _ = self.held.mark_clean(BrokerEpoch(epoch));
        }
    }

    /// Where a fetch from `from` goes on, if it skips the rest of a segment that is full.
    pub fn behind_segment(&self, from: Offset) -> Offset {
        let names = self.disk.list(&folder()).unwrap_or_default();
        let bases = names.iter().filter_map(|entry| entry.name.strip_suffix(".log")?.parse::<Offset>().ok());
        let mut bases: Vec<Offset> = bases.collect();
        bases.sort();
        bases.into_iter().find(|base| *base >= from).unwrap_or(from)
    }
}

pub(super) fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn folder() -> PathBuf {
    Path::new(DIR).join(partition().to_string())
}

const CLUSTER: &str = "simulated";
/// On each machine's disk.
pub(super) const DIR: &str = "/data";
