//! ListConfigResources v0-1 (KIP-1142). Version 0 was ListClientMetricsResources (KIP-714) and knows nothing else.

use bytes::Bytes;
use ottla_model::image::Image;
use ottla_model::record::ResourceType;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::list_config_resources_response::ConfigResource;
use ottla_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::answers::text;
use super::context::{Begun, Context};

/// Every kind, in the order in which they are told when none is asked for.
const ALL: [ResourceType; 5] = [
    ResourceType::Topic,
    ResourceType::Broker,
    ResourceType::BrokerLogger,
    ResourceType::ClientMetrics,
    ResourceType::Group,
];

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: ListConfigResourcesRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::DescribeConfigs) {
        return Ok(context.now(ListConfigResourcesResponse::default().with_error_code(code.code())));
    }
    let kinds = match request.resource_types.as_slice() {
        _ if version == 0 => Some(vec![ResourceType::ClientMetrics]),
        [] => Some(ALL.to_vec()),
        codes => codes.iter().map(|code| ResourceType::from_code(*code)).collect(),
    };
    let Some(mut kinds) = kinds else {
        let response =
            ListConfigResourcesResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code());
        return Ok(context.now(response));
    };
    kinds.sort_by_key(|kind| kind.code());
    kinds.dedup();
    let image = broker.image.load();
    let resources = kinds.into_iter().flat_map(|kind| {
        names(&image, kind).into_iter().map(move |name| {
            let resource = ConfigResource::default().with_resource_name(text(&name));
            if version >= 1 { resource.with_resource_type(kind.code()) } else { resource }
        })
    });
    let response = ListConfigResourcesResponse::default().with_config_resources(resources.collect());
    Ok(context.now(response))
}

// Topics and brokers are all that there are; the others only as far as something is set for them.
fn names(image: &Image, kind: ResourceType) -> Vec<String> {
    match kind {
        ResourceType::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            image.brokers().filter(|broker| !broker.fenced).map(|broker| broker.id.to_string()).collect()
        }
        ResourceType::ClientMetrics | ResourceType::Group => {
            let set = image.config_resources().filter(|(resource, _)| resource.kind == kind);
            set.map(|(resource, _)| resource.name.clone()).collect()
        }
    }
}
