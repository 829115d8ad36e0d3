//! The layouts compared with `kafka-protocol`: that crate reads and writes messages made from a layout, at every version
//! and in both directions, and each damage is found before the crate sees the message.

mod make;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Layout, check};
use crate::api::{API_TABLE, ApiKey, ApiRow};
use crate::codec;
use crate::primitives::Form;
use crate::unregister_controller::{UnregisterControllerRequest, UnregisterControllerResponse};
use make::{Damage, make};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Request,
    Response,
}

/// Version 10 of the offset APIs, and 6 of TxnOffsetCommit, name topics by id; version 2 of WriteTxnMarkers has one field
/// more. No layout has that: a codec of this crate parses it.
fn is_by_hand(row: &ApiRow, version: i16) -> bool {
    let has_codec = matches!(
        row.id,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch | ApiKey::TxnOffsetCommit | ApiKey::WriteTxnMarkers
    );
    has_codec && version > row.typed_max
}

/// Every layout at every version.
fn every_body() -> impl Iterator<Item = (&'static ApiRow, Direction, i16, Form, Layout)> {
    API_TABLE.iter().filter_map(|row| Some((row, row.layout?))).flat_map(|(row, shapes)| {
        row.versions().filter(|version| !is_by_hand(row, *version)).flat_map(move |version| {
            let form = Form::of(version, row.request_flexible_from);
            [
                (row, Direction::Request, version, form, shapes.request),
                (row, Direction::Response, version, form, shapes.response),
            ]
        })
    })
}

/// Calls a generic function with the type of an API's request or response.
macro_rules! by_type {
    ($row:expr, $direction:expr, $call:ident $arguments:tt) => {
        by_type!(@match ($row.id, $direction), $call $arguments,
            ListOffsets ListOffsetsRequest ListOffsetsResponse
            OffsetCommit OffsetCommitRequest OffsetCommitResponse
            OffsetFetch OffsetFetchRequest OffsetFetchResponse
            Metadata MetadataRequest MetadataResponse
            FindCoordinator FindCoordinatorRequest FindCoordinatorResponse
            JoinGroup JoinGroupRequest JoinGroupResponse
            Heartbeat HeartbeatRequest HeartbeatResponse
            LeaveGroup LeaveGroupRequest LeaveGroupResponse
            SyncGroup SyncGroupRequest SyncGroupResponse
            DescribeGroups DescribeGroupsRequest DescribeGroupsResponse
            ListGroups ListGroupsRequest ListGroupsResponse
            DeleteGroups DeleteGroupsRequest DeleteGroupsResponse
            OffsetDelete OffsetDeleteRequest OffsetDeleteResponse
            CreateTopics CreateTopicsRequest CreateTopicsResponse
            DeleteTopics DeleteTopicsRequest DeleteTopicsResponse
            InitProducerId InitProducerIdRequest InitProducerIdResponse
            DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse
            DescribeCluster DescribeClusterRequest DescribeClusterResponse
            DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
            DeleteRecords DeleteRecordsRequest DeleteRecordsResponse
            OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
            DescribeAcls DescribeAclsRequest DescribeAclsResponse
            CreateAcls CreateAclsRequest CreateAclsResponse
            SaslHandshake SaslHandshakeRequest SaslHandshakeResponse
            SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse
            CreateDelegationToken CreateDelegationTokenRequest CreateDelegationTokenResponse
            RenewDelegationToken RenewDelegationTokenRequest RenewDelegationTokenResponse
            ExpireDelegationToken ExpireDelegationTokenRequest ExpireDelegationTokenResponse
            DescribeDelegationToken DescribeDelegationTokenRequest DescribeDelegationTokenResponse
            DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse
            DeleteAcls DeleteAclsRequest DeleteAclsResponse
            AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
            AlterConfigs AlterConfigsRequest AlterConfigsResponse
            AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse
            DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse
            CreatePartitions CreatePartitionsRequest CreatePartitionsResponse
            ElectLeaders ElectLeadersRequest ElectLeadersResponse
            IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
            ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
            DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse
            DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse
            DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse
            DescribeProducers DescribeProducersRequest DescribeProducersResponse
            AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse
            AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse
            EndTxn EndTxnRequest EndTxnResponse
            WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse
            TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse
            ListTransactions ListTransactionsRequest ListTransactionsResponse
            ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse
            BrokerRegistration BrokerRegistrationRequest BrokerRegistrationResponse
            BrokerHeartbeat BrokerHeartbeatRequest BrokerHeartbeatResponse
            UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse
            ControllerRegistration ControllerRegistrationRequest ControllerRegistrationResponse
            UnregisterController UnregisterControllerRequest UnregisterControllerResponse
            AlterPartition AlterPartitionRequest AlterPartitionResponse
            AllocateProducerIds AllocateProducerIdsRequest AllocateProducerIdsResponse
            AssignReplicasToDirs AssignReplicasToDirsRequest AssignReplicasToDirsResponse
            Envelope EnvelopeRequest EnvelopeResponse
            UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse
            FetchSnapshot FetchSnapshotRequest FetchSnapshotResponse
            AddRaftVoter AddRaftVoterRequest AddRaftVoterResponse
            RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse
            UpdateRaftVoter UpdateRaftVoterRequest UpdateRaftVoterResponse
        )
    };
    (@match $what:expr, $call:ident $arguments:tt, $($api:ident $request:ident $response:ident)+) => {
        match $what {
            $(
                (ApiKey::$api, Direction::Request) => $call::<$request> $arguments,
                (ApiKey::$api, Direction::Response) => $call::<$response> $arguments,
            )+
            (api, _) => panic!("{api:?} has a layout and no type here"),
        }
    };
}

