//! A broker's configuration, typed: fields for what the code uses, and any key by its name. It must never know how a
//! configuration is read: `load` collects the layers, this file interprets them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::endpoint::{HostPort, Listener, Voter};
use super::error::ConfigError;
use super::layers::{Dynamic, Effective, Layers};
use super::listeners::Sockets;
use super::table::broker_key;
use super::topic::TopicConfig;
use super::value::{FromValue, Value};
use super::{listeners, quorum, rules};
use crate::NodeId;

/// The roles of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Broker,
    Controller,
}

macro_rules! broker_config {
    ($($field:ident: $type:ty = $key:literal,)*) => {
        /// A broker's settings, typed and checked together. Units are in the names; meanings are in the table.
        #[derive(Clone, Debug, PartialEq)]
        pub struct BrokerConfig {
            pub node_id: NodeId,
            pub roles: BTreeSet<Role>,
            /// Where the node listens, controller listeners included.
            pub listeners: Vec<Listener>,
            /// The addresses that clients are told, without controller listeners. See [`Listener::resolved`].
            pub advertised_listeners: Vec<Listener>,
            /// Where other nodes find this controller, as far as `advertised.listeners` says so.
            pub advertised_controllers: Vec<Listener>,
            pub controller_listener_names: Vec<String>,
            pub inter_broker_listener_name: String,
            pub log_dirs: Vec<PathBuf>,
            pub metadata_log_dir: PathBuf,
            pub controller_quorum_voters: Vec<Voter>,
            pub controller_quorum_bootstrap_servers: Vec<HostPort>,
            pub max_connections_per_ip_overrides: BTreeMap<String, i32>,
            /// The configuration of a topic without settings of its own.
            pub topic_defaults: TopicConfig,
            $(#[doc = concat!("`", $key, "`")] pub $field: $type,)*
            layers: Arc<Layers>,
        }

        impl BrokerConfig {
            /// Gives values their types, checks them against each other and refuses what cannot be honoured. Each single
            /// value in the layers was checked before.
            pub(super) fn from_layers(layers: Layers) -> Result<BrokerConfig, ConfigError> {
                rules::check_required(&layers)?;
                rules::check_refused(&layers)?;
                let names = Names::read(&layers)?;
                let sockets = Sockets::read(&layers, &names)?;
                let config = BrokerConfig {
                    node_id: NodeId(take(&layers, "node.id")?),
                    controller_quorum_voters: quorum::voters(&layers)?,
                    controller_quorum_bootstrap_servers: quorum::bootstrap_servers(&layers)?,
                    log_dirs: names.log_dirs.iter().map(PathBuf::from).collect(),
                    metadata_log_dir: PathBuf::from(&names.metadata_log_dir),
                    max_connections_per_ip_overrides: listeners::per_ip_overrides(&layers)?,
                    topic_defaults: TopicConfig::from_layers(&layers, &BTreeMap::new())?,
                    roles: names.roles,
                    controller_listener_names: names.controller_listeners,
                    listeners: sockets.listeners,
                    advertised_listeners: sockets.advertised,
                    advertised_controllers: sockets.advertised_controllers,
                    inter_broker_listener_name: sockets.inter_broker,
                    $($field: take(&layers, $key)?,)*
                    layers: Arc::new(layers),
                };
                rules::check_together(&config)?;
                Ok(config)
            }
        }
    };
}

broker_config! {
    add_partitions_to_txn_retry_backoff_max_ms: i32 = "add.partitions.to.txn.retry.backoff.max.ms",
    add_partitions_to_txn_retry_backoff_ms: i32 = "add.partitions.to.txn.retry.backoff.ms",
    auto_create_topics_enable: bool = "auto.create.topics.enable",
    auto_leader_rebalance_enable: bool = "auto.leader.rebalance.enable",
    broker_heartbeat_interval_ms: i32 = "broker.heartbeat.interval.ms",
    broker_session_timeout_ms: i32 = "broker.session.timeout.ms",
    connections_max_idle_ms: i64 = "connections.max.idle.ms",
    controlled_shutdown_enable: bool = "controlled.shutdown.enable",
    controller_quorum_auto_join_enable: bool = "controller.quorum.auto.join.enable",
    controller_quorum_fetch_max_bytes: i32 = "controller.quorum.fetch.max.bytes",
    controller_quorum_fetch_snapshot_max_bytes: i32 = "controller.quorum.fetch.snapshot.max.bytes",
    controller_quorum_election_timeout_ms: i32 = "controller.quorum.election.timeout.ms",
    controller_quorum_fetch_timeout_ms: i32 = "controller.quorum.fetch.timeout.ms",
    controller_quorum_request_timeout_ms: i32 = "controller.quorum.request.timeout.ms",
    controller_quorum_retry_backoff_ms: i32 = "controller.quorum.retry.backoff.ms",
    cordoned_log_dirs: Vec<String> = "cordoned.log.dirs",
    default_replication_factor: i32 = "default.replication.factor",
    delete_topic_enable: bool = "delete.topic.enable",
    fetch_max_bytes: i32 = "fetch.max.bytes",
    group_coordinator_append_linger_ms: i32 = "group.coordinator.append.linger.ms",
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms",
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms",
    group_max_size: i32 = "group.max.size",
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms",
    initial_broker_registration_timeout_ms: i32 = "initial.broker.registration.timeout.ms",
    follower_replication_throttled_rate: i64 = "follower.replication.throttled.rate",
    leader_replication_throttled_rate: i64 = "leader.replication.throttled.rate",
    leader_imbalance_check_interval_seconds: i64 = "leader.imbalance.check.interval.seconds",
    log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms",
    log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size",
    log_cleaner_enable: bool = "log.cleaner.enable",
    log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor",
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second",
    log_cleaner_threads: i32 = "log.cleaner.threads",
    log_flush_offset_checkpoint_interval_ms: i32 = "log.flush.offset.checkpoint.interval.ms",
    log_flush_start_offset_checkpoint_interval_ms: i32 = "log.flush.start.offset.checkpoint.interval.ms",
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms",
    max_connection_creation_rate: i32 = "max.connection.creation.rate",
    max_connections: i32 = "max.connections",
    max_connections_per_ip: i32 = "max.connections.per.ip",
    max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots",
    max_request_partition_size_limit: i32 = "max.request.partition.size.limit",
    metadata_log_max_record_bytes_between_snapshots: i64 = "metadata.log.max.record.bytes.between.snapshots",
    metadata_log_max_snapshot_interval_ms: i64 = "metadata.log.max.snapshot.interval.ms",
    metadata_log_segment_bytes: i32 = "metadata.log.segment.bytes",
    metadata_log_segment_ms: i64 = "metadata.log.segment.ms",
    metadata_max_retention_bytes: i64 = "metadata.max.retention.bytes",
    metadata_max_retention_ms: i64 = "metadata.max.retention.ms",
    min_insync_replicas: i32 = "min.insync.replicas",
    num_partitions: i32 = "num.partitions",
    num_recovery_threads_per_data_dir: i32 = "num.recovery.threads.per.data.dir",
    num_replica_alter_log_dirs_threads: Option<i32> = "num.replica.alter.log.dirs.threads",
    num_replica_fetchers: i32 = "num.replica.fetchers",
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes",
    offsets_commit_timeout_ms: i32 = "offsets.commit.timeout.ms",
    offsets_load_buffer_size: i32 = "offsets.load.buffer.size",
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms",
    offsets_retention_minutes: i32 = "offsets.retention.minutes",
    offsets_topic_compression_codec: i32 = "offsets.topic.compression.codec",
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions",
    offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor",
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes",
    producer_id_expiration_ms: i32 = "producer.id.expiration.ms",
    queued_max_request_bytes: i64 = "queued.max.request.bytes",
    rack: Option<String> = "broker.rack",
    replica_alter_log_dirs_io_max_bytes_per_second: i64 = "replica.alter.log.dirs.io.max.bytes.per.second",
    replica_fetch_backoff_ms: i32 = "replica.fetch.backoff.ms",
    replica_fetch_max_bytes: i32 = "replica.fetch.max.bytes",
    replica_fetch_min_bytes: i32 = "replica.fetch.min.bytes",
    replica_fetch_response_max_bytes: i32 = "replica.fetch.response.max.bytes",
    replica_fetch_wait_max_ms: i32 = "replica.fetch.wait.max.ms",
    replica_high_watermark_checkpoint_interval_ms: i64 = "replica.high.watermark.checkpoint.interval.ms",
    replica_lag_time_max_ms: i64 = "replica.lag.time.max.ms",
    replica_selector_class: Option<String> = "replica.selector.class",
    replica_socket_timeout_ms: i32 = "replica.socket.timeout.ms",
    request_timeout_ms: i32 = "request.timeout.ms",
    socket_listen_backlog_size: i32 = "socket.listen.backlog.size",
    socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes",
    socket_request_max_bytes: i32 = "socket.request.max.bytes",
    socket_send_buffer_bytes: i32 = "socket.send.buffer.bytes",
    transaction_abort_timed_out_transaction_cleanup_interval_ms: i32 =
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
    transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms",
    transaction_partition_verification_enable: bool = "transaction.partition.verification.enable",
    transaction_remove_expired_transaction_cleanup_interval_ms: i32 =
        "transaction.remove.expired.transaction.cleanup.interval.ms",
    transaction_state_log_load_buffer_size: i32 = "transaction.state.log.load.buffer.size",
    transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr",
    transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions",
    transaction_state_log_replication_factor: i16 = "transaction.state.log.replication.factor",
    transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes",
    transaction_two_phase_commit_enable: bool = "transaction.two.phase.commit.enable",
    transactional_id_expiration_ms: i32 = "transactional.id.expiration.ms",
    unclean_leader_election_interval_ms: i64 = "unclean.leader.election.interval.ms",
}

impl BrokerConfig {
    /// Any broker key: the value in force and its source. `None`: Kafka has no such key.
    pub fn get(&self, name: &str) -> Option<Effective> {
        let key = broker_key(name)?;
        Some(self.layers.effective(key).expect("values were checked when the configuration was made"))
    }

    // Rules that go over many keys look values up by name; everybody else has fields. A key without such a value is a
    // mistake of the rule.
    pub(super) fn whole(&self, name: &str) -> i64 {
        let value = self.get(name).and_then(|found| found.value);
        value.and_then(|value| value.as_whole()).unwrap_or_else(|| panic!("{name} has no whole number"))
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        match self.get(name).and_then(|found| found.value) {
            Some(Value::Boolean(value)) => value,
            other => panic!("{name} is no boolean but {other:?}"),
        }
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.get(name).and_then(|found| found.value) {
            Some(Value::List(items)) => items,
            other => panic!("{name} is no list but {other:?}"),
        }
    }

    /// Whether levels of features may be chosen that are still being designed.
    pub fn unstable_features(&self) -> bool {
        self.boolean("unstable.feature.versions.enable")
    }

    /// The same configuration with the dynamic values from the metadata over the static ones. Keys that change only at a
    /// restart keep their values, as in Kafka. After an error the caller keeps the present configuration.
    pub fn with_dynamic(&self, dynamic: Dynamic<'_>) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::from_layers(Layers {
            dynamic_broker: rules::dynamic_only(dynamic.per_broker),
            dynamic_default: rules::dynamic_only(dynamic.cluster_default),
            static_broker: self.layers.static_broker.clone(),
        })
    }

    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The listeners of this node that controllers use.
    pub fn controller_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|listener| self.controller_listener_names.contains(&listener.name))
    }

    /// Where other nodes find this controller's listener. `None` for the host: by the name of this machine.
    pub fn controller_address(&self, listener: &Listener) -> (Option<String>, u16) {
        let advertised = self.advertised_controllers.iter().find(|known| known.name == listener.name);
        let Listener { host, port, .. } = advertised.unwrap_or(listener);
        let host = host.clone().filter(|host| !WILDCARDS.contains(&host.as_str()));
        // Kafka's rule: what is known of the first listener is in `controller.quorum.voters`.
        let is_first = self.controller_listener_names.first() == Some(&listener.name);
        let own = self.controller_quorum_voters.iter().find(|voter| voter.id == self.node_id);
        match own.filter(|_| is_first && host.is_none()) {
            Some(own) => (Some(own.address.host.clone()), own.address.port),
            None => (host, *port),
        }
    }

    /// The listeners of this node that clients and brokers use.
    pub fn broker_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|listener| !self.controller_listener_names.contains(&listener.name))
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }
}

