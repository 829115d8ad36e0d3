//! DescribeConfigs v1-4 (KIP-133, KIP-226 synonyms, KIP-412 loggers, KIP-569 types and docs from v3): topics, this broker and
//! its loggers, the defaults of all brokers, groups and clients' metrics.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::controller::Refusal;
use ottla_model::check_topic_name;
use ottla_model::config::{
    DescribedConfig, describe_broker, describe_client_metrics, describe_cluster_default, describe_group,
    describe_topic,
};
use ottla_model::image::Image;
use ottla_model::record::ResourceType;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use ottla_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::answers::text;
use super::context::{AtNode, Begun, Context};
use crate::node::Node;

/// Kafka's codes of a level that may have been changed, and of a value without a type.
const DYNAMIC_BROKER_LOGGER: i8 = 6;
const UNTYPED: i8 = 0;

/// What of each config is wanted.
struct Detail {
    synonyms: bool,
    documentation: bool,
    version: i16,
}

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let Context { node, version, .. } = *context;
    let request: DescribeConfigsRequest = context.read(body)?;
    let detail = Detail {
        synonyms: request.include_synonyms,
        documentation: version >= 3 && request.include_documentation,
        version,
    };
    let image = node.image.load();
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
        let permitted = context.rights().check_configs(Operation::DescribeConfigs, kind, name);
        match permitted.map_err(Refusal::from).and_then(|()| describe(node, &image, &resource)) {
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
    Ok(context.now(response))
}

// No list is every key.
fn wants(resource: &DescribeConfigsResource, name: &str) -> bool {
    match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.iter().any(|key| key.as_str() == name),
    }
}

fn describe(
    node: &Node,
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
            Ok(describe_topic(&node.config(), set(ResourceType::Topic)))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(describe_cluster_default(&node.config())),
        Some(ResourceType::Broker) => {
            this_broker(node, name)?;
            Ok(describe_broker(&node.config()))
        }
        Some(ResourceType::Group) if name.is_empty() => nameless("group"),
        Some(ResourceType::Group) => Ok(describe_group(&node.config(), set(ResourceType::Group))),
        Some(ResourceType::ClientMetrics) if name.is_empty() => nameless("client metrics subscription"),
        Some(ResourceType::ClientMetrics) => Ok(describe_client_metrics(set(ResourceType::ClientMetrics))),
        Some(ResourceType::BrokerLogger) if name.is_empty() => nameless("broker"),
        Some(ResourceType::BrokerLogger) => {
            this_broker(node, name)?;
            Ok(node.loggers.levels().map(|(name, level)| logger(name, level)).collect())
        }
        None => {
            let why = format!("Unsupported resource type: {}", resource.resource_type);
            Err(Refusal::new(ErrorCode::InvalidRequest, why))
        }
    }
}

fn this_broker(node: &Node, name: &str) -> Result<(), Refusal> {
    let me = node.me.0;
    let why = match name.parse::<i32>() {
        Ok(id) if id == me => return Ok(()),
        Ok(_) => format!("Unexpected broker id, expected {me}, but received {name}"),
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err(Refusal::new(ErrorCode::InvalidRequest, why))
}

fn logger(name: &str, level: &str) -> DescribedConfig {
    DescribedConfig {
        name: name.to_owned(),
        value: Some(level.to_owned()),
        source: DYNAMIC_BROKER_LOGGER,
        synonyms: Vec::new(),
        read_only: false,
        sensitive: false,
        is_default: false,
        kind: UNTYPED,
        doc: "",
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
    // A logger has an empty one in any case, as in Kafka.
    let documented = detail.documentation || config.source == DYNAMIC_BROKER_LOGGER;
    row.with_documentation(documented.then(|| text(config.doc)))
}
