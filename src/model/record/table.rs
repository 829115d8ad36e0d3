//! The 27 records, field by field, sorted by key. `= default, 3+, tag 0` means: from version 3 on, as tagged field 0.
//! `image` knows what a record means.

use ottla_protocol::LeaderEpoch;
use ottla_protocol::primitives::{Problem, ReadError, Reader, Tags, Writer};
use uuid::Uuid;

use super::wire::{FORM, Field, Unwritable};
use super::{
    FencingChange, LEADER_RECOVERED, LEADER_RECOVERY_UNCHANGED, LeaderChange, QuotaValue, RecordType,
    ResourceType, Secret,
};
use crate::ids::{BrokerEpoch, DirectoryId, NodeId, TopicId};

wire_struct! {
    /// Where a node can be reached.
    Endpoint {
        /// The listener's name.
        name: String = String::new(), 0+;
        host: String = String::new(), 0+;
        port: u16 = 0, 0+;
        /// Kafka's code: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
        security_protocol: i16 = 0, 0+;
    }
}

wire_struct! {
    /// The levels of one feature that a node supports.
    FeatureRange {
        name: String = String::new(), 0+;
        min: i16 = 0, 0+;
        max: i16 = 0, 0+;
    }
}

wire_struct! {
    /// One part of a quota's target.
    QuotaEntity {
        /// `user`, `client-id` or `ip`.
        entity_type: String = String::new(), 0+;
        /// `None`: the default of that type.
        entity_name: Option<String> = None, 0+;
    }
}

