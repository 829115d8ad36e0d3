//! ControllerRegistration v0 (KIP-919): a controller that has started introduces itself.

use ottla_core::controller::{ControllerRegistration, NotController, Refusal};
use ottla_model::NodeId;
use ottla_model::image::{Endpoint, FeatureRange};
use ottla_protocol::messages::controller_registration_request::{Feature, Listener};
use ottla_protocol::messages::{ControllerRegistrationRequest, ControllerRegistrationResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::{ResponseOf, Travels, whole};

fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}

impl Travels for ControllerRegistration {
    type Request = ControllerRegistrationRequest;

    fn request(&self) -> ControllerRegistrationRequest {
        let listeners = self.endpoints.iter().map(|endpoint| {
            Listener::default()
                .with_name(text(&endpoint.name))
                .with_host(text(&endpoint.host))
                .with_port(endpoint.port)
                .with_security_protocol(endpoint.security_protocol)
        });
        let features = self.features.iter().map(|range| {
            Feature::default()
                .with_name(text(&range.name))
                .with_min_supported_version(range.min)
                .with_max_supported_version(range.max)
        });
        ControllerRegistrationRequest::default()
            .with_controller_id(self.id.0)
            .with_incarnation_id(self.incarnation)
            .with_listeners(listeners.collect())
            .with_features(features.collect())
    }

    fn of_request(request: ControllerRegistrationRequest) -> Result<ControllerRegistration, ErrorCode> {
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
        Ok(ControllerRegistration {
            id: NodeId(request.controller_id),
            incarnation: request.incarnation_id,
            endpoints: endpoints.collect(),
            features: features.collect(),
        })
    }

    fn response(_: &ControllerRegistrationRequest, answer: Self::Answer) -> ResponseOf<Self> {
        match answer {
            Ok(()) => ControllerRegistrationResponse::default().with_error_message(None),
            Err(Refusal { code, message }) => {
                Self::refused(code).with_error_message(Some(StrBytes::from_string(message)))
            }
        }
    }

    fn refused(code: ErrorCode) -> ControllerRegistrationResponse {
        let message = Some(text(code.message()));
        ControllerRegistrationResponse::default().with_error_code(code.code()).with_error_message(message)
    }

    fn of_response(&self, response: ControllerRegistrationResponse) -> Result<Self::Answer, NotController> {
        let message = response.error_message.map(|why| why.to_string()).unwrap_or_default();
        Ok(whole(response.error_code)?.map_err(|code| Refusal { code, message }))
    }
}
