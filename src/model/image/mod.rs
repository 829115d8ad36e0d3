//! The cluster's metadata at one offset of its log: immutable, shared, changed only by applying records. It decides
//! nothing and reads no clock; publishing images and reading the log are done elsewhere.

mod apply;
mod delta;
mod error;
#[cfg(test)]
mod histories;
mod nodes;
mod snapshot;
#[cfg(test)]
mod tests;
mod topics;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use ottla_protocol::{LeaderEpoch, Offset};
use uuid::Uuid;

pub use delta::{Delta, NodeChange, PartitionDelta, TopicChange};
pub use error::{ApplyError, Impossible};
pub use types::*;

use crate::feature::{METADATA_VERSION, MetadataVersion};
use crate::ids::{NodeId, TopicId};
use crate::record::{
    AccessControlEntryRecord, DelegationTokenRecord, QuotaValue, ResourceType, UserScramCredentialRecord,
};
use crate::topics::TopicName;

/// One state of the cluster. Clones share all of their data.
///
/// While a transaction of the metadata log is open ([`Image::in_transaction`]), the image contains changes that are not
/// final. Such an image must not be published: until the transaction ends, the last image before it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The offset of the last applied record; -1: there is none.
    pub offset: Offset,
    /// The term of the leader that wrote that record.
    pub epoch: LeaderEpoch,
    state: State,
    /// The state to which an abort returns.
    before_transaction: Option<Box<State>>,
}

/// Everything that records can change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// By name, so that listing is sorted. `topic_names` leads from id to name.
    topics: OrdMap<TopicName, Arc<Topic>>,
    topic_names: OrdMap<TopicId, TopicName>,
    brokers: OrdMap<NodeId, Arc<Broker>>,
    controllers: OrdMap<NodeId, Arc<Controller>>,
    configs: OrdMap<ConfigResource, Arc<BTreeMap<String, String>>>,
    features: OrdMap<String, i16>,
    /// -1 as in Kafka if no producer id was ever assigned.
    next_producer_id: i64,
    quotas: OrdMap<QuotaTarget, Arc<BTreeMap<String, QuotaValue>>>,
    acls: OrdMap<Uuid, Arc<AccessControlEntryRecord>>,
    /// By user, then by mechanism.
    scram: OrdMap<(String, i8), Arc<UserScramCredentialRecord>>,
    tokens: OrdMap<String, Arc<DelegationTokenRecord>>,
}

impl Image {
    /// The image before the first record.
    pub fn empty() -> Image {
        let state = State {
            topics: OrdMap::new(),
            topic_names: OrdMap::new(),
            brokers: OrdMap::new(),
            controllers: OrdMap::new(),
            configs: OrdMap::new(),
            features: OrdMap::new(),
            next_producer_id: NO_PRODUCER_ID,
            quotas: OrdMap::new(),
            acls: OrdMap::new(),
            scram: OrdMap::new(),
            tokens: OrdMap::new(),
        };
        Image { offset: -1, epoch: LeaderEpoch::NONE, state, before_transaction: None }
    }

    /// Whether a transaction is open. Such an image must not be published.
    pub fn in_transaction(&self) -> bool {
        self.before_transaction.is_some()
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.state.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topic(self.state.topic_names.get(&id)?)
    }

    /// Sorted by name.
    pub fn topics(&self) -> impl DoubleEndedIterator<Item = &Arc<Topic>> + ExactSizeIterator {
        self.state.topics.values()
    }

    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Arc<Partition>> {
        self.topic(topic)?.partitions.get(&partition)
    }

    pub fn broker(&self, id: NodeId) -> Option<&Arc<Broker>> {
        self.state.brokers.get(&id)
    }

    /// Sorted by id.
    pub fn brokers(&self) -> impl DoubleEndedIterator<Item = &Arc<Broker>> + ExactSizeIterator {
        self.state.brokers.values()
    }

    pub fn controller(&self, id: NodeId) -> Option<&Arc<Controller>> {
        self.state.controllers.get(&id)
    }

    /// Sorted by id.
    pub fn controllers(&self) -> impl DoubleEndedIterator<Item = &Arc<Controller>> + ExactSizeIterator {
        self.state.controllers.values()
    }

    /// The settings of a resource. `None`: there are none. An empty name means the default of all brokers.
    pub fn configs(&self, kind: ResourceType, name: &str) -> Option<&BTreeMap<String, String>> {
        let resource = ConfigResource { kind, name: name.to_string() };
        self.state.configs.get(&resource).map(|configs| configs.as_ref())
    }

    /// Every resource that has settings.
    pub fn config_resources(&self) -> impl Iterator<Item = (&ConfigResource, &BTreeMap<String, String>)> {
        self.state.configs.iter().map(|(resource, configs)| (resource, configs.as_ref()))
    }

    /// The lowest producer id that was not assigned yet.
    pub fn next_producer_id(&self) -> i64 {
        self.state.next_producer_id.max(0)
    }

    /// The finalized level of a feature; 0: it has none.
    pub fn feature(&self, name: &str) -> i16 {
        self.state.features.get(name).copied().unwrap_or(0)
    }

    /// The finalized features with `metadata.version`, but without `kraft.version`, which the quorum keeps.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.state.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// The level of `metadata.version`. `None`: no record has set it yet.
    pub fn metadata_version(&self) -> Option<MetadataVersion> {
        MetadataVersion::from_level(self.feature(METADATA_VERSION))
    }

    pub fn quotas(&self) -> impl Iterator<Item = (&QuotaTarget, &BTreeMap<String, QuotaValue>)> {
        self.state.quotas.iter().map(|(target, values)| (target, values.as_ref()))
    }

    pub fn acls(&self) -> impl Iterator<Item = &Arc<AccessControlEntryRecord>> {
        self.state.acls.values()
    }

    pub fn scram_credential(&self, user: &str, mechanism: i8) -> Option<&Arc<UserScramCredentialRecord>> {
        self.state.scram.get(&(user.to_string(), mechanism))
    }

    /// Sorted by user, then by mechanism.
    pub fn scram_credentials(&self) -> impl Iterator<Item = &Arc<UserScramCredentialRecord>> {
        self.state.scram.values()
    }

    pub fn delegation_token(&self, token_id: &str) -> Option<&Arc<DelegationTokenRecord>> {
        self.state.tokens.get(token_id)
    }

    pub fn delegation_tokens(&self) -> impl Iterator<Item = &Arc<DelegationTokenRecord>> {
        self.state.tokens.values()
    }
}

impl Default for Image {
    fn default() -> Image {
        Image::empty()
    }
}

const NO_PRODUCER_ID: i64 = -1;
