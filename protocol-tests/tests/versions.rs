//! The version matrix: every version of every API that the broker advertises is asked, the answer read to its
//! last byte, and written again to the same bytes.

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Message, Request};
use ottla_client::connection::{decode_answer, request_frame};
use ottla_protocol::unregister_controller::UnregisterControllerRequest;
use protocol_tests::broker::unique_name;
use protocol_tests::requests::{self, text, topic_name};
use protocol_tests::{Broker, Topic, batch, broker, name_of};

/// Versions that the message crate does not know: `golden` asks ApiVersions 5 byte for byte, `groups` OffsetCommit 10
/// and OffsetFetch 10, `cluster_admin` DescribeLogDirs 5, `apis` DeleteGroups 3, `transactions` WriteTxnMarkers 2 and
/// TxnOffsetCommit 6.
const ASKED_ELSEWHERE: [(i16, i16); 7] = [(18, 5), (8, 10), (9, 10), (35, 5), (42, 3), (27, 2), (28, 6)];

const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const ILLEGAL_SASL_STATE: i16 = 34;
const SECURITY_DISABLED: i16 = 54;
const TOKEN_REQUEST_NOT_ALLOWED: i16 = 64;
const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;
const NOT_COORDINATOR: i16 = 16;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const LOG_DIR_NOT_FOUND: i16 = 57;
const UNKNOWN_MEMBER_ID: i16 = 25;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;
const BROKER_ID_NOT_REGISTERED: i16 = 102;
const INCONSISTENT_CLUSTER_ID: i16 = 104;
const CONTROLLER_ID_NOT_REGISTERED: i16 = 136;

/// An error that the request is bound to meet is as good as none.
fn expected(code: i16, error: i16) -> i16 {
    if code == error { 0 } else { code }
}

/// Nobody knows the transactional id; its coordinator may not be there yet.
fn of_nobody(code: i16) -> i16 {
    [INVALID_PRODUCER_ID_MAPPING, NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE].into_iter().fold(code, expected)
}

/// What the requests are about.
struct About<'a> {
    broker: &'a Broker,
    topic: Topic,
    /// One that has committed an offset.
    group: String,
    version: i16,
}

