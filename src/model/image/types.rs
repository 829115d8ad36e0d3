//! The parts of an image: topics, partitions, nodes. Plain data, immutable once published.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use crate::ids::{BrokerEpoch, DirectoryId, NodeId, TopicId, is_directory_full, is_directory_online};
pub use crate::record::{Endpoint, FeatureRange};
use crate::record::{LEADER_RECOVERED, ResourceType};
use crate::topics::TopicName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub name: TopicName,
    pub partitions: BTreeMap<i32, Arc<Partition>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// In order of preference.
    pub replicas: Vec<NodeId>,
    /// The directory of each replica, in the same order (KIP-858).
    pub directories: Vec<DirectoryId>,
    pub isr: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    /// Eligible leader replicas: not in sync, but with all records below the high watermark (KIP-966).
    pub elr: Vec<NodeId>,
    pub last_known_elr: Vec<NodeId>,
    pub leader: Option<NodeId>,
    /// `LEADER_RECOVERED` or `LEADER_RECOVERING`.
    pub leader_recovery_state: i8,
    pub leader_epoch: LeaderEpoch,
    /// Grows with every change of the partition.
    pub partition_epoch: i32,
}

impl Partition {
    /// The directory of `replica`. `None`: it is not a replica.
    pub fn directory(&self, replica: NodeId) -> Option<DirectoryId> {
        let at = self.replicas.iter().position(|r| *r == replica)?;
        self.directories.get(at).copied()
    }

    pub fn preferred_leader(&self) -> Option<NodeId> {
        self.replicas.first().copied()
    }

    /// Whether replicas are being moved.
    pub fn is_reassigning(&self) -> bool {
        !self.removing.is_empty() || !self.adding.is_empty()
    }

    /// Whether the leader was elected uncleanly and has not recovered yet (KIP-704).
    pub fn is_recovering(&self) -> bool {
        self.leader_recovery_state != LEADER_RECOVERED
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: NodeId,
    pub epoch: BrokerEpoch,
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// The ids of the online directories, sorted. Empty: the broker registered before directories had ids.
    pub log_dirs: Vec<DirectoryId>,
    /// The directories that take no new replicas (KIP-1066). `None`: the broker has not reported them yet.
    pub cordoned_log_dirs: Option<Vec<DirectoryId>>,
    pub features: Vec<FeatureRange>,
    /// A remnant of a migration from ZooKeeper (KIP-866).
    pub is_migrating_zk_broker: bool,
}

impl Broker {
    /// Where it listens under that listener name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == listener)
    }

    /// Whether it may lead partitions and be in in-sync sets.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub fn has_online(&self, directory: DirectoryId) -> bool {
        is_directory_online(directory, &self.log_dirs)
    }

    /// Whether a replica of its finds no room in this directory, where these are full.
    pub fn has_full(&self, directory: DirectoryId, full: &[DirectoryId]) -> bool {
        is_directory_full(directory, &self.log_dirs, full)
    }

    /// Whether one of its directories takes new replicas.
    pub fn takes_new_replicas(&self) -> bool {
        let Some(cordoned) = &self.cordoned_log_dirs else { return true };
        self.log_dirs.is_empty() || self.log_dirs.iter().any(|directory| !cordoned.contains(directory))
    }
}

/// A controller's registration (KIP-919).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub id: NodeId,
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
    pub zk_migration_ready: bool,
}

/// The resource that a configuration belongs to. An empty name means the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub kind: ResourceType,
    pub name: String,
}

/// The target of a quota: a map from `user`, `client-id` or `ip` to a name, or to `None` for that type's default.
pub type QuotaTarget = BTreeMap<String, Option<String>>;
