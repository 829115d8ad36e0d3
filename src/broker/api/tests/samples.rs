//! A request of each API that names something, so that there is something to ask about.

use bytes::{Bytes, BytesMut};
use ottla_model::NodeId;
use ottla_node::quorum::{Body, Message, ReplicaKey};
use ottla_protocol::api::ApiKey;
use ottla_protocol::api_versions::ApiVersionsRequest;
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::fetch::{FetchPartition, FetchRequest, FetchTopic, IsolationLevel};
use ottla_protocol::header::{RequestHeader, write_request_header};
use ottla_protocol::messages::*;
use ottla_protocol::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use ottla_protocol::txn_markers::{TxnMarker, WriteTxnMarkersRequest};
use ottla_protocol::txn_offsets::TxnOffsetCommitRequest;
use ottla_protocol::unregister_controller::UnregisterControllerRequest;
use ottla_protocol::{Encodable, LeaderEpoch, ProducerEpoch, ProducerId, StrBytes, TopicRef, codec};
use uuid::Uuid;

/// A request.
pub(super) struct Sample {
    pub api: ApiKey,
    pub version: i16,
    pub body: Bytes,
}

fn sample<R: Encodable>(api: ApiKey, version: i16, request: R) -> Sample {
    let mut body = BytesMut::new();
    codec::encode(&request, version, &mut body).expect("it can be encoded");
    Sample { api, version, body: body.freeze() }
}

fn word(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic() -> TopicName {
    TopicName(word("topic"))
}

fn group() -> GroupId {
    GroupId(word("group"))
}

/// Those that make something come first, those that delete something last.
pub(super) fn samples() -> Vec<Sample> {
    let mut all = vec![create_topics(), metadata("topic"), metadata("another"), find_coordinator(0)];
    all.extend(begins_a_transaction());
    all.extend([find_coordinator(1), offset_commit(), produce(None), produce(Some(word("transaction")))]);
    all.extend([fetch(-1), fetch(1), list_offsets(-1), list_offsets(1)]);
    all.extend(groups());
    all.extend(configs());
    all.extend(cluster());
    all.extend(security());
    all.extend(topics());
    all.extend(transactions());
    all.extend(controllers());
    all.extend(deletions());
    all
}

fn create_topics() -> Sample {
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(topic())
        .with_num_partitions(1)
        .with_replication_factor(1);
    sample(
        ApiKey::CreateTopics,
        7,
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000),
    )
}

fn metadata(name: &str) -> Sample {
    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(TopicName(word(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true)
        .with_include_cluster_authorized_operations(true)
        .with_include_topic_authorized_operations(true);
    sample(ApiKey::Metadata, 9, request)
}

fn find_coordinator(key_type: i8) -> Sample {
    let request =
        FindCoordinatorRequest::default().with_key_type(key_type).with_coordinator_keys(vec![word("group")]);
    sample(ApiKey::FindCoordinator, 4, request)
}

fn offset_commit() -> Sample {
    sample(ApiKey::OffsetCommit, 8, commit_request())
}

fn commit_request() -> OffsetCommitRequest {
    let partition = offset_commit_request::OffsetCommitRequestPartition::default();
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic())
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

/// With an id: a batch of a transaction.
fn produce(transactional_id: Option<StrBytes>) -> Sample {
    let records = transactional_id.is_some().then(|| {
        let batch = BatchBuilder::new(Compression::None).producer(ProducerId(7), ProducerEpoch(0), 0);
        let mut batch = batch.transactional();
        batch.append(0, None, Some(b"value"), &[]);
        batch.build(0, LeaderEpoch::NONE)
    });
    let partitions = vec![ProducePartition { index: 0, records }];
    let topics = vec![ProduceTopic { topic: TopicRef::Name(word("topic")), partitions }];
    let request = ProduceRequest { transactional_id, acks: 1, timeout_ms: 5000, topics };
    let mut body = BytesMut::new();
    request.write(9, &mut body);
    Sample { api: ApiKey::Produce, version: 9, body: body.freeze() }
}

fn fetch(replica_id: i32) -> Sample {
    let partition = FetchPartition {
        index: 0,
        current_leader_epoch: LeaderEpoch::NONE,
        fetch_offset: 0,
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start_offset: -1,
        max_bytes: 1000,
        replica_directory_id: Uuid::nil(),
        high_watermark: i64::MAX,
    };
    let request = FetchRequest {
        cluster_id: None,
        replica_id,
        replica_epoch: -1,
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 1000,
        isolation_level: IsolationLevel::ReadUncommitted,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: TopicRef::Name(word("topic")), partitions: vec![partition] }],
        forgotten_topics: Vec::new(),
        rack_id: word(""),
    };
    let mut body = BytesMut::new();
    request.write(12, &mut body);
    Sample { api: ApiKey::Fetch, version: 12, body: body.freeze() }
}

