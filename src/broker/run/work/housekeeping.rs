//! Periodic work: retention, checkpoints, and removing files that are due.

use std::sync::Arc;
use std::time::Duration;

use ottla_log::dirs::Checkpoint;
use ottla_node::lane::Input;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::broker::Broker;
use crate::run::owners::storage::Storage;
use crate::run::work::flusher::Flushers;

/// How often to look for files that are due, and for logs that `flush.ms` asks to flush.
const SWEEP_MS: i64 = 1_000;

/// Does the periodic work until the broker stops.
pub(crate) async fn keep_house(broker: Arc<Broker>, storage: Arc<Storage>, flushers: Flushers) {
    let config = broker.config().clone();
    let mut sweep = every(SWEEP_MS);
    let mut retention = every(config.log_retention_check_interval_ms);
    let mut recovery = every(i64::from(config.log_flush_offset_checkpoint_interval_ms));
    let mut starts = every(i64::from(config.log_flush_start_offset_checkpoint_interval_ms));
    let mut in_sync = every(config.replica_lag_time_max_ms / 2);
    let mut watermarks = every(config.replica_high_watermark_checkpoint_interval_ms);
    loop {
        let stopping = broker.stopping.clone();
        let due = tokio::select! {
            _ = sweep.tick() => Due::Sweep,
            _ = retention.tick() => Due::Retention,
            _ = recovery.tick() => Due::Checkpoint(Checkpoint::RecoveryPoint),
            _ = starts.tick() => Due::Checkpoint(Checkpoint::LogStart),
            _ = in_sync.tick() => Due::InSync,
            _ = watermarks.tick() => Due::Checkpoint(Checkpoint::HighWatermark),
            () = stopping.cancelled() => return,
        };
        if let Due::Sweep = due {
            // Also after a partition of theirs came here, or was opened again.
            broker.transactions.wake_all();
        }
        let (broker, storage, flushers) = (broker.clone(), storage.clone(), flushers.clone());
        // A disk may stall, which must not block a worker that serves clients.
        let done = tokio::task::spawn_blocking(move || match due {
            Due::Sweep => {
                flushers.remove_due(false);
                storage.remove_due();
                tick(&broker, true);
            }
            Due::Retention => tick(&broker, false),
            Due::InSync => expire(&broker),
            // If it fails, it has logged why, and it is tried again.
            Due::Checkpoint(which) => drop(storage.checkpoint(which, &broker.partitions)),
        });
        if let Err(error) = done.await {
            tracing::error!(%error, "housekeeping failed");
        }
    }
}

#[derive(Clone, Copy)]
enum Due {
    Sweep,
    Retention,
    /// Followers that lag may have to leave in-sync sets.
    InSync,
    Checkpoint(Checkpoint),
}

// Between two retention checks, only logs with a flush interval of their own need a tick.
fn tick(broker: &Broker, only_timed_flushes: bool) {
    for partition in broker.partitions.all() {
        if !only_timed_flushes || partition.config.load().flush_ms < i64::MAX {
            partition.submit_from_thread(Input::Tick);
        }
    }
}

fn expire(broker: &Broker) {
    for partition in broker.partitions.all() {
        if !partition.has_resigned() {
            partition.submit_from_thread(Input::Expire);
        }
    }
}

fn every(ms: i64) -> tokio::time::Interval {
    let period = Duration::from_millis(ms.max(1) as u64);
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
