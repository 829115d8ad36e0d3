//! AlterConfigs v0-2 (KIP-133): everything that is set for a resource is replaced. Kept for old tools; the incremental
//! one came with KIP-339.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_core::controller::{Alteration, Refusal};
use ottla_protocol::api::Operation;
use ottla_protocol::messages::alter_configs_request::AlterConfigsResource;
use ottla_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::answers::text;
use super::context::{AtNode, Begun};
use crate::run::serve::configs::{ResourceAlteration, alter};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let node = context.node;
    let request: AlterConfigsRequest = context.read(body)?;
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
        AlterConfigsResponse::default().with_responses(responses.collect())
    }))
}

fn ask(context: &AtNode<'_>, resource: AlterConfigsResource) -> ResourceAlteration {
    let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
    let permitted = context.rights().check_configs(Operation::AlterConfigs, kind, name);
    let names: Vec<&str> = resource.configs.iter().map(|config| config.name.as_str()).collect();
    let nulls = resource.configs.iter().filter(|config| config.value.is_none());
    let values = || {
        let pairs = resource.configs.iter();
        pairs
            .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())))
            .collect::<BTreeMap<_, _>>()
    };
    let alteration =
        well_formed(&names, nulls.map(|config| config.name.as_str())).map(|()| Alteration::All(values()));
    let alteration = permitted.map_err(Refusal::from).and(alteration);
    ResourceAlteration { kind, name: name.to_owned(), alteration }
}

/// What both kinds of alteration ask of a resource's keys: none twice, none without its value.
pub(super) fn well_formed<'a>(names: &[&str], nulls: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(**name)) {
        let why = format!("The request names the key {name} more than once");
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    let nulls: Vec<&str> = nulls.collect();
    if !nulls.is_empty() {
        let why = format!("Null is no value for {}", nulls.join(", "));
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    Ok(())
}