fn list_offsets(replica_id: i32) -> Sample {
    let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
    let topic =
        list_offsets_request::ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(replica_id)).with_topics(vec![topic]);
    sample(ApiKey::ListOffsets, 7, request)
}

fn groups() -> Vec<Sample> {
    let named = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![
        offset_fetch_request::OffsetFetchRequestTopic::default()
            .with_name(topic())
            .with_partition_indexes(vec![0]),
    ]));
    let all = OffsetFetchRequest::default().with_group_id(group()).with_topics(None);
    let join = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(6000)
        .with_protocol_type(word("consumer"));
    vec![
        sample(ApiKey::OffsetFetch, 7, named),
        sample(ApiKey::OffsetFetch, 7, all),
        sample(ApiKey::JoinGroup, 5, join),
        sample(ApiKey::Heartbeat, 4, HeartbeatRequest::default().with_group_id(group())),
        sample(ApiKey::LeaveGroup, 2, LeaveGroupRequest::default().with_group_id(group())),
        sample(ApiKey::SyncGroup, 4, SyncGroupRequest::default().with_group_id(group())),
        sample(
            ApiKey::DescribeGroups,
            5,
            DescribeGroupsRequest::default()
                .with_groups(vec![group()])
                .with_include_authorized_operations(true),
        ),
        sample(ApiKey::ListGroups, 4, ListGroupsRequest::default()),
    ]
}

/// Of a topic, a broker and a group.
const CONFIGS: [(i8, &str); 3] = [(2, "topic"), (4, "1"), (32, "group")];

fn configs() -> Vec<Sample> {
    let described = |(kind, name)| {
        describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(word(name))
            .with_configuration_keys(None)
    };
    let altered = |(kind, name)| {
        alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(word(name))
    };
    let changed = |(kind, name)| {
        incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(word(name))
    };
    let described = CONFIGS.map(described).to_vec();
    let (altered, changed) = (CONFIGS.map(altered).to_vec(), CONFIGS.map(changed).to_vec());
    vec![
        sample(ApiKey::DescribeConfigs, 4, DescribeConfigsRequest::default().with_resources(described)),
        sample(
            ApiKey::AlterConfigs,
            2,
            AlterConfigsRequest::default().with_resources(altered).with_validate_only(true),
        ),
        sample(
            ApiKey::IncrementalAlterConfigs,
            1,
            IncrementalAlterConfigsRequest::default().with_resources(changed).with_validate_only(true),
        ),
        sample(ApiKey::ListConfigResources, 1, ListConfigResourcesRequest::default()),
    ]
}

fn cluster() -> Vec<Sample> {
    let replicas = alter_replica_log_dirs_request::AlterReplicaLogDirTopic::default()
        .with_name(topic())
        .with_partitions(vec![0]);
    let dir = alter_replica_log_dirs_request::AlterReplicaLogDir::default()
        .with_path(word("/elsewhere"))
        .with_topics(vec![replicas]);
    let reassigned = alter_partition_reassignments_request::ReassignableTopic::default().with_name(topic());
    vec![
        sample(ApiKey::AlterReplicaLogDirs, 2, AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])),
        sample(ApiKey::DescribeLogDirs, 4, DescribeLogDirsRequest::default().with_topics(None)),
        sample(ApiKey::ElectLeaders, 2, ElectLeadersRequest::default().with_topic_partitions(None)),
        sample(
            ApiKey::AlterPartitionReassignments,
            0,
            AlterPartitionReassignmentsRequest::default().with_topics(vec![reassigned]),
        ),
        sample(
            ApiKey::ListPartitionReassignments,
            0,
            ListPartitionReassignmentsRequest::default().with_topics(None),
        ),
        sample(ApiKey::DescribeClientQuotas, 1, DescribeClientQuotasRequest::default()),
        sample(ApiKey::DescribeQuorum, 0, DescribeQuorumRequest::default()),
        sample(
            ApiKey::DescribeCluster,
            0,
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true),
        ),
    ]
}

