//! What the active controller decides: a command and the metadata image go in, metadata records and a reply come
//! out. The image changes only by applying those records, once the quorum has agreed on them.
//! It must never know how they are stored or sent.

mod brokers;
mod configs;
mod directories;
mod elections;
mod leadership;
mod partitions;
mod placement;
mod producers;
mod reassignments;
#[cfg(test)]
mod stories;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::config::BrokerConfig;
use ottla_model::feature::{ELIGIBLE_LEADER_REPLICAS_VERSION, MetadataVersion};
use ottla_model::image::{ConfigResource, Image};
use ottla_model::record::MetadataRecord;
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicId, TopicName};
use ottla_protocol::ErrorCode;

pub use brokers::{HeartbeatAnswer, Registration};
pub use configs::{Alteration, Change, altered};
pub use directories::Assignment;
pub use elections::{Elected, Election};
pub use partitions::MorePartitions;
pub use placement::Placement;
pub use reassignments::{FactorChange, Reassignment};
pub use topics::{Created, NewTopic};

/// An error that a client is told: the code, and one sentence that names what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal::new(code, code.message())
    }
}

/// Something that a broker or a client asks of the controller.
#[derive(Clone, Debug)]
pub enum Command {
    /// The first records of a new cluster: its feature levels.
    Bootstrap {
        metadata_version: i16,
        features: Vec<(String, i16)>,
    },
    RegisterBroker(Registration),
    Heartbeat {
        broker: NodeId,
        epoch: BrokerEpoch,
        metadata_offset: i64,
        want_fence: bool,
        want_shutdown: bool,
    },
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
    },
    DeleteTopics {
        topics: Vec<TopicId>,
    },
    CreatePartitions {
        topics: Vec<MorePartitions>,
        validate_only: bool,
    },
    ElectLeaders {
        election: Election,
        /// None is every one.
        partitions: Option<Vec<(TopicName, Vec<i32>)>>,
    },
    AlterPartitionReassignments {
        partitions: Vec<Reassignment>,
        factor: FactorChange,
    },
    AlterConfigs {
        resources: Vec<(ConfigResource, Alteration)>,
        validate_only: bool,
    },
    AllocateProducerIds {
        broker: NodeId,
        epoch: BrokerEpoch,
    },
    /// AssignReplicasToDirs (KIP-858).
    AssignReplicas {
        broker: NodeId,
        epoch: BrokerEpoch,
        assignments: Vec<Assignment>,
    },
    DirectoriesOffline {
        broker: NodeId,
        epoch: BrokerEpoch,
        directories: Vec<DirectoryId>,
    },
}

/// The answer to a [`Command`], valid once its records are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Bootstrapped,
    BrokerRegistered(Result<BrokerEpoch, Refusal>),
    Heartbeat(Result<HeartbeatAnswer, Refusal>),
    TopicsCreated(Vec<(TopicName, Result<Created, Refusal>)>),
    TopicsDeleted(Vec<(TopicId, Result<(), Refusal>)>),
    PartitionsAdded(Vec<(TopicName, Result<(), Refusal>)>),
    Elected(Elected),
    /// In the order of the partitions.
    Reassigned(Vec<Result<(), Refusal>>),
    ConfigsAltered(Vec<(ConfigResource, Result<(), Refusal>)>),
    ProducerIds(Result<ProducerIdBlock, Refusal>),
    /// In the order of the assignments.
    ReplicasAssigned(Result<Vec<Result<(), ErrorCode>>, Refusal>),
    DirectoriesOffline(Result<(), Refusal>),
    /// The controller is not the leader of the quorum, or stopped being it before the records were agreed on.
    NotController,
}

impl Command {
    /// What the cluster needs to go on, and what makes room: it may be written when little else may.
    pub fn must_go_on(&self) -> bool {
        match self {
            Command::CreateTopics { .. } | Command::CreatePartitions { .. } => false,
            Command::ElectLeaders { .. } | Command::AllocateProducerIds { .. } => false,
            Command::AlterPartitionReassignments { .. } => false,
            Command::Bootstrap { .. } | Command::RegisterBroker(_) | Command::Heartbeat { .. } => true,
            Command::DeleteTopics { .. } | Command::AlterConfigs { .. } => true,
            Command::AssignReplicas { .. } | Command::DirectoriesOffline { .. } => true,
        }
    }

