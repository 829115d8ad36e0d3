//! One file per API. `ask` turns a request of any version into what the broker is asked, `reply` turns what it found
//! into the response of that version; between them nothing looks at a version.

mod acls;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod create_acls;
mod create_delegation_token;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_delegation_token;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
mod elect_leaders;
mod expire_delegation_token;
mod fetch;
mod find_coordinator;
mod groups;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod renew_delegation_token;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod tokens;
mod topics;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_protocol::api::{ApiKey, ApiRow, OPERATIONS_NOT_ASKED, Resource, operation_bits};
use ottla_protocol::codec::Malformed;
use ottla_protocol::{Encodable, StrBytes, codec};
use tracing::debug;

use crate::broker::Broker;
use crate::loggers::REQUESTS;
use crate::net::Part;
use crate::net::connection::Overtakers;

/// Who asks, and by which door.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub listener: Arc<str>,
    pub peer: SocketAddr,
    pub client_id: Option<StrBytes>,
}

/// What goes back to the client.
pub(crate) enum Answer {
    Parts(Vec<Part>),
    /// Nothing: a Produce with acks=0 that went well.
    Silence,
    Close(String),
}

/// The answer, or when it comes and what may happen until then.
pub(crate) enum Body {
    Now(Answer),
    Later(Overtakers, Pin<Box<dyn Future<Output = Answer> + Send>>),
    Close(String),
}

/// Begins a request. Whatever it changes in a log is queued with the log's owner when this returns.
pub(crate) fn dispatch(
    broker: &Arc<Broker>,
    caller: &Caller,
    row: &'static ApiRow,
    version: i16,
    body: Bytes,
) -> Body {
    if !row.serves(version) && row.id != ApiKey::ApiVersions {
        return Body::Close(format!(
            "{} version {version}, served are {} to {}",
            row.name, row.served.min, row.served.max
        ));
    }
    debug!(target: REQUESTS, api = row.name, version, client_id = ?caller.client_id, peer = %caller.peer);
    let begun = match row.id {
        ApiKey::Produce => produce::begin(broker, version, body),
        ApiKey::Fetch => fetch::begin(broker, version, body),
        ApiKey::ListOffsets => list_offsets::begin(broker, version, body),
        ApiKey::Metadata => metadata::begin(broker, caller, version, body),
        ApiKey::OffsetCommit => offset_commit::begin(broker, version, body),
        ApiKey::OffsetFetch => offset_fetch::begin(broker, version, body),
        ApiKey::FindCoordinator => find_coordinator::begin(broker, caller, version, body),
        ApiKey::JoinGroup => join_group::begin(broker, caller, version, body),
        ApiKey::Heartbeat => heartbeat::begin(broker, version, body),
        ApiKey::LeaveGroup => leave_group::begin(broker, version, body),
        ApiKey::SyncGroup => sync_group::begin(broker, version, body),
        ApiKey::DescribeGroups => describe_groups::begin(broker, version, body),
        ApiKey::ListGroups => list_groups::begin(broker, version, body),
        ApiKey::DeleteGroups => delete_groups::begin(broker, version, body),
        ApiKey::OffsetDelete => offset_delete::begin(broker, version, body),
        ApiKey::ApiVersions => api_versions::begin(broker, version, body),
        ApiKey::CreateTopics => create_topics::begin(broker, version, body),
        ApiKey::DeleteTopics => delete_topics::begin(broker, version, body),
        ApiKey::InitProducerId => init_producer_id::begin(broker, version, body),
        ApiKey::DescribeConfigs => describe_configs::begin(broker, version, body),
        ApiKey::DescribeCluster => describe_cluster::begin(broker, caller, version, body),
        ApiKey::AlterConfigs => alter_configs::begin(broker, version, body),
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs::begin(broker, version, body),
        ApiKey::ListConfigResources => list_config_resources::begin(broker, version, body),
        ApiKey::CreatePartitions => create_partitions::begin(broker, version, body),
        ApiKey::DeleteRecords => delete_records::begin(broker, version, body),
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::begin(broker, version, body),
        ApiKey::DescribeProducers => describe_producers::begin(broker, version, body),
        ApiKey::ListPartitionReassignments => list_partition_reassignments::begin(broker, version, body),
        ApiKey::ElectLeaders => elect_leaders::begin(broker, version, body),
        ApiKey::ListTransactions => list_transactions::begin(broker, version, body),
        ApiKey::AlterPartitionReassignments => alter_partition_reassignments::begin(broker, version, body),
        ApiKey::CreateAcls => create_acls::begin(broker, version, body),
        ApiKey::DeleteAcls => delete_acls::begin(broker, version, body),
        ApiKey::SaslHandshake => sasl_handshake::begin(broker, version, body),
        ApiKey::SaslAuthenticate => sasl_authenticate::begin(broker, version, body),
        ApiKey::CreateDelegationToken => create_delegation_token::begin(broker, version, body),
        ApiKey::RenewDelegationToken => renew_delegation_token::begin(broker, version, body),
        ApiKey::ExpireDelegationToken => expire_delegation_token::begin(broker, version, body),
        ApiKey::DescribeDelegationToken => describe_delegation_token::begin(broker, version, body),
        ApiKey::DescribeTransactions => describe_transactions::begin(broker, version, body),
        ApiKey::DescribeAcls => describe_acls::begin(broker, version, body),
        ApiKey::DescribeUserScramCredentials => describe_user_scram_credentials::begin(broker, version, body),
        ApiKey::DescribeClientQuotas => describe_client_quotas::begin(broker, version, body),
        ApiKey::DescribeQuorum => describe_quorum::begin(broker, version, body),
        ApiKey::AlterReplicaLogDirs => alter_replica_log_dirs::begin(broker, version, body),
        ApiKey::DescribeLogDirs => describe_log_dirs::begin(broker, version, body),
        ApiKey::DescribeTopicPartitions => describe_topic_partitions::begin(broker, caller, version, body),
    };
    begun.unwrap_or_else(|malformed| Body::Close(malformed.to_string()))
}