/// Parses the body as a broker or a client does, and writes the result.
fn there_and_back<R: Decodable + Encodable>(
    row: &ApiRow,
    direction: Direction,
    version: i16,
    body: &Bytes,
) -> Bytes {
    let decoded = match direction {
        Direction::Request => codec::decode::<R>(row.key, version, body.clone()),
        Direction::Response => codec::decode_response::<R>(row.key, version, body.clone()),
    };
    let message = decoded.unwrap_or_else(|malformed| panic!("{malformed}: {body:02x?}"));
    let mut again = BytesMut::new();
    codec::encode(&message, version.min(row.typed_max), &mut again).expect("what was read can be written");
    again.freeze()
}

/// Whether the `kafka-protocol` crate alone accepts this body.
fn crate_takes<R: Decodable>(row: &ApiRow, version: i16, body: &Bytes) -> bool {
    let mut body = body.clone();
    R::decode(&mut body, version.min(row.typed_max)).is_ok() && body.is_empty()
}

/// The body for `choices`, with damage in each place in turn.
fn damaged<'a>(
    layout: Layout,
    version: i16,
    form: Form,
    choices: &'a [u8],
    damage: impl Fn(usize) -> Damage + 'a,
) -> impl Iterator<Item = Bytes> + 'a {
    (0..).map_while(move |place| make(layout, version, form, choices, damage(place)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_messages_crate_agrees_with_every_layout(choices in vec(any::<u8>(), 0..120)) {
        for (row, direction, version, form, layout) in every_body() {
            let body = make(layout, version, form, &choices, Damage::None).expect("undamaged");
            let again = by_type!(row, direction, there_and_back(row, direction, version, &body));
            prop_assert_eq!(&again, &body, "{} {:?} v{}", row.name, direction, version);
            for cut in 0..body.len() {
                let damaged = check(layout, version, form, &body.slice(..cut));
                prop_assert!(damaged.is_err(), "{} {direction:?} v{version} cut at {cut}", row.name);
            }
            let longer = Bytes::from([&body[..], &[0]].concat());
            prop_assert!(check(layout, version, form, &longer).is_err(), "a byte left over");
        }
    }

    #[test]
    fn null_is_refused_where_the_messages_crate_refuses_it_and_where_only_kafka_does(choices in vec(any::<u8>(), 0..120)) {
        for (row, direction, version, form, layout) in every_body() {
            let name = || format!("{} {direction:?} v{version}", row.name);
            for body in damaged(layout, version, form, &choices, Damage::Null) {
                prop_assert!(check(layout, version, form, &body).is_err(), "{}: {body:02x?}", name());
                let taken = by_type!(row, direction, crate_takes(row, version, &body));
                prop_assert!(!taken, "{}: {body:02x?}", name());
            }
            for body in damaged(layout, version, form, &choices, Damage::EarlyNull) {
                prop_assert!(check(layout, version, form, &body).is_err(), "{}: {body:02x?}", name());
            }
        }
    }

    #[test]
    fn whatever_is_declared_and_not_there_is_found(choices in vec(any::<u8>(), 0..120)) {
        for (row, direction, version, form, layout) in every_body() {
            for body in damaged(layout, version, form, &choices, Damage::Length) {
                let name = format!("{} {direction:?} v{version}", row.name);
                prop_assert!(check(layout, version, form, &body).is_err(), "{name}: {body:02x?}");
            }
        }
    }

    #[test]
    fn noise_never_panics(body in any::<Vec<u8>>()) {
        let body = Bytes::from(body);
        for (row, direction, version, form, layout) in every_body() {
            if check(layout, version, form, &body).is_ok() {
                // What passes the check is safe to give to the crate, which may still refuse it.
                by_type!(row, direction, crate_takes(row, version, &body));
            }
        }
    }
}

#[test]
fn a_string_has_to_be_utf8() {
    let (row, _, version, form, layout) = every_body()
        .find(|(row, direction, version, ..)| {
            (row.id, *direction, *version) == (ApiKey::InitProducerId, Direction::Request, 0)
        })
        .expect("it is served");
    let body = |text: &[u8]| Bytes::from([&[0, 2][..], text, &[0, 0, 0, 9]].concat());
    assert!(check(layout, version, form, &body(b"tx")).is_ok());
    let malformed =
        codec::decode::<InitProducerIdRequest>(row.key, version, body(&[0xc3, 0x28])).unwrap_err();
    assert_eq!(
        malformed.to_string(),
        "InitProducerIdRequest v0.transactional_id: a string that is not UTF-8 at byte 0"
    );
}
