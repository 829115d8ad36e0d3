//! AddRaftVoter v0 (KIP-853): a controller becomes a voter. It must follow the metadata log already, and be where the request
//! says, or the voters might agree on nothing any more.

use std::time::Duration;

use bytes::Bytes;
use ottla_client::{ClientError, Connection, Options};
use ottla_model::config::HostPort;
use ottla_model::feature::KRAFT_VERSION;
use ottla_node::quorum::VoterChange;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::batch::control::VoterNode;
use ottla_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};

use super::context::{AtNode, Begun};
use super::voters::{Outcome, change, check, check_cluster_id, patience, told, voter};
use crate::run::owners::controller::Controller;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: AddRaftVoterRequest = context.read(body)?;
    let response = |outcome: Outcome| {
        let (code, message) = told(outcome);
        AddRaftVoterResponse::default().with_error_code(code).with_error_message(message)
    };
    if let Err(code) = context.check_cluster(Operation::Alter) {
        return Ok(context.now(response(Err((code, code.message().to_owned())))));
    }
    if let Err(refused) = check_cluster_id(context, request.cluster_id.as_ref()) {
        return Ok(context.now(response(Err(refused))));
    }
    let listeners = request.listeners.iter().map(|one| (&one.name, &one.host, one.port));
    // What it supports of kraft.version it says itself, when it is asked.
    let added = voter(request.voter_id, request.voter_directory_id, listeners, (0, 0));
    let listener = context.node.config().controller_listener_names.first().cloned().unwrap_or_default();
    let (controller, patience) = (context.controller(), patience(context));
    Ok(context.later(async move { response(add(&controller, added, &listener, patience).await) }))
}

async fn add(controller: &Controller, added: VoterNode, listener: &str, patience: Duration) -> Outcome {
    let invalid = |why: String| Err((ErrorCode::InvalidRequest, why));
    if !controller.leads_here() {
        return change(controller, VoterChange::Add(added), patience).await;
    }
    if added.id < 0 || added.directory_id.is_nil() {
        return invalid("the request names no replica that could vote".into());
    }
    let Some(endpoint) = added.endpoints.iter().find(|endpoint| endpoint.name == listener) else {
        return invalid(format!("the request does not say where the listener {listener} is"));
    };
    let address = HostPort { host: endpoint.host.clone(), port: endpoint.port };
    check(controller, VoterChange::Add(added.clone())).await?;
    let range = match supported(&address, patience).await {
        Ok(range) => range,
        Err(error) => {
            let why = format!("the new voter at {address} does not answer: {error}");
            return Err((ErrorCode::RequestTimedOut, why));
        }
    };
    let Some((kraft_version_min, kraft_version_max)) = range.filter(|(min, max)| (*min..=*max).contains(&1))
    else {
        return invalid(format!("the new voter at {address} does not support {KRAFT_VERSION} 1"));
    };
    let added = VoterNode { kraft_version_min, kraft_version_max, ..added };
    change(controller, VoterChange::Add(added), patience).await
}

// The levels of kraft.version that the node at an address supports. `None`: it does not name that feature.
async fn supported(address: &HostPort, patience: Duration) -> Result<Option<(i16, i16)>, ClientError> {
    let options = Options { connect_timeout: patience, request_timeout: patience, ..Options::default() };
    let connection = Connection::connect_with(&address.to_string(), options).await?;
    let versions = connection.versions().await?;
    connection.close();
    let mut features = versions.response.supported_features.iter();
    let range = features.find(|feature| feature.name.as_str() == KRAFT_VERSION);
    Ok(range.map(|range| (range.min_version, range.max_version)))
}