fn security() -> Vec<Sample> {
    let rule = create_acls_request::AclCreation::default()
        .with_resource_type(2)
        .with_resource_pattern_type(3)
        .with_operation(3)
        .with_permission_type(3);
    let filter = delete_acls_request::DeleteAclsFilter::default()
        .with_resource_type_filter(2)
        .with_pattern_type_filter(3)
        .with_operation(3)
        .with_permission_type(3);
    let rules = DescribeAclsRequest::default()
        .with_resource_type_filter(2)
        .with_pattern_type_filter(3)
        .with_operation(3)
        .with_permission_type(3);
    let mut versions = BytesMut::new();
    let client = ApiVersionsRequest {
        client_software_name: word("test"),
        client_software_version: word("1"),
        ..Default::default()
    };
    client.write(4, &mut versions);
    vec![
        Sample { api: ApiKey::ApiVersions, version: 4, body: versions.freeze() },
        sample(ApiKey::SaslHandshake, 1, SaslHandshakeRequest::default()),
        sample(ApiKey::SaslAuthenticate, 2, SaslAuthenticateRequest::default()),
        sample(ApiKey::DescribeAcls, 3, rules),
        sample(ApiKey::CreateAcls, 3, CreateAclsRequest::default().with_creations(vec![rule])),
        sample(ApiKey::DeleteAcls, 3, DeleteAclsRequest::default().with_filters(vec![filter])),
        sample(
            ApiKey::DescribeUserScramCredentials,
            0,
            DescribeUserScramCredentialsRequest::default().with_users(None),
        ),
        sample(ApiKey::CreateDelegationToken, 2, CreateDelegationTokenRequest::default()),
        sample(ApiKey::RenewDelegationToken, 2, RenewDelegationTokenRequest::default()),
        sample(ApiKey::ExpireDelegationToken, 2, ExpireDelegationTokenRequest::default()),
        sample(ApiKey::DescribeDelegationToken, 2, DescribeDelegationTokenRequest::default()),
    ]
}

fn topics() -> Vec<Sample> {
    let more = create_partitions_request::CreatePartitionsTopic::default().with_name(topic()).with_count(2);
    let ends = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
        .with_topic(topic())
        .with_partitions(vec![offset_for_leader_epoch_request::OffsetForLeaderPartition::default()]);
    let producers = describe_producers_request::TopicRequest::default()
        .with_name(topic())
        .with_partition_indexes(vec![0]);
    let pages = describe_topic_partitions_request::TopicRequest::default().with_name(topic());
    vec![
        sample(
            ApiKey::CreatePartitions,
            3,
            CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(5000),
        ),
        sample(
            ApiKey::OffsetForLeaderEpoch,
            4,
            OffsetForLeaderEpochRequest::default().with_topics(vec![ends]),
        ),
        sample(
            ApiKey::DescribeProducers,
            0,
            DescribeProducersRequest::default().with_topics(vec![producers]),
        ),
        sample(
            ApiKey::DescribeTopicPartitions,
            0,
            DescribeTopicPartitionsRequest::default().with_topics(vec![pages]),
        ),
    ]
}

fn transactions() -> Vec<Sample> {
    let id = TransactionalId(word("transaction"));
    vec![
        sample(ApiKey::InitProducerId, 4, InitProducerIdRequest::default().with_transactional_id(None)),
        sample(ApiKey::EndTxn, 3, EndTxnRequest::default().with_transactional_id(id)),
    ]
}

/// It is open in the topic when it is described.
fn begins_a_transaction() -> Vec<Sample> {
    let id = TransactionalId(word("transaction"));
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(60_000);
    let topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
        .with_name(topic())
        .with_partitions(vec![0]);
    let by_client = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id.clone())
        .with_v3_and_below_producer_id(0.into())
        .with_v3_and_below_topics(vec![topic.clone()]);
    let by_broker = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default()
        .with_transactional_id(id.clone())
        .with_topics(vec![topic]);
    let by_broker = AddPartitionsToTxnRequest::default().with_transactions(vec![by_broker]);
    let offsets = AddOffsetsToTxnRequest::default().with_transactional_id(id.clone()).with_group_id(group());
    let commit = commit_request();
    let mut body = BytesMut::new();
    TxnOffsetCommitRequest {
        transactional_id: id.0.clone(),
        producer_id: ProducerId(0),
        producer_epoch: ProducerEpoch(0),
        commit,
    }
    .write(5, &mut body);
    let offset_commit = Sample { api: ApiKey::TxnOffsetCommit, version: 5, body: body.freeze() };
    let marker = TxnMarker {
        producer_id: ProducerId(0),
        producer_epoch: ProducerEpoch(0),
        committed: true,
        topics: vec![(topic_word(), vec![0])],
        coordinator_epoch: 0,
        transaction_version: 0,
    };
    let mut body = BytesMut::new();
    WriteTxnMarkersRequest { markers: vec![marker] }.write(1, &mut body);
    let markers = Sample { api: ApiKey::WriteTxnMarkers, version: 1, body: body.freeze() };
    vec![
        find_coordinator(1),
        sample(ApiKey::InitProducerId, 4, init),
        sample(ApiKey::AddPartitionsToTxn, 3, by_client),
        sample(ApiKey::AddPartitionsToTxn, 4, by_broker),
        sample(ApiKey::AddOffsetsToTxn, 3, offsets),
        offset_commit,
        markers,
        sample(ApiKey::DescribeTransactions, 0, described(id)),
        sample(ApiKey::ListTransactions, 0, ListTransactionsRequest::default()),
    ]
}