/// Each API: a request that succeeds in every version, the newest version whose layout the message crate
/// knows if later ones have the same, and the error codes of an answer.
macro_rules! matrix {
    ($($request:ident $(same from $typed_max:literal)?: $make:expr, codes $codes:expr;)+) => {
        /// Asks `key` in the version of `about`; false if there is no row for it.
        async fn ask(about: &About<'_>, key: i16) -> Result<bool> {
            match key {
                $($request::KEY => {
                    let make: fn(&About<'_>) -> $request = $make;
                    let codes: fn(&<$request as Request>::Response) -> Vec<i16> = $codes;
                    let typed_max = [$($typed_max,)? <$request as Message>::VERSIONS.max][0];
                    round_trip(about, &make(about), codes, typed_max).await?;
                })+
                _ => return Ok(false),
            }
            Ok(true)
        }
    };
}

matrix! {
    ProduceRequest:
        |about| requests::produce(&about.topic, 0, batch(&["a"]).build(), -1),
        codes |answer| answer.responses.iter().flat_map(|topic| &topic.partition_responses).map(|at| at.error_code).collect();
    FetchRequest:
        |about| requests::fetch(&about.topic, &[(0, 0)]),
        codes |answer| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|at| at.error_code).chain([answer.error_code]).collect()
        };
    ListOffsetsRequest same from 10:
        |about| requests::list_offsets(&about.topic.name, 0, -1),
        codes |answer| answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code).collect();
    MetadataRequest:
        |about| requests::metadata(&[&about.topic.name]).with_allow_auto_topic_creation(about.version < 4),
        codes |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code);
            answer.topics.iter().map(|topic| topic.error_code).chain(partitions).collect()
        };
    FindCoordinatorRequest:
        |about| {
            let request = FindCoordinatorRequest::default();
            match about.version {
                ..4 => request.with_key(text("group")),
                _ => request.with_coordinator_keys(vec![text("group")]),
            }
        },
        // A broker may still be creating what the coordinator needs.
        codes |answer| {
            let each = answer.coordinators.iter().map(|coordinator| coordinator.error_code);
            each.chain([answer.error_code]).map(|code| expected(code, COORDINATOR_NOT_AVAILABLE)).collect()
        };
    OffsetCommitRequest:
        |about| {
            let at = OffsetCommitRequestPartition::default().with_committed_offset(7);
            let at = at.with_committed_leader_epoch(-1).with_committed_metadata(None);
            let topic = OffsetCommitRequestTopic::default().with_name(topic_name(&about.topic.name));
            let request = OffsetCommitRequest::default().with_group_id(GroupId(text(&about.group)));
            request.with_generation_id_or_member_epoch(-1).with_topics(vec![topic.with_partitions(vec![at])])
        },
        codes |answer| answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code).collect();
    OffsetFetchRequest:
        |about| {
            let (group, name) = (GroupId(text(&about.group)), topic_name(&about.topic.name));
            if about.version < 8 {
                let topic = OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![0]);
                return OffsetFetchRequest::default().with_group_id(group).with_topics(Some(vec![topic]));
            }
            let topic = OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![0]);
            let group = OffsetFetchRequestGroup::default().with_group_id(group).with_topics(Some(vec![topic]));
            OffsetFetchRequest::default().with_groups(vec![group])
        },
        codes |answer| {
            let groups = answer.groups.iter().flat_map(|group| {
                let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.map(|at| at.error_code).chain([group.error_code])
            });
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code);
            partitions.chain(groups).chain([answer.error_code]).collect()
        };
    JoinGroupRequest:
        |about| {
            let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
            JoinGroupRequest::default()
                .with_group_id(GroupId(text(&format!("{}-{}", about.group, about.version))))
                .with_session_timeout_ms(10_000)
                .with_rebalance_timeout_ms(if about.version >= 1 { 10_000 } else { -1 })
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol.with_metadata(Bytes::from_static(&[0; 10]))])
        },
        codes |answer| vec![expected(answer.error_code, MEMBER_ID_REQUIRED)];
    HeartbeatRequest:
        |about| HeartbeatRequest::default().with_group_id(GroupId(text(&about.group))).with_member_id(text("nobody")),
        codes |answer| vec![expected(answer.error_code, UNKNOWN_MEMBER_ID)];
    LeaveGroupRequest:
        |about| {
            let request = LeaveGroupRequest::default().with_group_id(GroupId(text(&about.group)));
            match about.version {
                ..3 => request.with_member_id(text("nobody")),
                _ => request.with_members(vec![MemberIdentity::default().with_member_id(text("nobody"))]),
            }
        },
        codes |answer| {
            let members = answer.members.iter().map(|member| member.error_code);
            members.chain([answer.error_code]).map(|code| expected(code, UNKNOWN_MEMBER_ID)).collect()
        };
    SyncGroupRequest:
        |about| {
            let request = SyncGroupRequest::default().with_group_id(GroupId(text(&about.group)));
            let request = request.with_member_id(text("nobody"));
            match about.version {
                ..5 => request,
                _ => request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range"))),
            }
        },
        codes |answer| vec![expected(answer.error_code, UNKNOWN_MEMBER_ID)];
    DescribeGroupsRequest:
        |about| DescribeGroupsRequest::default().with_groups(vec![GroupId(text(&about.group))]),
        codes |answer| answer.groups.iter().map(|group| group.error_code).collect();
    ListGroupsRequest:
        |_| ListGroupsRequest::default(),
        codes |answer| vec![answer.error_code];
    DeleteGroupsRequest:
        |_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("no such group"))]),
        codes |answer| {
            answer.results.iter().map(|result| expected(result.error_code, GROUP_ID_NOT_FOUND)).collect()
        };
    OffsetDeleteRequest:
        |about| {
            let at = OffsetDeleteRequestPartition::default();
            let topic = OffsetDeleteRequestTopic::default().with_name(topic_name(&about.topic.name));
            let request = OffsetDeleteRequest::default().with_group_id(GroupId(text(&about.group)));
            request.with_topics(vec![topic.with_partitions(vec![at])])
        },
        codes |answer| vec![answer.error_code];
    ApiVersionsRequest:
        |_| ApiVersionsRequest::default().with_client_software_name(text("a")).with_client_software_version(text("1")),
        codes |answer| vec![answer.error_code];
    CreateTopicsRequest:
        |_| {
            let topic = CreatableTopic::default().with_name(topic_name(&unique_name("matrix")));
            let topic = topic.with_num_partitions(1).with_replication_factor(1);
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
        },
        codes |answer| answer.topics.iter().flat_map(|topic| [topic.error_code, topic.topic_config_error_code]).collect();
    DeleteTopicsRequest:
        |about| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
            match about.version {
                ..6 => request.with_topic_names(vec![topic_name(&about.topic.name)]),
                _ => request.with_topics(vec![DeleteTopicState::default().with_topic_id(about.topic.id)]),
            }
        },
        codes |answer| answer.responses.iter().map(|topic| topic.error_code).collect();
    InitProducerIdRequest:
        |_| InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000),
        codes |answer| vec![answer.error_code];
    DescribeConfigsRequest:
        |about| {
            let topic = DescribeConfigsResource::default().with_resource_type(2);
            let topic = topic.with_resource_name(text(&about.topic.name)).with_configuration_keys(None);
            let request = DescribeConfigsRequest::default().with_resources(vec![topic]).with_include_synonyms(true);
            request.with_include_documentation(about.version >= 3)
        },
        codes |answer| answer.results.iter().map(|result| result.error_code).collect();
    DescribeClusterRequest:
        |_| DescribeClusterRequest::default(),
        codes |answer| vec![answer.error_code];
    DescribeTopicPartitionsRequest:
        |about| {
            let topic = TopicRequest::default().with_name(topic_name(&about.topic.name));
            DescribeTopicPartitionsRequest::default().with_topics(vec![topic]).with_response_partition_limit(10)
        },
        codes |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code);
            answer.topics.iter().map(|topic| topic.error_code).chain(partitions).collect()
        };
    CreatePartitionsRequest:
        |about| {
            let topic = CreatePartitionsTopic::default().with_name(topic_name(&about.topic.name)).with_count(2);
            let request = CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)]);
            request.with_timeout_ms(10_000)
        },
        codes |answer| answer.results.iter().map(|result| result.error_code).collect();
    DeleteRecordsRequest:
        |about| {
            let topic = DeleteRecordsTopic::default().with_name(topic_name(&about.topic.name));
            let topic = topic.with_partitions(vec![DeleteRecordsPartition::default().with_offset(-1)]);
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
        },
        codes |answer| answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code).collect();
    AlterReplicaLogDirsRequest:
        |about| {
            let topic = AlterReplicaLogDirTopic::default().with_name(topic_name(&about.topic.name));
            let dir = AlterReplicaLogDir::default().with_path("/no/such/directory".into());
            AlterReplicaLogDirsRequest::default()
                .with_dirs(vec![dir.with_topics(vec![topic.with_partitions(vec![0])])])
        },
        codes |answer| {
            let partitions = answer.results.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| expected(partition.error_code, LOG_DIR_NOT_FOUND)).collect()
        };
    OffsetForLeaderEpochRequest:
        |about| {
            let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1);
            let topic = OffsetForLeaderTopic::default().with_topic(topic_name(&about.topic.name));
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic.with_partitions(vec![partition])]);
            if about.version >= 3 { request.with_replica_id(BrokerId(-1)) } else { request }
        },
        codes |answer| answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code).collect();
    DescribeAclsRequest:
        |_| {
            let request = DescribeAclsRequest::default().with_resource_type_filter(1).with_pattern_type_filter(1);
            let request = request.with_resource_name_filter(None).with_principal_filter(None).with_host_filter(None);
            request.with_operation(1).with_permission_type(1)
        },
        codes |answer| vec![expected(answer.error_code, SECURITY_DISABLED)];
    CreateAclsRequest:
        |_| CreateAclsRequest::default().with_creations(vec![AclCreation::default()
            .with_resource_type(2).with_resource_pattern_type(3).with_operation(3).with_permission_type(3)]),
        codes |answer| answer.results.iter().map(|result| expected(result.error_code, SECURITY_DISABLED)).collect();
    DeleteAclsRequest:
        |_| DeleteAclsRequest::default().with_filters(vec![DeleteAclsFilter::default()
            .with_resource_type_filter(1).with_pattern_type_filter(1).with_operation(1).with_permission_type(1)]),
        codes |answer| {
            answer.filter_results.iter().map(|result| expected(result.error_code, SECURITY_DISABLED)).collect()
        };
    SaslHandshakeRequest:
        |_| SaslHandshakeRequest::default().with_mechanism(text("PLAIN")),
        codes |answer| vec![expected(answer.error_code, ILLEGAL_SASL_STATE)];
    SaslAuthenticateRequest:
        |_| SaslAuthenticateRequest::default(),
        codes |answer| vec![expected(answer.error_code, ILLEGAL_SASL_STATE)];
    CreateDelegationTokenRequest:
        |_| CreateDelegationTokenRequest::default(),
        codes |answer| vec![expected(answer.error_code, TOKEN_REQUEST_NOT_ALLOWED)];
    RenewDelegationTokenRequest:
        |_| RenewDelegationTokenRequest::default(),
        codes |answer| vec![expected(answer.error_code, TOKEN_REQUEST_NOT_ALLOWED)];
    ExpireDelegationTokenRequest:
        |_| ExpireDelegationTokenRequest::default(),
        codes |answer| vec![expected(answer.error_code, TOKEN_REQUEST_NOT_ALLOWED)];
    DescribeDelegationTokenRequest:
        |_| DescribeDelegationTokenRequest::default(),
        codes |answer| vec![expected(answer.error_code, TOKEN_REQUEST_NOT_ALLOWED)];
    AddPartitionsToTxnRequest:
        |about| {
            let topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default();
            let topics = vec![topic.with_name(topic_name(&about.topic.name)).with_partitions(vec![0])];
            let (id, request) = (TransactionalId("none".into()), AddPartitionsToTxnRequest::default());
            if about.version < 4 {
                return request.with_v3_and_below_transactional_id(id).with_v3_and_below_topics(topics);
            }
            let one = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default();
            request.with_transactions(vec![one.with_transactional_id(id).with_topics(topics)])
        },
        codes |answer| {
            let transactions = answer.results_by_transaction.iter().flat_map(|one| &one.topic_results);
            let topics = transactions.chain(&answer.results_by_topic_v3_and_below);
            let partitions = topics.flat_map(|topic| &topic.results_by_partition);
            partitions.map(|at| of_nobody(at.partition_error_code)).chain([answer.error_code]).collect()
        };
    AddOffsetsToTxnRequest:
        |about| {
            let request = AddOffsetsToTxnRequest::default().with_transactional_id(TransactionalId("none".into()));
            request.with_group_id(GroupId(text(&about.group)))
        },
        codes |answer| vec![of_nobody(answer.error_code)];
    EndTxnRequest:
        |_| EndTxnRequest::default().with_transactional_id(TransactionalId("none".into())),
        codes |answer| vec![of_nobody(answer.error_code)];
    TxnOffsetCommitRequest:
        |about| {
            let at = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
            let at = at.with_committed_leader_epoch(-1).with_committed_metadata(None);
            let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default();
            let topic = topic.with_name(topic_name(&about.topic.name)).with_partitions(vec![at]);
            let request = TxnOffsetCommitRequest::default().with_transactional_id(TransactionalId("none".into()));
            let request = request.with_group_id(GroupId(text(&about.group))).with_topics(vec![topic]);
            if about.version >= 3 { request.with_generation_id(-1) } else { request }
        },
        codes |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|at| of_nobody(at.error_code)).collect()
        };
    WriteTxnMarkersRequest:
        |about| {
            let topic = write_txn_markers_request::WritableTxnMarkerTopic::default();
            let topic = topic.with_name(topic_name(&about.topic.name)).with_partition_indexes(vec![0]);
            let marker = write_txn_markers_request::WritableTxnMarker::default().with_producer_id(1_000_000.into());
            WriteTxnMarkersRequest::default().with_markers(vec![marker.with_topics(vec![topic])])
        },
        codes |answer| {
            let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
            topics.flat_map(|topic| &topic.partitions).map(|at| at.error_code).collect()
        };
    DescribeTransactionsRequest:
        |_| DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId("none".into())]),
        // Apache Kafka may not have its coordinator yet.
        codes |answer| {
            let codes = answer.transaction_states.iter().map(|state| state.error_code);
            let known = codes.map(|code| expected(code, TRANSACTIONAL_ID_NOT_FOUND));
            known.map(|code| expected(code, NOT_COORDINATOR)).collect()
        };
    AlterConfigsRequest:
        |about| {
            let resource = alter_configs_request::AlterConfigsResource::default().with_resource_type(2);
            AlterConfigsRequest::default().with_resources(vec![resource.with_resource_name(text(&about.topic.name))])
        },
        codes |answer| answer.responses.iter().map(|response| response.error_code).collect();
    IncrementalAlterConfigsRequest:
        |about| {
            let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1")));
            let resource = AlterConfigsResource::default().with_resource_type(2).with_configs(vec![config]);
            IncrementalAlterConfigsRequest::default()
                .with_resources(vec![resource.with_resource_name(text(&about.topic.name))])
        },
        codes |answer| answer.responses.iter().map(|response| response.error_code).collect();
    DescribeLogDirsRequest:
        |_| DescribeLogDirsRequest::default().with_topics(None),
        codes |answer| answer.results.iter().map(|dir| dir.error_code).chain([answer.error_code]).collect();
    ElectLeadersRequest:
        |about| {
            let topic = TopicPartitions::default().with_topic(topic_name(&about.topic.name)).with_partitions(vec![0]);
            ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic])).with_timeout_ms(10_000)
        },
        // It leads already.
        codes |answer| {
            let partitions = answer.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
            let codes = partitions.map(|at| if at.error_code == 84 { 0 } else { at.error_code });
            codes.chain([answer.error_code]).collect()
        };
    AlterPartitionReassignmentsRequest:
        |about| {
            // Nothing is called off, for nothing moves.
            let partition = ReassignablePartition::default().with_replicas(None);
            let topic = ReassignableTopic::default().with_name(topic_name(&about.topic.name));
            AlterPartitionReassignmentsRequest::default().with_topics(vec![topic.with_partitions(vec![partition])])
        },
        codes |answer| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            let codes = partitions.map(|at| expected(at.error_code, NO_REASSIGNMENT_IN_PROGRESS));
            codes.chain([answer.error_code]).collect()
        };
    ListPartitionReassignmentsRequest:
        |_| ListPartitionReassignmentsRequest::default().with_topics(None),
        codes |answer| vec![answer.error_code];
    DescribeClientQuotasRequest:
        |_| DescribeClientQuotasRequest::default(),
        codes |answer| vec![answer.error_code];
    DescribeUserScramCredentialsRequest:
        |_| DescribeUserScramCredentialsRequest::default().with_users(None),
        codes |answer| vec![answer.error_code];
    DescribeQuorumRequest:
        |_| {
            let topic = TopicData::default().with_topic_name(topic_name("__cluster_metadata"));
            let topic = topic.with_partitions(vec![PartitionData::default()]);
            DescribeQuorumRequest::default().with_topics(vec![topic])
        },
        codes |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|at| at.error_code).chain([answer.error_code]).collect()
        };
    DescribeProducersRequest:
        |about| {
            let topic = describe_producers_request::TopicRequest::default().with_partition_indexes(vec![0]);
            DescribeProducersRequest::default().with_topics(vec![topic.with_name(topic_name(&about.topic.name))])
        },
        codes |answer| answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code).collect();
    ListTransactionsRequest:
        |_| ListTransactionsRequest::default(),
        codes |answer| vec![answer.error_code];
    ListConfigResourcesRequest:
        |_| ListConfigResourcesRequest::default(),
        codes |answer| vec![answer.error_code];
    UpdateFeaturesRequest:
        |_| UpdateFeaturesRequest::default(),
        codes |answer| vec![answer.error_code];
    UnregisterBrokerRequest:
        |_| UnregisterBrokerRequest::default().with_broker_id(999.into()),
        codes |answer| vec![expected(answer.error_code, BROKER_ID_NOT_REGISTERED)];
    UnregisterControllerRequest:
        |_| UnregisterControllerRequest::of(999),
        codes |answer| vec![expected(answer.error_code, CONTROLLER_ID_NOT_REGISTERED)];
    AddRaftVoterRequest:
        |_| AddRaftVoterRequest::default().with_cluster_id(Some(text("elsewhere"))).with_voter_id(999),
        codes |answer| vec![expected(answer.error_code, INCONSISTENT_CLUSTER_ID)];
    RemoveRaftVoterRequest:
        |_| RemoveRaftVoterRequest::default().with_cluster_id(Some(text("elsewhere"))).with_voter_id(999),
        codes |answer| vec![expected(answer.error_code, INCONSISTENT_CLUSTER_ID)];
}