    /// The answer where all that it asks for is refused.
    pub fn refused(&self, code: ErrorCode, message: &str) -> Reply {
        let refusal = || Refusal::new(code, message);
        match self {
            Command::RegisterBroker(_) => Reply::BrokerRegistered(Err(refusal())),
            Command::Heartbeat { .. } => Reply::Heartbeat(Err(refusal())),
            Command::CreateTopics { topics, .. } => {
                Reply::TopicsCreated(topics.iter().map(|t| (t.name.clone(), Err(refusal()))).collect())
            }
            Command::DeleteTopics { topics } => {
                Reply::TopicsDeleted(topics.iter().map(|id| (*id, Err(refusal()))).collect())
            }
            Command::CreatePartitions { topics, .. } => {
                Reply::PartitionsAdded(topics.iter().map(|t| (t.name.clone(), Err(refusal()))).collect())
            }
            Command::AlterPartitionReassignments { partitions, .. } => {
                Reply::Reassigned(partitions.iter().map(|_| Err(refusal())).collect())
            }
            Command::AlterConfigs { resources, .. } => Reply::ConfigsAltered(
                resources.iter().map(|(resource, _)| (resource.clone(), Err(refusal()))).collect(),
            ),
            Command::AllocateProducerIds { .. } => Reply::ProducerIds(Err(refusal())),
            Command::AssignReplicas { .. } => Reply::ReplicasAssigned(Err(refusal())),
            Command::DirectoriesOffline { .. } => Reply::DirectoriesOffline(Err(refusal())),
            Command::Bootstrap { .. } | Command::ElectLeaders { .. } => Reply::NotController,
        }
    }
}

/// A range of producer ids that one broker may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub len: i32,
}

/// Records to agree on, and what to say then.
#[derive(Clone, Debug)]
pub struct Decision {
    pub records: Vec<MetadataRecord>,
    pub reply: Reply,
}

impl Decision {
    fn only(reply: Reply) -> Decision {
        Decision { records: Vec::new(), reply }
    }
}

/// What a decision may look at besides the command.
pub struct View<'a> {
    /// The image with every record that is decided, agreed on or not.
    pub image: &'a Image,
    /// The offset that the next record will have; broker epochs are made of it.
    pub next_offset: i64,
    /// Brokers that were heard of within `broker.session.timeout.ms`.
    pub sessions: &'a BTreeSet<NodeId>,
    /// What the node that decides was started with.
    pub config: &'a BrokerConfig,
    /// A source of random numbers.
    pub chance: &'a mut dyn FnMut() -> u64,
}

impl View<'_> {
    /// Whether replicas outside the in-sync set may be eligible to lead (KIP-966).
    fn knows_eligible_leaders(&self) -> bool {
        self.image.feature(ELIGIBLE_LEADER_REPLICAS_VERSION) > 0
    }

    /// Whether records may say in which directories replicas are (KIP-858). A cluster that comes from an older Kafka has
    /// no place for it until its level is raised.
    fn knows_directories(&self) -> bool {
        self.image.metadata_version().is_none_or(|version| version >= MetadataVersion::DIRECTORIES)
    }
}

/// Decides one command.
pub fn decide(view: &mut View<'_>, command: Command) -> Decision {
    match command {
        Command::Bootstrap { metadata_version, features } => {
            brokers::bootstrap(view, metadata_version, features)
        }
        Command::RegisterBroker(registration) => brokers::register(view, registration),
        Command::Heartbeat { broker, epoch, metadata_offset, want_fence, want_shutdown } => {
            let wish = brokers::HeartbeatState { metadata_offset, want_fence, want_shutdown };
            brokers::heartbeat(view, broker, epoch, wish)
        }
        Command::CreateTopics { topics, validate_only } => topics::create(view, topics, validate_only),
        Command::DeleteTopics { topics } => topics::delete(view, topics),
        Command::CreatePartitions { topics, validate_only } => partitions::add(view, topics, validate_only),
        Command::ElectLeaders { election, partitions } => elections::elect(view, election, partitions),
        Command::AlterPartitionReassignments { partitions, factor } => {
            reassignments::reassign(view, partitions, factor)
        }
        Command::AlterConfigs { resources, validate_only } => configs::alter(view, resources, validate_only),
        Command::AllocateProducerIds { broker, epoch } => producers::allocate(view, broker, epoch),
        Command::AssignReplicas { broker, epoch, assignments } => {
            directories::assign(view, broker, epoch, assignments)
        }
        Command::DirectoriesOffline { broker, epoch, directories } => {
            directories::offline(view, broker, epoch, &directories)
        }
    }
}

/// Configs of a topic as the client gave them, checked but not resolved.
pub type Overrides = BTreeMap<String, String>;
