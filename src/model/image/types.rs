//! What an image holds: topics, partitions, nodes. Plain data, immutable once published.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use crate::ids::{BrokerEpoch, DirectoryId, NodeId, TopicId, is_directory_online};
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
    /// Of each replica, in the same order (KIP-858).
    pub directories: Vec<DirectoryId>,
    pub isr: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    /// Eligible leader replicas: not in sync, yet with everything below the high watermark (KIP-966).
    pub elr: Vec<NodeId>,
    pub last_known_elr: Vec<NodeId>,
    pub leader: Option<NodeId>,
    /// `LEADER_RECOVERED` or `LEADER_RECOVERING`.
    pub leader_recovery_state: i8,
    pub leader_epoch: LeaderEpoch,
    /// Goes up with every change of any of these.
    pub partition_epoch: i32,
}

impl Partition {
    /// The directory of `replica`, if it is one.
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

    /// Whether its leader was elected uncleanly and has not recovered (KIP-704).
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
    /// The directories that are online, sorted. Empty if the broker registered before they had ids.
    pub log_dirs: Vec<DirectoryId>,
    /// The directories that take no new replicas (KIP-1066). `None` until the broker has said so.
    pub cordoned_log_dirs: Option<Vec<DirectoryId>>,
    pub features: Vec<FeatureRange>,
    /// Left by a migration from ZooKeeper (KIP-866).
    pub is_migrating_zk_broker: bool,
}

impl Broker {
    /// Where it listens under that listener's name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == listener)
    }

    /// Whether it may lead partitions and be in their in-sync sets.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub fn has_online(&self, directory: DirectoryId) -> bool {
        is_directory_online(directory, &self.log_dirs)
    }

    /// Whether it has a directory left for new replicas.
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

/// What a configuration belongs to, by name; empty for the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub kind: ResourceType,
    pub name: String,
}

/// Whom a quota is for: `user`, `client-id` or `ip` to a name, or to that type's default.
pub type QuotaTarget = BTreeMap<String, Option<String>>;