async fn round_trip<Req: Request>(
    about: &About<'_>,
    request: &Req,
    codes: fn(&Req::Response) -> Vec<i16>,
    typed_max: i16,
) -> Result<()> {
    let (version, typed) = (about.version, about.version.min(typed_max));
    let story =
        format!("{} v{version}", std::any::type_name::<Req>().rsplit("::").next().unwrap_or_default());
    let mut frame = request_frame(request, typed, 77, Some("matrix")).map_err(anyhow::Error::msg)?.to_vec();
    frame[6..8].copy_from_slice(&version.to_be_bytes());
    let mut raw = about.broker.connect_raw().await?;
    raw.send_bytes(&frame).await?;
    let answer = raw.receive_frame().await?.with_context(|| format!("{story}: closed"))?;
    ensure!(answer[..4] == 77i32.to_be_bytes(), "{story}: correlation id");

    let header_version = Req::Response::header_version(typed);
    let header_bytes = if header_version == 0 { 4 } else { 5 };
    ensure!(header_version == 0 || answer[4] == 0, "{story}: no tagged fields in the header");
    let decoded: Req::Response = decode_answer(answer.clone(), header_version, typed)
        .map_err(|error| anyhow::anyhow!("{story}: {error}"))?;
    for code in codes(&decoded) {
        ensure!(code == 0, "{story}: {}", name_of(code));
    }
    ensure!(!codes(&decoded).is_empty(), "{story}: nothing was told");
    ensure!(
        encoded(&decoded, typed)? == answer.slice(header_bytes..),
        "{story}: the same message has other bytes"
    );
    Ok(())
}

fn encoded(message: &impl Encodable, version: i16) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version)?;
    Ok(bytes.freeze())
}

#[tokio::test]
async fn every_advertised_version_of_every_api_is_served() -> Result<()> {
    let broker = broker().await;
    let versions = broker.connect().await?.versions().await?;
    let group = broker.group_with_an_offset().await?;
    let mut asked = 0;
    for (key, range) in versions.iter() {
        for version in range.min..=range.max {
            // Produce 0 to 2 are advertised without being served; see `compat_versions`.
            if (key == ProduceRequest::KEY && version < 3) || ASKED_ELSEWHERE.contains(&(key, version)) {
                continue;
            }
            let about = About { broker, topic: broker.topic(1, &[]).await?, group: group.clone(), version };
            if ask(&about, key).await? {
                asked += 1;
            } else {
                ensure!(!broker.is_ours(), "API {key} is advertised and not in the matrix: give it a row");
                break;
            }
        }
    }
    assert!(asked > 70, "{asked} versions were asked");
    Ok(())
}
