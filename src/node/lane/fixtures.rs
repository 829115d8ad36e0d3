//! What the stories of a lane begin with: an empty log in memory, and a client's batch for it.

use std::path::PathBuf;
use std::sync::Arc;

use ottla_log::CheckedBatch;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{Log, Opening};
use ottla_model::config::TopicConfig;
use ottla_model::{NodeId, TopicPartition};
use ottla_protocol::LeaderEpoch;
use ottla_protocol::batch::BatchBuilder;

use super::{Host, Waiters};

/// In stories every waiter is a number.
impl Waiters for u32 {
    type Append = u32;
    type Deletion = u32;
    type Swap = u32;
    type Move = u32;
    type Fetch = u32;
    type Verification = u32;
    type Fetcher = u32;
}

pub(super) fn host(id: i32) -> Host {
    Host { id: NodeId(id), replica_lag_time_max_ms: 30_000 }
}

pub(super) fn opening(disk: &MemoryDisk, config: &Arc<TopicConfig>) -> Opening {
    Opening {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from("/data/t-0"),
        partition: TopicPartition::new("t", 0),
        topic_id: None,
        config: config.clone(),
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms: 0,
        producer_id_expiration_ms: i64::MAX,
        jitter_seed: 0,
    }
}

pub(super) fn open(disk: &MemoryDisk, config: &Arc<TopicConfig>) -> Log {
    Log::open(opening(disk, config)).expect("a log that opens").0
}

/// A client's batch, checked as a broker checks it.
pub(super) fn checked(batch: BatchBuilder, config: &TopicConfig) -> CheckedBatch {
    let partition = TopicPartition::new("t", 0);
    let rules = Rules {
        partition: &partition,
        topic: config,
        origin: Origin::Client,
        now_ms: 0,
        produce_version: 13,
    };
    check(batch.build(0, LeaderEpoch::NONE), &rules).expect("a good batch").remove(0)
}
