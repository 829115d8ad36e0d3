//! One file per API. `ask` turns a request of any version into what the broker is asked, `reply` turns what it found
//! into the response of that version; between them nothing looks at a version.

mod acls;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod answers;
mod api_versions;
mod context;
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
mod responses;
mod rights;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod tokens;
mod topics;

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::{ApiKey, ApiRow};
use tracing::debug;

use crate::authorizer::{Authorizer, Everyone};
use crate::broker::Broker;
use crate::loggers::REQUESTS;
use crate::request::{Caller, Dispatcher, Staged};
use context::{Begun, Context};

/// The APIs of a broker.
pub(crate) struct BrokerApis {
    broker: Arc<Broker>,
    authorizer: Arc<dyn Authorizer>,
}

impl BrokerApis {
    pub fn new(broker: Arc<Broker>) -> BrokerApis {
        BrokerApis { broker, authorizer: Arc::new(Everyone) }
    }
}

impl Dispatcher for BrokerApis {
    fn dispatch(&self, caller: &Caller, api: &'static ApiRow, version: i16, body: Bytes) -> Staged {
        if !api.serves(version) && api.id != ApiKey::ApiVersions {
            return Staged::Refused(format!(
                "{} version {version}, served are {} to {}",
                api.name, api.served.min, api.served.max
            ));
        }
        debug!(target: REQUESTS, api = api.name, version, client_id = ?caller.client_id, peer = %caller.peer);
        let (broker, authorizer) = (&self.broker, &self.authorizer);
        let context = Context { node: &broker.node, broker, caller, authorizer, api, version };
        begin(&context, body).unwrap_or_else(|malformed| Staged::Refused(malformed.to_string()))
    }
}

fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    match context.api.id {
        ApiKey::Produce => produce::begin(context, body),
        ApiKey::Fetch => fetch::begin(context, body),
        ApiKey::ListOffsets => list_offsets::begin(context, body),
        ApiKey::Metadata => metadata::begin(context, body),
        ApiKey::OffsetCommit => offset_commit::begin(context, body),
        ApiKey::OffsetFetch => offset_fetch::begin(context, body),
        ApiKey::FindCoordinator => find_coordinator::begin(context, body),
        ApiKey::JoinGroup => join_group::begin(context, body),
        ApiKey::Heartbeat => heartbeat::begin(context, body),
        ApiKey::LeaveGroup => leave_group::begin(context, body),
        ApiKey::SyncGroup => sync_group::begin(context, body),
        ApiKey::DescribeGroups => describe_groups::begin(context, body),
        ApiKey::ListGroups => list_groups::begin(context, body),
        ApiKey::DeleteGroups => delete_groups::begin(context, body),
        ApiKey::OffsetDelete => offset_delete::begin(context, body),
        ApiKey::ApiVersions => api_versions::begin(&context.at_node(), body),
        ApiKey::CreateTopics => create_topics::begin(&context.at_node(), body),
        ApiKey::DeleteTopics => delete_topics::begin(&context.at_node(), body),
        ApiKey::InitProducerId => init_producer_id::begin(context, body),
        ApiKey::DescribeConfigs => describe_configs::begin(&context.at_node(), body),
        ApiKey::DescribeCluster => describe_cluster::begin(&context.at_node(), body),
        ApiKey::AlterConfigs => alter_configs::begin(&context.at_node(), body),
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs::begin(&context.at_node(), body),
        ApiKey::ListConfigResources => list_config_resources::begin(context, body),
        ApiKey::CreatePartitions => create_partitions::begin(&context.at_node(), body),
        ApiKey::DeleteRecords => delete_records::begin(context, body),
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::begin(context, body),
        ApiKey::DescribeProducers => describe_producers::begin(context, body),
        ApiKey::ListPartitionReassignments => list_partition_reassignments::begin(&context.at_node(), body),
        ApiKey::ElectLeaders => elect_leaders::begin(&context.at_node(), body),
        ApiKey::ListTransactions => list_transactions::begin(context, body),
        ApiKey::AlterPartitionReassignments => alter_partition_reassignments::begin(&context.at_node(), body),
        ApiKey::CreateAcls => create_acls::begin(&context.at_node(), body),
        ApiKey::DeleteAcls => delete_acls::begin(&context.at_node(), body),
        ApiKey::SaslHandshake => sasl_handshake::begin(&context.at_node(), body),
        ApiKey::SaslAuthenticate => sasl_authenticate::begin(&context.at_node(), body),
        ApiKey::CreateDelegationToken => create_delegation_token::begin(&context.at_node(), body),
        ApiKey::RenewDelegationToken => renew_delegation_token::begin(&context.at_node(), body),
        ApiKey::ExpireDelegationToken => expire_delegation_token::begin(&context.at_node(), body),
        ApiKey::DescribeDelegationToken => describe_delegation_token::begin(&context.at_node(), body),
        ApiKey::DescribeTransactions => describe_transactions::begin(context, body),
        ApiKey::DescribeAcls => describe_acls::begin(&context.at_node(), body),
        ApiKey::DescribeUserScramCredentials => {
            describe_user_scram_credentials::begin(&context.at_node(), body)
        }
        ApiKey::DescribeClientQuotas => describe_client_quotas::begin(context, body),
        ApiKey::DescribeQuorum => describe_quorum::begin(&context.at_node(), body),
        ApiKey::AlterReplicaLogDirs => alter_replica_log_dirs::begin(context, body),
        ApiKey::DescribeLogDirs => describe_log_dirs::begin(context, body),
        ApiKey::DescribeTopicPartitions => describe_topic_partitions::begin(context, body),
    }
}

#[cfg(test)]
mod tests;
