//! ApiVersions v0-5 (KIP-35, KIP-511, KIP-584). A version that we do not know is answered in v0 format with
//! UNSUPPORTED_VERSION and our range, so that newer clients come down to us instead of going away.

use bytes::Bytes;
use ottla_model::feature;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{ApiKey, Listener};
use ottla_protocol::api_versions::{
    ApiVersionsRequest, ApiVersionsResponse, FinalizedFeature, SupportedFeature,
};

use super::answers::{encoded, text};
use super::context::{AtNode, Begun, Context};
use crate::node::Node;
use crate::request::{Queued, Staged};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let Context { node, caller, version, .. } = *context;
    if !ApiKey::ApiVersions.row().serves(version) {
        let refused = encoded(ApiVersionsResponse::unsupported_version(), 0);
        return Ok(Staged::Queued(Queued::Answered(refused)));
    }
    let request = ApiVersionsRequest::read(version, body)?;
    let response = match check(node, version, &request) {
        Ok(()) => describe(node, caller.kind),
        Err(code) => ApiVersionsResponse::failed(code),
    };
    Ok(context.now(response))
}

fn check(node: &Node, version: i16, request: &ApiVersionsRequest) -> Result<(), ErrorCode> {
    if version >= 3 && !(named(&request.client_software_name) && named(&request.client_software_version)) {
        return Err(ErrorCode::InvalidRequest);
    }
    // KIP-1242: a client that means another node or cluster hears it before it does any harm.
    let elsewhere = request.cluster_id.as_ref().is_some_and(|id| id.as_str() != node.cluster_id)
        || (request.node_id >= 0 && request.node_id != node.me.0);
    if elsewhere { Err(ErrorCode::RebootstrapRequired) } else { Ok(()) }
}

// Letters and digits at both ends, dots and dashes between (KIP-511).
fn named(software: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let bytes = software.as_bytes();
    edge(bytes.first().copied())
        && edge(bytes.last().copied())
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-'))
}

fn describe(node: &Node, listener: Listener) -> ApiVersionsResponse {
    let image = node.image.load();
    let supported = feature::supported(false).map(|(name, min_version, max_version)| SupportedFeature {
        name: text(name),
        min_version,
        max_version,
    });
    // As with Kafka, one that is at 0 is not told.
    let kraft_version = Some(node.controller.leading.borrow().kraft_version).filter(|level| *level > 0);
    let of_quorum = kraft_version.map(|level| (feature::KRAFT_VERSION, level));
    let finalized = image.features().chain(of_quorum).map(|(name, level)| FinalizedFeature {
        name: text(name),
        max_version_level: level,
        min_version_level: level,
    });
    ApiVersionsResponse {
        supported_features: supported.collect(),
        finalized_features_epoch: image.offset,
        finalized_features: finalized.collect(),
        ..ApiVersionsResponse::of(listener)
    }
}
