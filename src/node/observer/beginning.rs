//! How an observer begins: its metadata log, and what its configuration says.

use std::sync::Arc;

use ottla_log::Disk;
use ottla_log::log::Recovery;
use ottla_model::config::BrokerConfig;

use super::{Observer, ObserverError, Settings};
use crate::applying::Snapshots;
use crate::quorum::{Keep, ReplicaKey, founding};

impl Settings {
    pub fn of(config: &BrokerConfig, cluster_id: String, me: ReplicaKey) -> Settings {
        let keep = Keep { bytes: config.metadata_max_retention_bytes, ms: config.metadata_max_retention_ms };
        let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0).max(1);
        Settings {
            cluster_id,
            me,
            snapshots: Snapshots {
                bytes: config.metadata_log_max_record_bytes_between_snapshots,
                interval_ms: config.metadata_log_max_snapshot_interval_ms,
                keep,
            },
            fetch_bytes: bytes(config.controller_quorum_fetch_max_bytes),
            snapshot_bytes: bytes(config.controller_quorum_fetch_snapshot_max_bytes),
            retry_backoff_ms: i64::from(config.controller_quorum_retry_backoff_ms),
            request_timeout_ms: i64::from(config.controller_quorum_request_timeout_ms.max(1)),
        }
    }
}

impl Observer {
    /// Opens the metadata log in its directory and follows with it. The recovery says whether the log was damaged.
    pub fn begin(
        disk: Arc<dyn Disk>,
        config: &BrokerConfig,
        settings: Settings,
        now_ms: i64,
    ) -> Result<(Observer, Recovery), ObserverError> {
        let topic = Arc::new(founding::topic_config(config));
        let (log, recovery) = founding::open_log(disk.clone(), config, topic, now_ms)?;
        Ok((Observer::open(disk, log, settings, now_ms)?, recovery))
    }
}
