//! ControllerRegistration v0 (KIP-919): a controller that has started makes itself known to the active one.

use bytes::Bytes;
use ottla_core::controller::ControllerRegistration;
use ottla_model::NodeId;
use ottla_model::image::{Endpoint, FeatureRange};
use ottla_protocol::api::Operation;
use ottla_protocol::messages::{ControllerRegistrationRequest, ControllerRegistrationResponse};

use super::context::{AtNode, Begun};
use super::voters::{Outcome, of_refusal, refused, told};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: ControllerRegistrationRequest = context.read(body)?;
    let response = |outcome: Outcome| {
        let (code, message) = told(outcome);
        ControllerRegistrationResponse::default().with_error_code(code).with_error_message(message)
    };
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return Ok(context.now(response(refused(code))));
    }
    let endpoints = request.listeners.iter().map(|listener| Endpoint {
        name: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    });
    let features = request.features.iter().map(|feature| FeatureRange {
        name: feature.name.to_string(),
        min: feature.min_supported_version,
        max: feature.max_supported_version,
    });
    let question = ControllerRegistration {
        id: NodeId(request.controller_id),
        incarnation: request.incarnation_id,
        endpoints: endpoints.collect(),
        features: features.collect(),
    };
    let controller = context.controller();
    Ok(context.later(async move { response(of_refusal(controller.ask(question).await)) }))
}
