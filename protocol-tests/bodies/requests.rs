//! Request frames, as they come off a socket: the header, and behind it what that API and version make of the rest.

use bytes::{Bytes, BytesMut};
use ottla_node::quorum::Message;
use ottla_protocol::api::{API_TABLE, ApiKey};
use ottla_protocol::api_versions::ApiVersionsRequest;
use ottla_protocol::fetch::FetchRequest;
use ottla_protocol::header::{RequestHeader, read_request_header, write_request_header};
use ottla_protocol::messages::*;
use ottla_protocol::produce::ProduceRequest;
use ottla_protocol::txn_markers::WriteTxnMarkersRequest;
use ottla_protocol::txn_offsets::TxnOffsetCommitRequest;
use ottla_protocol::unregister_controller::UnregisterControllerRequest;
use ottla_protocol::{Encodable, Malformed, StrBytes, api, codec, list_offsets, offsets};

macro_rules! generated {
    ($($name:ident => $request:ident,)*) => {
        /// Reads the body of any request; whether it could be.
        fn read(key: ApiKey, version: i16, body: Bytes) -> Result<(), Malformed> {
            match key {
                ApiKey::Produce => ProduceRequest::read(version, body).map(drop),
                ApiKey::Fetch => FetchRequest::read(version, body).map(drop),
                ApiKey::ApiVersions => ApiVersionsRequest::read(version, body).map(drop),
                ApiKey::ListOffsets => list_offsets::read_request(version, body).map(drop),
                ApiKey::OffsetCommit => offsets::read_commit(version, &body).map(drop),
                ApiKey::OffsetFetch => offsets::read_fetch(version, &body).map(drop),
                ApiKey::QuorumMessage => voters_message(&body),
                ApiKey::TxnOffsetCommit => TxnOffsetCommitRequest::read(version, &body).map(drop),
                ApiKey::WriteTxnMarkers => WriteTxnMarkersRequest::read(version, &body).map(drop),
                $(ApiKey::$name => round_trip::<$request>(key, version, body),)*
            }
        }

        /// An empty one, where it has a spelling in that version.
        fn empty(key: ApiKey, version: i16) -> Option<Bytes> {
            let mut buf = BytesMut::new();
            match key {
                $(ApiKey::$name => codec::encode(&$request::default(), version, &mut buf).ok()?,)*
                _ => return None,
            }
            Some(buf.freeze())
        }
    };
}

// What a voter says: whatever can be read is written as it was.
fn voters_message(body: &Bytes) -> Result<(), Malformed> {
    let message = Message::decode(body)?;
    let again = Message::decode(&message.encode()).expect("what is written can be read");
    assert_eq!(again, message);
    Ok(())
}

generated! {
    AlterPartition => AlterPartitionRequest,
    UpdateFeatures => UpdateFeaturesRequest,
    Envelope => EnvelopeRequest,
    FetchSnapshot => FetchSnapshotRequest,
    BrokerRegistration => BrokerRegistrationRequest,
    BrokerHeartbeat => BrokerHeartbeatRequest,
    UnregisterBroker => UnregisterBrokerRequest,
    UnregisterController => UnregisterControllerRequest,
    AllocateProducerIds => AllocateProducerIdsRequest,
    ControllerRegistration => ControllerRegistrationRequest,
    AssignReplicasToDirs => AssignReplicasToDirsRequest,
    AddRaftVoter => AddRaftVoterRequest,
    RemoveRaftVoter => RemoveRaftVoterRequest,
    UpdateRaftVoter => UpdateRaftVoterRequest,
    Metadata => MetadataRequest,
    FindCoordinator => FindCoordinatorRequest,
    JoinGroup => JoinGroupRequest,
    Heartbeat => HeartbeatRequest,
    LeaveGroup => LeaveGroupRequest,
    SyncGroup => SyncGroupRequest,
    DescribeGroups => DescribeGroupsRequest,
    ListGroups => ListGroupsRequest,
    CreateTopics => CreateTopicsRequest,
    DeleteTopics => DeleteTopicsRequest,
    DeleteRecords => DeleteRecordsRequest,
    InitProducerId => InitProducerIdRequest,
    OffsetForLeaderEpoch => OffsetForLeaderEpochRequest,
    DescribeAcls => DescribeAclsRequest,
    CreateAcls => CreateAclsRequest,
    SaslHandshake => SaslHandshakeRequest,
    SaslAuthenticate => SaslAuthenticateRequest,
    CreateDelegationToken => CreateDelegationTokenRequest,
    RenewDelegationToken => RenewDelegationTokenRequest,
    ExpireDelegationToken => ExpireDelegationTokenRequest,
    DescribeDelegationToken => DescribeDelegationTokenRequest,
    AddPartitionsToTxn => AddPartitionsToTxnRequest,
    AddOffsetsToTxn => AddOffsetsToTxnRequest,
    EndTxn => EndTxnRequest,
    DescribeTransactions => DescribeTransactionsRequest,
    DeleteAcls => DeleteAclsRequest,
    AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
    DescribeConfigs => DescribeConfigsRequest,
    AlterConfigs => AlterConfigsRequest,
    AlterReplicaLogDirs => AlterReplicaLogDirsRequest,
    DescribeLogDirs => DescribeLogDirsRequest,
    CreatePartitions => CreatePartitionsRequest,
    DeleteGroups => DeleteGroupsRequest,
    ElectLeaders => ElectLeadersRequest,
    IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
    ListPartitionReassignments => ListPartitionReassignmentsRequest,
    OffsetDelete => OffsetDeleteRequest,
    DescribeClientQuotas => DescribeClientQuotasRequest,
    DescribeUserScramCredentials => DescribeUserScramCredentialsRequest,
    DescribeQuorum => DescribeQuorumRequest,
    DescribeCluster => DescribeClusterRequest,
    DescribeProducers => DescribeProducersRequest,
    ListTransactions => ListTransactionsRequest,
    ListConfigResources => ListConfigResourcesRequest,
    DescribeTopicPartitions => DescribeTopicPartitionsRequest,
}

fn round_trip<R>(key: ApiKey, version: i16, body: Bytes) -> Result<(), Malformed>
where
    R: Encodable + ottla_protocol::Decodable + PartialEq + std::fmt::Debug,
{
    let request: R = codec::decode(key.code(), version, body)?;
    let mut buf = BytesMut::new();
    // Some of what may be read has no spelling, an unknown tagged field out of order for one.
    if codec::encode(&request, version, &mut buf).is_ok()
        && let Ok(again) = codec::decode::<R>(key.code(), version, buf.freeze())
    {
        assert_eq!(again, request, "{key:?} v{version} is read as it is written");
    }
    Ok(())
}

pub fn body(bytes: &[u8]) {
    let mut frame = Bytes::copy_from_slice(bytes);
    let Ok(header) = read_request_header(&mut frame) else { return };
    let Some(row) = api::api(header.api_key).filter(|row| row.serves(header.api_version)) else { return };
    if let Err(malformed) = read(row.id, header.api_version, frame) {
        assert!(!malformed.to_string().is_empty());
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for row in API_TABLE {
        for version in row.versions() {
            let header = RequestHeader {
                api_key: row.key,
                api_version: version,
                correlation_id: 7,
                client_id: Some(StrBytes::from_static_str("c")),
            };
            let mut frame = BytesMut::new();
            write_request_header(&mut frame, &header);
            // What is written by hand begins with nothing; mutations find the rest.
            frame.extend_from_slice(&empty(row.id, version).unwrap_or(Bytes::from_static(&[0; 40])));
            seeds.push(frame.to_vec());
        }
    }
    seeds
}
