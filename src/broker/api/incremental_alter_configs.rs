//! IncrementalAlterConfigs v0-1 (KIP-339; loggers by KIP-412, groups by KIP-848, clients' metrics by KIP-714).

use bytes::Bytes;
use ottla_core::controller::{Alteration, Change, Refusal};
use ottla_protocol::api::Operation;
use ottla_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::alter_configs::well_formed;
use super::answers::text;
use super::context::{AtNode, Begun};
use crate::run::serve::configs::{ResourceAlteration, alter};

/// Kafka's code of deleting a key, the one operation without a value.
const DELETE: i8 = 1;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let node = context.node;
    let request: IncrementalAlterConfigsRequest = context.read(body)?;
    let asked: Vec<ResourceAlteration> =
        request.resources.into_iter().map(|resource| ask(context, resource)).collect();
    let (node, listener, controller) = (node.clone(), context.caller.kind, context.controller());
    Ok(context.later(async move {
        let outcomes = alter(&node, listener, &controller, asked, request.validate_only).await;
        let responses = outcomes.into_iter().map(|outcome| {
            AlterConfigsResourceResponse::default()
                .with_resource_type(outcome.kind)
                .with_resource_name(text(&outcome.name))
                .with_error_code(outcome.code.code())
                .with_error_message(outcome.message.map(StrBytes::from_string))
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }))
}

fn ask(context: &AtNode<'_>, resource: AlterConfigsResource) -> ResourceAlteration {
    let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
    let permitted = context.rights().check_configs(Operation::AlterConfigs, kind, name);
    let names: Vec<&str> = resource.configs.iter().map(|config| config.name.as_str()).collect();
    let nulls = resource.configs.iter().filter(|c| c.config_operation != DELETE && c.value.is_none());
    let alteration = well_formed(&names, nulls.map(|config| config.name.as_str()))
        .and_then(|()| resource.configs.iter().map(change).collect::<Result<_, _>>())
        .map(Alteration::Some);
    let alteration = permitted.map_err(Refusal::from).and(alteration);
    ResourceAlteration { kind, name: name.to_owned(), alteration }
}

fn change(config: &AlterableConfig) -> Result<(String, Change), Refusal> {
    let value = config.value.as_ref().map(|value| value.to_string()).unwrap_or_default();
    let change = match config.config_operation {
        0 => Change::Set(value),
        DELETE => Change::Delete,
        2 => Change::Append(value),
        3 => Change::Subtract(value),
        unknown => {
            let why = format!("Unknown operation {unknown} on {}", config.name.as_str());
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        }
    };
    Ok((config.name.to_string(), change))
}