/// What brokers and controllers ask each other. None of it changes anything: the broker epochs are old ones, and the voters are
/// another cluster's.
fn controllers() -> Vec<Sample> {
    let elsewhere = || Some(word("elsewhere"));
    // One that is not sent on, so that nothing else is asked.
    let mut enclosed = BytesMut::new();
    let header = RequestHeader {
        api_key: ApiKey::ListGroups.code(),
        api_version: 4,
        correlation_id: 1,
        client_id: None,
    };
    write_request_header(&mut enclosed, &header);
    let envelope = EnvelopeRequest::default()
        .with_request_data(enclosed.freeze())
        .with_client_host_address(Bytes::from_static(&[127, 0, 0, 1]));
    let voter = ReplicaKey::of(NodeId(9));
    let (cluster_id, body) = ("elsewhere".to_owned(), Body::Heartbeat { commit: 0 });
    let said = Message { cluster_id, from: voter, to: voter, voters_index: 0, term: 1, body };
    vec![
        sample(
            ApiKey::BrokerRegistration,
            4,
            BrokerRegistrationRequest::default().with_cluster_id(word("elsewhere")),
        ),
        sample(ApiKey::BrokerHeartbeat, 1, BrokerHeartbeatRequest::default()),
        sample(ApiKey::AllocateProducerIds, 0, AllocateProducerIdsRequest::default()),
        sample(ApiKey::AlterPartition, 3, AlterPartitionRequest::default()),
        sample(ApiKey::AssignReplicasToDirs, 0, AssignReplicasToDirsRequest::default()),
        sample(ApiKey::Envelope, 0, envelope),
        sample(ApiKey::UnregisterBroker, 0, UnregisterBrokerRequest::default().with_broker_id(99.into())),
        sample(ApiKey::UnregisterController, 0, UnregisterControllerRequest::of(99)),
        sample(ApiKey::UpdateFeatures, 2, UpdateFeaturesRequest::default().with_validate_only(true)),
        sample(ApiKey::ControllerRegistration, 0, ControllerRegistrationRequest::default()),
        sample(ApiKey::AddRaftVoter, 0, AddRaftVoterRequest::default().with_cluster_id(elsewhere())),
        sample(ApiKey::RemoveRaftVoter, 0, RemoveRaftVoterRequest::default().with_cluster_id(elsewhere())),
        sample(ApiKey::UpdateRaftVoter, 0, UpdateRaftVoterRequest::default().with_cluster_id(elsewhere())),
        Sample { api: ApiKey::QuorumMessage, version: 0, body: said.encode() },
        sample(ApiKey::FetchSnapshot, 0, FetchSnapshotRequest::default()),
    ]
}

fn described(id: TransactionalId) -> DescribeTransactionsRequest {
    DescribeTransactionsRequest::default().with_transactional_ids(vec![id])
}

fn topic_word() -> StrBytes {
    topic().0
}

fn deletions() -> Vec<Sample> {
    let records = delete_records_request::DeleteRecordsTopic::default()
        .with_name(topic())
        .with_partitions(vec![delete_records_request::DeleteRecordsPartition::default()]);
    let offsets = offset_delete_request::OffsetDeleteRequestTopic::default()
        .with_name(topic())
        .with_partitions(vec![offset_delete_request::OffsetDeleteRequestPartition::default()]);
    let another = vec![TopicName(word("another"))];
    let nobody = vec![GroupId(word("nobody"))];
    vec![
        sample(ApiKey::DeleteRecords, 2, DeleteRecordsRequest::default().with_topics(vec![records])),
        sample(
            ApiKey::OffsetDelete,
            0,
            OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![offsets]),
        ),
        sample(
            ApiKey::DeleteTopics,
            5,
            DeleteTopicsRequest::default().with_topic_names(another).with_timeout_ms(5000),
        ),
        sample(ApiKey::DeleteGroups, 2, DeleteGroupsRequest::default().with_groups_names(nobody)),
    ]
}
