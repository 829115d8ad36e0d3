//! What the controller can be asked, and what it replies.

use ottla_model::feature::{FEATURES, METADATA_VERSION, MetadataVersion};
use ottla_model::image::{ConfigResource, Image};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicId, TopicName};
use ottla_protocol::ErrorCode;

use super::{
    Alteration, Altered, Assignment, ControllerRegistration, Created, Elected, Election, FactorChange,
    HeartbeatAnswer, IsrProposal, MorePartitions, NewTopic, ProducerIdBlock, Reassignment, Refusal,
    Registration, UpdateFeatures,
};
use crate::question::{Question, questions};

/// Something that a broker or a client asks of the controller.
#[derive(Clone, Debug)]
pub enum Command {
    Bootstrap(Bootstrap),
    RegisterBroker(Registration),
    Heartbeat(Heartbeat),
    UnregisterBroker(UnregisterBroker),
    RegisterController(ControllerRegistration),
    UnregisterController(UnregisterController),
    UpdateFeatures(UpdateFeatures),
    CreateTopics(CreateTopics),
    DeleteTopics(DeleteTopics),
    CreatePartitions(CreatePartitions),
    ElectLeaders(ElectLeaders),
    AlterPartitionReassignments(AlterPartitionReassignments),
    AlterConfigs(AlterConfigs),
    AllocateProducerIds(AllocateProducerIds),
    AlterPartition(AlterPartition),
    AssignReplicas(AssignReplicas),
}

/// The answer to a [`Command`], valid once its records are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Bootstrapped(()),
    BrokerRegistered(Result<BrokerEpoch, Refusal>),
    Heartbeat(Result<HeartbeatAnswer, Refusal>),
    BrokerUnregistered(Result<(), Refusal>),
    ControllerRegistered(Result<(), Refusal>),
    ControllerUnregistered(Result<(), Refusal>),
    FeaturesUpdated(Result<(), Refusal>),
    TopicsCreated(Vec<(TopicName, Result<Created, Refusal>)>),
    TopicsDeleted(Vec<(TopicId, Result<(), Refusal>)>),
    PartitionsAdded(Vec<(TopicName, Result<(), Refusal>)>),
    Elected(Elected),
    /// In the order of the partitions.
    Reassigned(Vec<Result<(), Refusal>>),
    ConfigsAltered(Vec<(ConfigResource, Result<(), Refusal>)>),
    ProducerIds(Result<ProducerIdBlock, Refusal>),
    /// In the order of the proposals. The refusal says that the broker's epoch is not the present one.
    PartitionsAltered(Result<Vec<Result<Altered, ErrorCode>>, Refusal>),
    /// In the order of the assignments.
    ReplicasAssigned(Result<Vec<Result<(), ErrorCode>>, Refusal>),
}

questions! { Command, Reply:
    Bootstrap => Command::Bootstrap, Bootstrapped(());
    Registration => Command::RegisterBroker, BrokerRegistered(Result<BrokerEpoch, Refusal>);
    Heartbeat => Command::Heartbeat, Heartbeat(Result<HeartbeatAnswer, Refusal>);
    UnregisterBroker => Command::UnregisterBroker, BrokerUnregistered(Result<(), Refusal>);
    ControllerRegistration => Command::RegisterController, ControllerRegistered(Result<(), Refusal>);
    UnregisterController => Command::UnregisterController, ControllerUnregistered(Result<(), Refusal>);
    UpdateFeatures => Command::UpdateFeatures, FeaturesUpdated(Result<(), Refusal>);
    CreateTopics => Command::CreateTopics, TopicsCreated(Vec<(TopicName, Result<Created, Refusal>)>);
    DeleteTopics => Command::DeleteTopics, TopicsDeleted(Vec<(TopicId, Result<(), Refusal>)>);
    CreatePartitions => Command::CreatePartitions, PartitionsAdded(Vec<(TopicName, Result<(), Refusal>)>);
    ElectLeaders => Command::ElectLeaders, Elected(Elected);
    AlterPartitionReassignments => Command::AlterPartitionReassignments, Reassigned(Vec<Result<(), Refusal>>);
    AlterConfigs => Command::AlterConfigs, ConfigsAltered(Vec<(ConfigResource, Result<(), Refusal>)>);
    AllocateProducerIds => Command::AllocateProducerIds, ProducerIds(Result<ProducerIdBlock, Refusal>);
    AlterPartition => Command::AlterPartition,
        PartitionsAltered(Result<Vec<Result<Altered, ErrorCode>>, Refusal>);
    AssignReplicas => Command::AssignReplicas,
        ReplicasAssigned(Result<Vec<Result<(), ErrorCode>>, Refusal>);
}