/// What has to be known before the listeners can be parsed.
pub(super) struct Names {
    pub roles: BTreeSet<Role>,
    pub controller_listeners: Vec<String>,
    log_dirs: Vec<String>,
    metadata_log_dir: String,
}

impl Names {
    fn read(layers: &Layers) -> Result<Names, ConfigError> {
        let role = |name: &String| if name == "broker" { Role::Broker } else { Role::Controller };
        let roles: Vec<String> = take(layers, "process.roles")?;
        let controllers: Vec<String> = take(layers, "controller.listener.names")?;
        let log_dirs = match take::<Option<Vec<String>>>(layers, "log.dirs")? {
            Some(dirs) => dirs,
            None => take(layers, "log.dir")?,
        };
        let metadata_log_dir = match take::<Option<String>>(layers, "metadata.log.dir")? {
            Some(dir) => dir,
            None => log_dirs[0].clone(),
        };
        Ok(Names {
            roles: roles.iter().map(role).collect(),
            controller_listeners: controllers.iter().map(|name| name.to_uppercase()).collect(),
            log_dirs,
            metadata_log_dir,
        })
    }
}

/// A key's value, in the type of the field that it is for.
pub(super) fn take<T: FromValue>(layers: &Layers, name: &'static str) -> Result<T, ConfigError> {
    let key = broker_key(name).unwrap_or_else(|| panic!("{name} is not a broker key"));
    let value = layers.value(key)?;
    Ok(T::from_value(value).unwrap_or_else(|| panic!("{name} has not the type that its reader expects")))
}

/// Every address of a machine, and none at which others find it.
const WILDCARDS: [&str; 2] = ["0.0.0.0", "::"];
