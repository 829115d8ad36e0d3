//! DescribeConfigs v1-4 (KIP-133, KIP-226 synonyms, KIP-569 types and docs from v3): topics, this broker, the defaults of
//! all brokers, groups and clients' metrics. Missing: broker loggers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::Refusal;
use ottla_model::check_topic_name;
use ottla_model::config::{
    DescribedConfig, describe_broker, describe_client_metrics, describe_cluster_default, describe_group,
    describe_topic,
};
use ottla_model::image::Image;
use ottla_model::record::ResourceType;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use ottla_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use ottla_protocol::{ErrorCode, codec};

use super::{Begun, now, text};
use crate::broker::Broker;

/// What of each config is wanted.
struct Detail {
    synonyms: bool,
    documentation: bool,
    version: i16,
}

pub(super) fn begin(broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: DescribeConfigsRequest = codec::decode(ApiKey::DescribeConfigs.code(), version, body)?;
    let detail = Detail {
        synonyms: request.include_synonyms,
        documentation: version >= 3 && request.include_documentation,
        version,
    };
    let image = broker.image.load();
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(broker, &image, &resource) {
            Ok(configs) => {
                let wanted = configs.into_iter().filter(|config| wants(&resource, &config.name));
                result.with_configs(wanted.map(|config| row(config, &detail)).collect())
            }
            Err(refusal) => {
                result.with_error_code(refusal.code.code()).with_error_message(Some(text(&refusal.message)))
            }
        }
    });
    let response = DescribeConfigsResponse::default().with_results(results.collect());
    Ok(now(&response, version))
}

// No list is every key.
fn wants(resource: &DescribeConfigsResource, name: &str) -> bool {
    match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.iter().any(|key| key.as_str() == name),
    }
}

fn describe(
    broker: &Broker,
    image: &Image,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedConfig>, Refusal> {
    let name = resource.resource_name.as_str();
    let none = BTreeMap::new();
    let set = |kind| image.configs(kind, name).unwrap_or(&none);
    let nameless = |what: &str| {
        let why = format!("The name of a {what} must not be empty");
        Err(Refusal::new(ErrorCode::InvalidRequest, why))
    };
    match ResourceType::from_code(resource.resource_type) {
        Some(ResourceType::Topic) => {
            check_topic_name(name)
                .map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why.to_string()))?;
            if image.topic(name).is_none() {
                return Err(ErrorCode::UnknownTopicOrPartition.into());
            }
            Ok(describe_topic(&broker.config(), set(ResourceType::Topic)))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(describe_cluster_default(&broker.config())),
        Some(ResourceType::Broker) => {
            let me = broker.me.0;
            let id: i32 = name.parse().map_err(|_| {
                let why = format!("Broker id must be an integer, but it is: {name}");
                Refusal::new(ErrorCode::InvalidRequest, why)
            })?;
            if id != me {
                let why = format!("Unexpected broker id, expected {me} or empty string, but received {name}");
                return Err(Refusal::new(ErrorCode::InvalidRequest, why));
            }
            Ok(describe_broker(&broker.config()))
        }
        Some(ResourceType::Group) if name.is_empty() => nameless("group"),
        Some(ResourceType::Group) => Ok(describe_group(&broker.config(), set(ResourceType::Group))),
        Some(ResourceType::ClientMetrics) if name.is_empty() => nameless("client metrics subscription"),
        Some(ResourceType::ClientMetrics) => Ok(describe_client_metrics(set(ResourceType::ClientMetrics))),
        Some(ResourceType::BrokerLogger) | None => {
            let why = format!("Unsupported resource type: {}", resource.resource_type);
            Err(Refusal::new(ErrorCode::InvalidRequest, why))
        }
    }
}

fn row(config: DescribedConfig, detail: &Detail) -> DescribeConfigsResourceResult {
    let synonyms = if detail.synonyms { config.synonyms } else { Vec::new() };
    let synonyms = synonyms.into_iter().map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(&synonym.name))
            .with_value(synonym.value.as_deref().map(text))
            .with_source(synonym.source)
    });
    let row = DescribeConfigsResourceResult::default()
        .with_name(text(&config.name))
        .with_value(config.value.as_deref().map(text))
        .with_read_only(config.read_only)
        .with_config_source(config.source)
        .with_is_sensitive(config.sensitive)
        .with_synonyms(synonyms.collect());
    if detail.version < 3 {
        return row;
    }
    let row = row.with_config_type(config.kind);
    row.with_documentation(detail.documentation.then(|| text(config.doc)))
}