/// A command whose kind only whoever made it knows: any reply is its answer.
impl Question for Command {
    type Command = Command;
    type Reply = Reply;
    type Answer = Reply;

    fn command(self) -> Command {
        self
    }

    fn answer(reply: Reply) -> Reply {
        reply
    }
}

/// The first records of a new cluster: its feature levels.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub metadata_version: i16,
    pub features: Vec<(String, i16)>,
}

impl Bootstrap {
    /// The levels of an image that holds nothing else. `None`: it has none.
    pub fn of(image: &Image) -> Option<Bootstrap> {
        let metadata_version = image.metadata_version()?.level();
        let others = image.features().filter(|(name, _)| *name != METADATA_VERSION);
        let features = others.map(|(name, level)| (name.to_owned(), level)).collect();
        Some(Bootstrap { metadata_version, features })
    }

    /// The levels with which a new cluster begins if nobody says otherwise.
    pub fn latest() -> Bootstrap {
        let version = MetadataVersion::LATEST_PRODUCTION;
        let levels = FEATURES.iter().map(|f| (f.name.to_owned(), f.default_level(version)));
        let features = levels.filter(|(_, level)| *level > 0).collect();
        Bootstrap { metadata_version: version.level(), features }
    }
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub broker: NodeId,
    pub epoch: BrokerEpoch,
    /// Up to where the broker knows the metadata.
    pub metadata_offset: i64,
    /// The broker does not want to serve yet.
    pub want_fence: bool,
    /// The broker is about to stop. Others are to lead first, unless it also wants to be fenced.
    pub want_shutdown: bool,
    /// The directories that have failed since it registered.
    pub offline: Vec<DirectoryId>,
    /// The directories that take no new replicas (KIP-1066). `None`: the broker does not know yet.
    pub cordoned: Option<Vec<DirectoryId>>,
    /// The directories without room, for now. Kafka's brokers do not say this: they give such a directory up.
    pub full: Vec<DirectoryId>,
}

impl Heartbeat {
    /// The heartbeat of a broker that serves, or wants to.
    pub fn of(broker: NodeId, epoch: BrokerEpoch, metadata_offset: i64) -> Heartbeat {
        let (want_fence, want_shutdown, offline, cordoned, full) = Default::default();
        Heartbeat { broker, epoch, metadata_offset, want_fence, want_shutdown, offline, cordoned, full }
    }
}

/// The broker is gone for good.
#[derive(Clone, Copy, Debug)]
pub struct UnregisterBroker {
    pub broker: NodeId,
}

/// The controller is gone for good (KIP-1312).
#[derive(Clone, Copy, Debug)]
pub struct UnregisterController {
    pub controller: NodeId,
}

#[derive(Clone, Debug)]
pub struct CreateTopics {
    pub topics: Vec<NewTopic>,
    pub validate_only: bool,
}

#[derive(Clone, Debug)]
pub struct DeleteTopics {
    pub topics: Vec<TopicId>,
}

#[derive(Clone, Debug)]
pub struct CreatePartitions {
    pub topics: Vec<MorePartitions>,
    pub validate_only: bool,
}

#[derive(Clone, Debug)]
pub struct ElectLeaders {
    pub election: Election,
    /// `None`: all partitions, of which only those are told where something was to do.
    pub partitions: Option<Vec<(TopicName, Vec<i32>)>>,
}

#[derive(Clone, Debug)]
pub struct AlterPartitionReassignments {
    pub partitions: Vec<Reassignment>,
    pub factor: FactorChange,
}