records! {
    /// A broker, or a new incarnation of one, registers. Version 1 is KIP-841, 2 KIP-866, 3 KIP-858, 4 KIP-1066.
    RegisterBroker(RegisterBrokerRecord) = 0, versions 0..=4 {
        broker_id: NodeId = NodeId(0), 0+;
        is_migrating_zk_broker: bool = false, 2+;
        incarnation_id: Uuid = Uuid::nil(), 0+;
        broker_epoch: BrokerEpoch = BrokerEpoch(0), 0+;
        end_points: Vec<Endpoint> = Vec::new(), 0+;
        features: Vec<FeatureRange> = Vec::new(), 0+;
        rack: Option<String> = None, 0+;
        fenced: bool = true, 0+;
        in_controlled_shutdown: bool = false, 1+;
        /// The ids of the online directories.
        log_dirs: Vec<DirectoryId> = Vec::new(), 3+, tag 0;
        /// The directories that take no new replicas. `None`: the broker has not reported them yet.
        cordoned_log_dirs: Option<Vec<DirectoryId>> = None, 4+, tag 1;
    }

    /// A broker is removed from the cluster.
    UnregisterBroker(UnregisterBrokerRecord) = 1, versions 0..=0 {
        broker_id: NodeId = NodeId(0), 0+;
        broker_epoch: BrokerEpoch = BrokerEpoch(0), 0+;
    }

    /// A topic is created; its partitions follow.
    Topic(TopicRecord) = 2, versions 0..=0 {
        name: String = String::new(), 0+;
        topic_id: TopicId = Uuid::nil(), 0+;
    }

    /// A partition with all of its fields. Version 1 is KIP-858, 2 KIP-966.
    Partition(PartitionRecord) = 3, versions 0..=2 {
        partition_id: i32 = -1, 0+;
        topic_id: TopicId = Uuid::nil(), 0+;
        /// In order of preference.
        replicas: Vec<NodeId> = Vec::new(), 0+;
        isr: Vec<NodeId> = Vec::new(), 0+;
        removing_replicas: Vec<NodeId> = Vec::new(), 0+;
        adding_replicas: Vec<NodeId> = Vec::new(), 0+;
        leader: Option<NodeId> = None, 0+;
        leader_recovery_state: i8 = LEADER_RECOVERED, 0+, tag 0;
        leader_epoch: LeaderEpoch = LeaderEpoch::NONE, 0+;
        partition_epoch: i32 = -1, 0+;
        /// The directory of each replica, in the same order.
        directories: Vec<DirectoryId> = Vec::new(), 1+;
        eligible_leader_replicas: Option<Vec<NodeId>> = None, 2+, tag 1;
        last_known_elr: Option<Vec<NodeId>> = None, 2+, tag 2;
    }

    /// One key of a resource's configuration is set or removed.
    Config(ConfigRecord) = 4, versions 0..=0 {
        resource_type: ResourceType = ResourceType::Topic, 0+;
        /// Empty: the default of all brokers.
        resource_name: String = String::new(), 0+;
        name: String = String::new(), 0+;
        /// `None`: the key is removed.
        value: Option<String> = None, 0+;
    }

    /// Changes of a partition; a field of `None` does not change. Version 1 is KIP-858, 2 KIP-966.
    PartitionChange(PartitionChangeRecord) = 5, versions 0..=2 {
        partition_id: i32 = -1, 0+;
        topic_id: TopicId = Uuid::nil(), 0+;
        isr: Option<Vec<NodeId>> = None, 0+, tag 0;
        leader: LeaderChange = LeaderChange::Unchanged, 0+, tag 1;
        replicas: Option<Vec<NodeId>> = None, 0+, tag 2;
        removing_replicas: Option<Vec<NodeId>> = None, 0+, tag 3;
        adding_replicas: Option<Vec<NodeId>> = None, 0+, tag 4;
        leader_recovery_state: i8 = LEADER_RECOVERY_UNCHANGED, 0+, tag 5;
        eligible_leader_replicas: Option<Vec<NodeId>> = None, 2+, tag 6;
        last_known_elr: Option<Vec<NodeId>> = None, 2+, tag 7;
        directories: Option<Vec<DirectoryId>> = None, 1+, tag 8;
    }

    /// A broker is fenced. Only before KIP-841; after it, `BrokerRegistrationChange` is written.
    FenceBroker(FenceBrokerRecord) = 7, versions 0..=0 {
        id: NodeId = NodeId(0), 0+;
        epoch: BrokerEpoch = BrokerEpoch(0), 0+;
    }

    /// A broker is unfenced. Only before KIP-841; after it, `BrokerRegistrationChange` is written.
    UnfenceBroker(UnfenceBrokerRecord) = 8, versions 0..=0 {
        id: NodeId = NodeId(0), 0+;
        epoch: BrokerEpoch = BrokerEpoch(0), 0+;
    }

    /// A topic is deleted with its partitions and its configuration.
    RemoveTopic(RemoveTopicRecord) = 9, versions 0..=0 {
        topic_id: TopicId = Uuid::nil(), 0+;
    }

    /// A delegation token is created or renewed (KIP-900).
    DelegationToken(DelegationTokenRecord) = 10, versions 0..=0 {
        owner: String = String::new(), 0+;
        requester: String = String::new(), 0+;
        renewers: Vec<String> = Vec::new(), 0+;
        /// In milliseconds since 1970, as are the next two.
        issue_timestamp: i64 = 0, 0+;
        max_timestamp: i64 = 0, 0+;
        expiration_timestamp: i64 = 0, 0+;
        token_id: String = String::new(), 0+;
    }

    /// A user's SCRAM credential is set (KIP-900).
    UserScramCredential(UserScramCredentialRecord) = 11, versions 0..=0 {
        name: String = String::new(), 0+;
        /// Kafka's code: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 = 0, 0+;
        salt: Secret = Secret::default(), 0+;
        stored_key: Secret = Secret::default(), 0+;
        server_key: Secret = Secret::default(), 0+;
        iterations: i32 = 0, 0+;
    }

    /// The cluster's level of a feature changes (KIP-584); level 0 removes the feature.
    FeatureLevel(FeatureLevelRecord) = 12, versions 0..=0 {
        name: String = String::new(), 0+;
        feature_level: i16 = 0, 0+;
    }

    /// One key of a quota is set or removed (KIP-546).
    ClientQuota(ClientQuotaRecord) = 14, versions 0..=0 {
        entity: Vec<QuotaEntity> = Vec::new(), 0+;
        key: String = String::new(), 0+;
        value: QuotaValue = QuotaValue(0.0), 0+;
        remove: bool = false, 0+;
    }

    /// A block of producer ids is given to a broker (KIP-730).
    ProducerIds(ProducerIdsRecord) = 15, versions 0..=0 {
        /// In a snapshot: `None`.
        broker_id: Option<NodeId> = Some(NodeId(0)), 0+;
        broker_epoch: BrokerEpoch = BrokerEpoch::NONE, 0+;
        /// The first id of the block after this one.
        next_producer_id: i64 = 0, 0+;
    }

    /// Changes of a broker. Version 1 is KIP-841, 2 KIP-858, 3 KIP-1066.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17, versions 0..=3 {
        broker_id: NodeId = NodeId(0), 0+;
        broker_epoch: BrokerEpoch = BrokerEpoch(0), 0+;
        fenced: FencingChange = FencingChange::Unchanged, 0+, tag 0;
        /// `true`: it is in controlled shutdown. It stays so until it registers again, so `false` means no change.
        in_controlled_shutdown: bool = false, 1+, tag 1;
        /// Empty: no change.
        log_dirs: Vec<DirectoryId> = Vec::new(), 2+, tag 2;
        /// `None`: no change.
        cordoned_log_dirs: Option<Vec<DirectoryId>> = None, 3+, tag 3;
    }

    /// An access rule is added (KIP-801).
    AccessControlEntry(AccessControlEntryRecord) = 18, versions 0..=0 {
        id: Uuid = Uuid::nil(), 0+;
        resource_type: i8 = 0, 0+;
        resource_name: String = String::new(), 0+;
        pattern_type: i8 = 0, 0+;
        principal: String = String::new(), 0+;
        host: String = String::new(), 0+;
        operation: i8 = 0, 0+;
        permission_type: i8 = 0, 0+;
    }

    /// An access rule is removed (KIP-801).
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord) = 19, versions 0..=0 {
        id: Uuid = Uuid::nil(), 0+;
    }

    /// No content: the quorum's leader shows that it still commits (KIP-835).
    NoOp(NoOpRecord) = 20, versions 0..=0 {}

    /// The state of a migration from ZooKeeper (KIP-866). Needed to read the logs of clusters that had one.
    ZkMigrationState(ZkMigrationStateRecord) = 21, versions 0..=0 {
        zk_migration_state: i8 = 0, 0+;
    }

    /// A user's SCRAM credential is removed (KIP-900).
    RemoveUserScramCredential(RemoveUserScramCredentialRecord) = 22, versions 0..=0 {
        name: String = String::new(), 0+;
        mechanism: i8 = 0, 0+;
    }

    /// The records up to the end record are applied together (KIP-868).
    BeginTransaction(BeginTransactionRecord) = 23, versions 0..=0 {
        name: Option<String> = None, 0+, tag 0;
    }

    /// The records since the begin record are applied (KIP-868).
    EndTransaction(EndTransactionRecord) = 24, versions 0..=0 {}

    /// The records since the begin record are dropped (KIP-868).
    AbortTransaction(AbortTransactionRecord) = 25, versions 0..=0 {
        reason: Option<String> = None, 0+, tag 0;
    }

    /// A delegation token is removed (KIP-900).
    RemoveDelegationToken(RemoveDelegationTokenRecord) = 26, versions 0..=0 {
        token_id: String = String::new(), 0+;
    }

    /// A controller, or a new incarnation of one, registers (KIP-919).
    RegisterController(RegisterControllerRecord) = 27, versions 0..=0 {
        controller_id: NodeId = NodeId(0), 0+;
        incarnation_id: Uuid = Uuid::nil(), 0+;
        zk_migration_ready: bool = false, 0+;
        end_points: Vec<Endpoint> = Vec::new(), 0+;
        features: Vec<FeatureRange> = Vec::new(), 0+;
    }

    /// The eligible leader replicas of one topic, or of all topics, are cleared (KIP-966).
    ClearElr(ClearElrRecord) = 28, versions 0..=0 {
        /// Empty: all topics.
        topic_name: String = String::new(), 0+;
    }

    /// A controller is removed from the cluster (KIP-1312).
    UnregisterController(UnregisterControllerRecord) = 29, versions 0..=0 {
        controller_id: NodeId = NodeId(0), 0+;
    }
}
