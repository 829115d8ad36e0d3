//! Why a record cannot be applied: the log and the image disagree, which is never a client's fault.

use ottla_protocol::Offset;
use uuid::Uuid;

use crate::ids::{BrokerEpoch, NodeId, TopicId};

/// A record that does not fit what came before it. The image is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply {record} at offset {offset} of the metadata log: {why}")]
pub struct ApplyError {
    pub offset: Offset,
    pub record: &'static str,
    pub why: Impossible,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    #[error("offset {last} has been applied already")]
    OutOfOrder { last: Offset },
    #[error("there is no topic with id {0}")]
    UnknownTopicId(TopicId),
    #[error("there is no topic {0:?}")]
    UnknownTopic(String),
    #[error("{0}")]
    TopicName(String),
    #[error("topic {name:?} exists, with id {id}")]
    TopicExists { name: String, id: TopicId },
    #[error("topic id {id} exists, it is {name:?}")]
    TopicIdExists { name: String, id: TopicId },
    #[error("topic {topic:?} has no partition {partition}")]
    UnknownPartition { topic: String, partition: i32 },
    #[error("{0} is no partition id")]
    PartitionId(i32),
    #[error("{directories} directories are given for {replicas} replicas")]
    Directories { directories: usize, replicas: usize },
    #[error("{0} is no leader recovery state")]
    LeaderRecoveryState(i8),
    #[error("broker {0} is not registered")]
    UnknownBroker(NodeId),
    #[error("broker {id} has epoch {current}, not {given}")]
    BrokerEpoch { id: NodeId, current: BrokerEpoch, given: BrokerEpoch },
    #[error("controller {0} is not registered")]
    UnknownController(NodeId),
    #[error("node {0} has a listener without a name")]
    UnnamedListener(NodeId),
    #[error("metadata.version {0} is not one that we know")]
    MetadataVersion(i16),
    #[error("there is no access rule with id {0}")]
    UnknownAcl(Uuid),
    #[error("a transaction is open already")]
    TransactionOpen,
    #[error("no transaction is open")]
    NoTransaction,
}
