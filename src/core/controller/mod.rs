//! What the active controller decides: a command and the metadata image go in, metadata records and a reply come
//! out. The image changes only by applying those records, once the quorum has agreed on them.
//! It must never know how they are stored or sent.

mod brokers;
mod configs;
mod directories;
mod duties;
mod elections;
mod features;
mod heartbeats;
mod leadership;
mod partitions;
mod placement;
mod producers;
mod proposals;
mod questions;
mod reassignments;
mod sessions;
#[cfg(test)]
mod stories;
mod topics;

use std::collections::BTreeMap;

use ottla_model::NodeId;
use ottla_model::config::BrokerConfig;
use ottla_model::feature::{ELIGIBLE_LEADER_REPLICAS_VERSION, MetadataVersion};
use ottla_model::image::Image;
use ottla_model::record::MetadataRecord;
use ottla_protocol::ErrorCode;

pub use brokers::Registration;
pub use configs::{Alteration, Change, altered};
pub use directories::Assignment;
pub use duties::{Duty, ELECTIONS_MAX, perform};
pub use elections::{Elected, Election};
pub use features::{ControllerRegistration, FeatureChange, FeatureUpdate, UpdateFeatures};
pub use heartbeats::HeartbeatAnswer;
pub use partitions::MorePartitions;
pub use placement::Placement;
pub use proposals::{Altered, IsrProposal};
pub use questions::*;
pub use reassignments::{FactorChange, Reassignment};
pub use sessions::Sessions;
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

/// A range of producer ids that one broker may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub len: i32,
}

/// Records to agree on, and what to answer then.
#[derive(Clone, Debug)]
pub struct Decision<A> {
    pub records: Vec<MetadataRecord>,
    pub answer: A,
}

impl<A> Decision<A> {
    /// An answer that changes nothing.
    fn only(answer: A) -> Decision<A> {
        Decision { records: Vec::new(), answer }
    }

    fn map<B>(self, map: impl FnOnce(A) -> B) -> Decision<B> {
        Decision { records: self.records, answer: map(self.answer) }
    }
}

/// What a decision may look at besides the command.
pub struct View<'a> {
    /// The image with every record that is decided, agreed on or not.
    pub image: &'a Image,
    /// The offset that the next record will have; broker epochs are made of it.
    pub next_offset: i64,
    pub now_ms: i64,
    /// Who was heard of, and when.
    pub sessions: &'a Sessions,
    /// The level of `kraft.version`, which the quorum keeps.
    pub kraft_version: i16,
    /// Whether the quorum can raise that level, which lets voters change (KIP-853); or why it cannot.
    pub may_voters_change: &'a dyn Fn() -> Result<(), String>,
    /// The nodes that vote in the quorum.
    pub voters: &'a [NodeId],
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

    /// Whether records may say which directories take no new replicas (KIP-1066).
    fn knows_cordoned_directories(&self) -> bool {
        self.image.metadata_version().is_none_or(|version| version >= MetadataVersion::CORDONED_DIRECTORIES)
    }

    /// Whether records may say in which directories replicas are (KIP-858). A cluster that comes from an older Kafka has
    /// no place for it until its level is raised.
    fn knows_directories(&self) -> bool {
        self.image.metadata_version().is_none_or(|version| version >= MetadataVersion::DIRECTORIES)
    }
}

/// Decides one command.
pub fn decide(view: &mut View<'_>, command: Command) -> Decision<Reply> {
    match command {
        Command::Bootstrap(new) => brokers::bootstrap(view, new).map(Reply::Bootstrapped),
        Command::RegisterBroker(new) => brokers::register(view, new).map(Reply::BrokerRegistered),
        Command::Heartbeat(heartbeat) => heartbeats::heartbeat(view, &heartbeat).map(Reply::Heartbeat),
        Command::UnregisterBroker(gone) => {
            brokers::unregister(view, gone.broker).map(Reply::BrokerUnregistered)
        }
        Command::RegisterController(new) => {
            features::register_controller(view, new).map(Reply::ControllerRegistered)
        }
        Command::UnregisterController(gone) => {
            features::unregister_controller(view, gone.controller).map(Reply::ControllerUnregistered)
        }
        Command::UpdateFeatures(update) => features::update(view, &update).map(Reply::FeaturesUpdated),
        Command::CreateTopics(create) => topics::create(view, create).map(Reply::TopicsCreated),
        Command::DeleteTopics(delete) => topics::delete(view, delete).map(Reply::TopicsDeleted),
        Command::CreatePartitions(create) => partitions::add(view, create).map(Reply::PartitionsAdded),
        Command::ElectLeaders(elect) => elections::elect(view, elect).map(Reply::Elected),
        Command::AlterPartitionReassignments(alter) => {
            reassignments::reassign(view, alter).map(Reply::Reassigned)
        }
        Command::AlterConfigs(alter) => configs::alter(view, alter).map(Reply::ConfigsAltered),
        Command::AllocateProducerIds(allocate) => {
            producers::allocate(view, &allocate).map(Reply::ProducerIds)
        }
        Command::AlterPartition(alter) => proposals::alter(view, alter).map(Reply::PartitionsAltered),
        Command::AssignReplicas(assign) => directories::assign(view, assign).map(Reply::ReplicasAssigned),
    }
}

/// Configs of a topic as the client gave them, checked but not resolved.
pub type Overrides = BTreeMap<String, String>;