#[derive(Clone, Debug)]
pub struct AlterConfigs {
    pub resources: Vec<(ConfigResource, Alteration)>,
    pub validate_only: bool,
}

#[derive(Clone, Debug)]
pub struct AllocateProducerIds {
    pub broker: NodeId,
    pub epoch: BrokerEpoch,
}

/// What a leader proposes for its partitions.
#[derive(Clone, Debug)]
pub struct AlterPartition {
    pub broker: NodeId,
    pub epoch: BrokerEpoch,
    pub proposals: Vec<IsrProposal>,
}

/// AssignReplicasToDirs (KIP-858).
#[derive(Clone, Debug)]
pub struct AssignReplicas {
    pub broker: NodeId,
    pub epoch: BrokerEpoch,
    pub assignments: Vec<Assignment>,
}

/// The controller is not the leader of the quorum, or stopped being it before the records were agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotController;

impl From<NotController> for ErrorCode {
    fn from(NotController: NotController) -> ErrorCode {
        ErrorCode::NotController
    }
}

impl From<NotController> for Refusal {
    fn from(refused: NotController) -> Refusal {
        ErrorCode::from(refused).into()
    }
}

impl Command {
    /// What the cluster needs to go on, and what makes room: it may be written when little else may.
    pub fn must_go_on(&self) -> bool {
        match self {
            Command::CreateTopics(_) | Command::CreatePartitions(_) => false,
            Command::ElectLeaders(_) | Command::AllocateProducerIds(_) => false,
            Command::AlterPartitionReassignments(_) => false,
            Command::Bootstrap(_) | Command::RegisterBroker(_) | Command::Heartbeat(_) => true,
            Command::UnregisterBroker(_) | Command::RegisterController(_) => true,
            Command::UnregisterController(_) => true,
            Command::DeleteTopics(_) | Command::AlterConfigs(_) | Command::UpdateFeatures(_) => true,
            Command::AlterPartition(_) => true,
            Command::AssignReplicas(_) => true,
        }
    }

    /// The reply where all that the command asks for is refused. A command that has no place for a refusal is told that
    /// this is not the controller.
    pub fn refused(&self, code: ErrorCode, message: &str) -> Result<Reply, NotController> {
        let refusal = || Refusal::new(code, message);
        Ok(match self {
            Command::Bootstrap(_) | Command::ElectLeaders(_) => return Err(NotController),
            Command::RegisterBroker(_) => Reply::BrokerRegistered(Err(refusal())),
            Command::Heartbeat(_) => Reply::Heartbeat(Err(refusal())),
            Command::UnregisterBroker(_) => Reply::BrokerUnregistered(Err(refusal())),
            Command::RegisterController(_) => Reply::ControllerRegistered(Err(refusal())),
            Command::UnregisterController(_) => Reply::ControllerUnregistered(Err(refusal())),
            Command::UpdateFeatures(_) => Reply::FeaturesUpdated(Err(refusal())),
            Command::CreateTopics(create) => {
                let topics = create.topics.iter();
                Reply::TopicsCreated(topics.map(|topic| (topic.name.clone(), Err(refusal()))).collect())
            }
            Command::DeleteTopics(delete) => {
                Reply::TopicsDeleted(delete.topics.iter().map(|id| (*id, Err(refusal()))).collect())
            }
            Command::CreatePartitions(create) => {
                let topics = create.topics.iter();
                Reply::PartitionsAdded(topics.map(|topic| (topic.name.clone(), Err(refusal()))).collect())
            }
            Command::AlterPartitionReassignments(alter) => {
                Reply::Reassigned(alter.partitions.iter().map(|_| Err(refusal())).collect())
            }
            Command::AlterConfigs(alter) => {
                let resources = alter.resources.iter();
                Reply::ConfigsAltered(
                    resources.map(|(resource, _)| (resource.clone(), Err(refusal()))).collect(),
                )
            }
            Command::AllocateProducerIds(_) => Reply::ProducerIds(Err(refusal())),
            Command::AlterPartition(_) => Reply::PartitionsAltered(Err(refusal())),
            Command::AssignReplicas(_) => Reply::ReplicasAssigned(Err(refusal())),
        })
    }
}
