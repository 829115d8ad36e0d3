//! How each response becomes bytes, and where it says how long its client is held back (KIP-219). Most are written by the
//! messages crate; the others have a codec of their own in `ottla-protocol`.

use bytes::BytesMut;
use ottla_protocol::api_versions::ApiVersionsResponse;
use ottla_protocol::messages::*;
use ottla_protocol::produce::ProduceResponse;
use ottla_protocol::quorum::QuorumMessageResponse;
use ottla_protocol::txn_markers::WriteTxnMarkersResponse;
use ottla_protocol::txn_offsets::TxnOffsetCommitResponse;
use ottla_protocol::{Malformed, codec, delete_groups, describe_log_dirs, list_offsets, offsets};

/// A response, still of no version.
pub(super) trait Response {
    /// Says for how long the client is held back. Does nothing where the response has no field for it.
    fn set_throttle(&mut self, ms: i32);

    fn write(&self, version: i16, buf: &mut BytesMut) -> Result<(), Malformed>;
}

macro_rules! responses {
    ($($response:ty, |$this:ident, $version:ident, $buf:ident| $write:expr;)+) => {$(
        impl Response for $response {
            fn set_throttle(&mut self, ms: i32) {
                self.throttle_time_ms = ms;
            }

            fn write(&self, $version: i16, $buf: &mut BytesMut) -> Result<(), Malformed> {
                let $this = self;
                $write
            }
        }
    )+};
}

macro_rules! typed {
    ($($response:ident)+) => {
        responses! { $($response, |this, version, buf| codec::encode(this, version, buf);)+ }
    };
}

macro_rules! never_throttled {
    ($($response:ident)+) => {$(
        impl Response for $response {
            fn set_throttle(&mut self, _ms: i32) {}

            fn write(&self, version: i16, buf: &mut BytesMut) -> Result<(), Malformed> {
                codec::encode(self, version, buf)
            }
        }
    )+};
}

typed! {
    AddOffsetsToTxnResponse AddPartitionsToTxnResponse AddRaftVoterResponse AllocateProducerIdsResponse
    AlterConfigsResponse AlterPartitionReassignmentsResponse AlterPartitionResponse AlterReplicaLogDirsResponse
    AssignReplicasToDirsResponse ControllerRegistrationResponse UnregisterBrokerResponse UpdateFeaturesResponse
    BrokerHeartbeatResponse BrokerRegistrationResponse CreateAclsResponse
    CreateDelegationTokenResponse CreatePartitionsResponse CreateTopicsResponse DeleteAclsResponse
    DeleteRecordsResponse DeleteTopicsResponse DescribeAclsResponse DescribeClientQuotasResponse
    DescribeClusterResponse DescribeConfigsResponse DescribeDelegationTokenResponse DescribeGroupsResponse
    DescribeProducersResponse DescribeTopicPartitionsResponse DescribeTransactionsResponse
    DescribeUserScramCredentialsResponse ElectLeadersResponse EndTxnResponse ExpireDelegationTokenResponse
    FetchSnapshotResponse FindCoordinatorResponse HeartbeatResponse IncrementalAlterConfigsResponse InitProducerIdResponse
    JoinGroupResponse LeaveGroupResponse RemoveRaftVoterResponse UpdateRaftVoterResponse ListConfigResourcesResponse ListGroupsResponse
    ListPartitionReassignmentsResponse ListTransactionsResponse MetadataResponse OffsetDeleteResponse
    OffsetForLeaderEpochResponse RenewDelegationTokenResponse SyncGroupResponse
}

never_throttled! { DescribeQuorumResponse EnvelopeResponse SaslAuthenticateResponse SaslHandshakeResponse }

responses! {
    DeleteGroupsResponse, |this, version, buf| delete_groups::write_response(this, version, buf);
    ListOffsetsResponse, |this, version, buf| list_offsets::write_response(this, version, buf);
    OffsetCommitResponse, |this, version, buf| {
        offsets::write_committed(this, version, buf);
        Ok(())
    };
    OffsetFetchResponse, |this, version, buf| {
        offsets::write_fetched(this, version, buf);
        Ok(())
    };
    ProduceResponse, |this, version, buf| {
        this.write(version, buf);
        Ok(())
    };
    TxnOffsetCommitResponse, |this, version, buf| {
        this.write(version, buf);
        Ok(())
    };
    ApiVersionsResponse, |this, version, buf| {
        this.write(version, buf);
        Ok(())
    };
}

/// Of a private API, whose response has an error code alone.
impl Response for QuorumMessageResponse {
    fn set_throttle(&mut self, _ms: i32) {}

    fn write(&self, version: i16, buf: &mut BytesMut) -> Result<(), Malformed> {
        codec::encode(self, version, buf)
    }
}

impl Response for WriteTxnMarkersResponse {
    fn set_throttle(&mut self, _ms: i32) {}

    fn write(&self, _version: i16, buf: &mut BytesMut) -> Result<(), Malformed> {
        WriteTxnMarkersResponse::write(self, buf);
        Ok(())
    }
}

/// With a word for each directory: whether it is cordoned.
impl Response for (DescribeLogDirsResponse, Vec<bool>) {
    fn set_throttle(&mut self, ms: i32) {
        self.0.throttle_time_ms = ms;
    }

    fn write(&self, version: i16, buf: &mut BytesMut) -> Result<(), Malformed> {
        describe_log_dirs::write_response(&self.0, &self.1, version, buf)
    }
}
