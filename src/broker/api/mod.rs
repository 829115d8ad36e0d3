//! One file per API. `ask` turns a request of any version into what the broker is asked, `reply` turns what it found
//! into the response of that version; between them nothing looks at a version.

mod acls;
mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod add_raft_voter;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod answers;
mod api_versions;
mod broker_registration;
mod context;
mod controller;
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
mod end_txn;
mod envelope;
mod expire_delegation_token;
mod fetch;
mod fetch_metadata;
mod fetch_snapshot;
mod find_coordinator;
mod groups;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leaders;
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
mod questions;
mod quorum_message;
mod remove_raft_voter;
mod renew_delegation_token;
mod responses;
mod rights;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod tokens;
mod topics;
mod transactions;
mod txn_offset_commit;
mod unregister_broker;
mod unregister_controller;
mod update_features;
mod update_raft_voter;
mod voters;
mod write_txn_markers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::api::{ApiKey, ApiRow, Forwarding};
use tracing::debug;

use crate::authorizer::{Authorizer, Everyone};
use crate::broker::Broker;
use crate::loggers::REQUESTS;
use crate::request::{Caller, ClientRequest, Dispatcher, Queued, Staged};
use crate::run::owners::uplink::{Forwarded, Uplink};
use context::{Begun, Context};
pub(crate) use controller::ControllerApis;

/// The APIs of a broker.
#[derive(Clone)]
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
        if let Err(refused) = served(caller, api, version) {
            return refused;
        }
        match &self.broker.controller.uplink {
            Some(uplink) if api.forwarding == Forwarding::Whole => {
                let (apis, caller, uplink) = (self.clone(), caller.clone(), uplink.clone());
                let forwarded = async move { apis.forward(&uplink, &caller, api, version, body).await };
                Staged::Queueing(Box::pin(forwarded))
            }
            _ => self.begin(caller, api, version, body),
        }
    }
}

impl BrokerApis {
    fn begin(&self, caller: &Caller, api: &'static ApiRow, version: i16, body: Bytes) -> Staged {
        let (broker, authorizer) = (&self.broker, &self.authorizer);
        let node = &broker.node;
        let context = Context { node, broker, caller, authorizer, api, version, missed: None };
        begin(&context, body).unwrap_or_else(|malformed| Staged::Refused(malformed.to_string()))
    }

    // Where no controller takes it in time, this node says so in the words of the API: it is none.
    async fn forward(
        &self,
        uplink: &Uplink,
        caller: &Caller,
        api: &'static ApiRow,
        version: i16,
        body: Bytes,
    ) -> Queued {
        let client_id = caller.client_id.clone();
        let request = ClientRequest { api, version, client_id, peer: caller.peer.ip(), body: body.clone() };
        Queued::Answered(match uplink.forward(&request).await {
            Forwarded::Answered(answer) => answer,
            Forwarded::Here => {
                self.catch_up().await;
                self.begin(caller, api, version, body).answer().await
            }
            Forwarded::Nobody => self.begin(caller, api, version, body).answer().await,
        })
    }
}

impl BrokerApis {
    // Another broker may have told its client already what this one has not carried out yet, though it was agreed on here.
    async fn catch_up(&self) {
        if let Some(agreed) = &self.broker.controller.agreed {
            let offset = agreed.load().offset;
            self.broker.image.reaches(offset, CATCHING_UP).await;
        }
    }
}

/// How long this broker may take to know what its own controller has agreed on.
const CATCHING_UP: Duration = Duration::from_secs(10);

// The refusal of a version that is not served; ApiVersions answers any.
fn served(caller: &Caller, api: &'static ApiRow, version: i16) -> Result<(), Staged> {
    if !api.serves(version) && api.id != ApiKey::ApiVersions {
        return Err(Staged::Refused(format!(
            "{} version {version}, served are {} to {}",
            api.name, api.served.min, api.served.max
        )));
    }
    debug!(target: REQUESTS, api = api.name, version, client_id = ?caller.client_id, peer = %caller.peer);
    Ok(())
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
        ApiKey::AddPartitionsToTxn => add_partitions_to_txn::begin(context, body),
        ApiKey::AddOffsetsToTxn => add_offsets_to_txn::begin(context, body),
        ApiKey::EndTxn => end_txn::begin(context, body),
        ApiKey::WriteTxnMarkers => write_txn_markers::begin(context, body),
        ApiKey::TxnOffsetCommit => txn_offset_commit::begin(context, body),
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
        ApiKey::AddRaftVoter => add_raft_voter::begin(&context.at_node(), body),
        ApiKey::RemoveRaftVoter => remove_raft_voter::begin(&context.at_node(), body),
        ApiKey::UnregisterBroker => unregister_broker::begin(&context.at_node(), body),
        ApiKey::UnregisterController => unregister_controller::begin(&context.at_node(), body),
        ApiKey::UpdateFeatures => update_features::begin(&context.at_node(), body),
        // Of the controller listener alone, which a broker's connection cannot name.
        ApiKey::AlterPartition
        | ApiKey::Envelope
        | ApiKey::FetchSnapshot
        | ApiKey::BrokerRegistration
        | ApiKey::BrokerHeartbeat
        | ApiKey::AllocateProducerIds
        | ApiKey::ControllerRegistration
        | ApiKey::AssignReplicasToDirs
        | ApiKey::UpdateRaftVoter
        | ApiKey::QuorumMessage => Ok(Staged::Refused(format!("{} at a broker", context.api.name))),
    }
}

#[cfg(test)]
mod tests;