/// A response that is known already.
fn now<R: Encodable>(response: &R, version: i16) -> Body {
    Body::Now(encoded(response, version))
}

/// A response that somebody else has to be asked for; nothing may overtake it.
fn later<R: Encodable + Send + 'static>(
    version: i16,
    response: impl Future<Output = R> + Send + 'static,
) -> Body {
    Body::Later(Overtakers::None, Box::pin(async move { encoded(&response.await, version) }))
}

/// An answer that takes a thread which may stall; nothing may overtake it.
fn blocking(answer: impl FnOnce() -> Answer + Send + 'static) -> Body {
    let answered = async { tokio::task::spawn_blocking(answer).await };
    Body::Later(
        Overtakers::None,
        Box::pin(async { answered.await.unwrap_or_else(|error| Answer::Close(error.to_string())) }),
    )
}

fn encoded<R: Encodable>(response: &R, version: i16) -> Answer {
    let mut buf = BytesMut::new();
    match codec::encode(response, version, &mut buf) {
        Ok(()) => bytes(buf),
        // Our own mistake; the client gets no half of an answer.
        Err(error) => Answer::Close(format!("a response that cannot be encoded: {error}")),
    }
}

fn bytes(buf: BytesMut) -> Answer {
    Answer::Parts(vec![Part::Bytes(buf.freeze())])
}

fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}

/// What `begin` of each API returns; bytes that are no such request close the connection.
type Begun = Result<Body, Malformed>;

/// What the caller may do to a resource, if that is asked for (KIP-430). Without an authorizer it is everything.
fn authorized(asked: bool, resource: Resource) -> i32 {
    if asked { operation_bits(resource.operations()) } else { OPERATIONS_NOT_ASKED }
}
