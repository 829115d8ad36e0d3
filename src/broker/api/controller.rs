//! The APIs of a controller, with or without a broker beside it.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::{
    AllocateProducerIds, AlterPartition, AssignReplicas, ControllerRegistration, Heartbeat,
};
use ottla_protocol::api::{ApiKey, ApiRow};

use super::context::{AtNode, Begun, Context};
use super::*;
use crate::authorizer::{Authorizer, Everyone};
use crate::node::Node;
use crate::request::{Caller, Dispatcher, Staged};

/// Answers what comes to a controller listener.
pub(crate) struct ControllerApis {
    node: Arc<Node>,
    authorizer: Arc<dyn Authorizer>,
}

impl ControllerApis {
    pub fn new(node: Arc<Node>) -> ControllerApis {
        ControllerApis { node, authorizer: Arc::new(Everyone) }
    }

    #[cfg(test)]
    pub fn asking(node: Arc<Node>, authorizer: Arc<dyn Authorizer>) -> ControllerApis {
        ControllerApis { node, authorizer }
    }
}

impl Dispatcher for ControllerApis {
    fn dispatch(&self, caller: &Caller, api: &'static ApiRow, version: i16, body: Bytes) -> Staged {
        if let Err(refused) = served(caller, api, version) {
            return refused;
        }
        let (node, authorizer) = (&self.node, &self.authorizer);
        let context = Context { node, broker: (), caller, authorizer, api, version, missed: None };
        begin(&context, body).unwrap_or_else(|malformed| Staged::Refused(malformed.to_string()))
    }
}

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    match context.api.id {
        ApiKey::ApiVersions => api_versions::begin(context, body),
        ApiKey::CreateTopics => create_topics::begin(context, body),
        ApiKey::DeleteTopics => delete_topics::begin(context, body),
        ApiKey::DescribeConfigs => describe_configs::begin(context, body),
        ApiKey::DescribeCluster => describe_cluster::begin(context, body),
        ApiKey::AlterConfigs => alter_configs::begin(context, body),
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs::begin(context, body),
        ApiKey::CreatePartitions => create_partitions::begin(context, body),
        ApiKey::ListPartitionReassignments => list_partition_reassignments::begin(context, body),
        ApiKey::ElectLeaders => elect_leaders::begin(context, body),
        ApiKey::AlterPartitionReassignments => alter_partition_reassignments::begin(context, body),
        ApiKey::CreateAcls => create_acls::begin(context, body),
        ApiKey::DeleteAcls => delete_acls::begin(context, body),
        ApiKey::DescribeAcls => describe_acls::begin(context, body),
        ApiKey::SaslHandshake => sasl_handshake::begin(context, body),
        ApiKey::SaslAuthenticate => sasl_authenticate::begin(context, body),
        ApiKey::CreateDelegationToken => create_delegation_token::begin(context, body),
        ApiKey::RenewDelegationToken => renew_delegation_token::begin(context, body),
        ApiKey::ExpireDelegationToken => expire_delegation_token::begin(context, body),
        ApiKey::DescribeDelegationToken => describe_delegation_token::begin(context, body),
        ApiKey::DescribeUserScramCredentials => describe_user_scram_credentials::begin(context, body),
        ApiKey::DescribeQuorum => describe_quorum::begin(context, body),
        ApiKey::AddRaftVoter => add_raft_voter::begin(context, body),
        ApiKey::RemoveRaftVoter => remove_raft_voter::begin(context, body),
        ApiKey::UpdateRaftVoter => update_raft_voter::begin(context, body),
        ApiKey::BrokerRegistration => broker_registration::begin(context, body),
        ApiKey::BrokerHeartbeat => questions::begin::<Heartbeat>(context, body),
        ApiKey::AllocateProducerIds => questions::begin::<AllocateProducerIds>(context, body),
        ApiKey::AlterPartition => questions::begin::<AlterPartition>(context, body),
        ApiKey::AssignReplicasToDirs => questions::begin::<AssignReplicas>(context, body),
        ApiKey::UnregisterBroker => unregister_broker::begin(context, body),
        ApiKey::UnregisterController => unregister_controller::begin(context, body),
        ApiKey::UpdateFeatures => update_features::begin(context, body),
        ApiKey::ControllerRegistration => questions::begin::<ControllerRegistration>(context, body),
        ApiKey::Fetch => fetch_metadata::begin(context, body),
        ApiKey::FetchSnapshot => fetch_snapshot::begin(context, body),
        ApiKey::Envelope => envelope::begin(context, body),
        ApiKey::QuorumMessage => quorum_message::begin(context, body),
        _ => Ok(Staged::Refused(format!("{} at a controller", context.api.name))),
    }
}
