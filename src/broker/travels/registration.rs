//! BrokerRegistration v0-4 (KIP-631, KIP-858 directories from v2): a broker that has started introduces itself.

use ottla_core::controller::{NotController, Registration};
use ottla_model::image::{Endpoint, FeatureRange};
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::messages::broker_registration_request::{Feature, Listener};
use ottla_protocol::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::{ResponseOf, Travels, whole};

/// A registration, and the cluster that the broker takes itself to be in.
pub(crate) struct Introduction {
    pub cluster_id: String,
    pub registration: Registration,
}

fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}

impl Introduction {
    pub fn request(&self) -> BrokerRegistrationRequest {
        self.registration.request().with_cluster_id(text(&self.cluster_id))
    }
}

impl Travels for Registration {
    type Request = BrokerRegistrationRequest;

    fn request(&self) -> BrokerRegistrationRequest {
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
        BrokerRegistrationRequest::default()
            .with_broker_id(self.id.0.into())
            .with_incarnation_id(self.incarnation)
            .with_listeners(listeners.collect())
            .with_features(features.collect())
            .with_rack(self.rack.as_deref().map(text))
            .with_log_dirs(self.log_dirs.clone())
            .with_previous_broker_epoch(self.previous_epoch.unwrap_or(BrokerEpoch::NONE).0)
    }

    fn of_request(request: BrokerRegistrationRequest) -> Result<Registration, ErrorCode> {
        if request.broker_id.0 < 0 || request.is_migrating_zk_broker {
            return Err(ErrorCode::InvalidRequest);
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
        Ok(Registration {
            id: NodeId(request.broker_id.0),
            incarnation: request.incarnation_id,
            endpoints: endpoints.collect(),
            rack: request.rack.as_ref().map(ToString::to_string),
            log_dirs: request.log_dirs,
            features: features.collect(),
            previous_epoch: Some(BrokerEpoch(request.previous_broker_epoch))
                .filter(|epoch| *epoch != BrokerEpoch::NONE),
        })
    }

    fn response(_: &BrokerRegistrationRequest, answer: Self::Answer) -> ResponseOf<Self> {
        match answer {
            Ok(epoch) => BrokerRegistrationResponse::default().with_broker_epoch(epoch.0),
            Err(refusal) => Self::refused(refusal.code),
        }
    }

    fn refused(code: ErrorCode) -> BrokerRegistrationResponse {
        BrokerRegistrationResponse::default().with_error_code(code.code()).with_broker_epoch(-1)
    }

    fn of_response(&self, response: BrokerRegistrationResponse) -> Result<Self::Answer, NotController> {
        let refused = whole(response.error_code)?.map_err(Into::into);
        Ok(refused.map(|()| BrokerEpoch(response.broker_epoch)))
    }
}
