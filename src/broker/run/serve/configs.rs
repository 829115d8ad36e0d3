//! Changing settings for a client: what this broker can check alone is refused here, the rest is sent to the controller.
//! As in Kafka, the settings of a broker are checked by that broker; a controller takes what a broker sends on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_core::controller::{AlterConfigs, Alteration, Refusal, altered};
use ottla_model::config::{ConfigError, DynamicScope, check_broker_change};
use ottla_model::image::ConfigResource;
use ottla_model::record::ResourceType;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Listener;

use crate::node::Node;
use crate::run::owners::controller::Controller;

/// A resource as a client names it, and its changes.
#[derive(Clone, Debug)]
pub(crate) struct ResourceAlteration {
    /// Kafka's code, which may be unknown.
    pub kind: i8,
    pub name: String,
    pub alteration: Result<Alteration, Refusal>,
}

/// The outcome for one resource.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub kind: i8,
    pub name: String,
    pub code: ErrorCode,
    pub message: Option<String>,
}

/// Returns the outcomes in the order of the resources.
pub(crate) async fn alter(
    node: &Arc<Node>,
    listener: Listener,
    controller: &Controller,
    asked: Vec<ResourceAlteration>,
    validate_only: bool,
) -> Vec<Outcome> {
    let named: Vec<(i8, String)> = asked.iter().map(|one| (one.kind, one.name.clone())).collect();
    let decided = decide(node, listener, controller, asked, validate_only).await;
    let outcomes = named.into_iter().zip(decided).map(|((kind, name), decided)| {
        let (code, message) = match decided {
            Ok(()) => (ErrorCode::None, None),
            Err(Refusal { code, message }) => (code, Some(message)),
        };
        Outcome { kind, name, code, message }
    });
    outcomes.collect()
}

async fn decide(
    node: &Arc<Node>,
    listener: Listener,
    controller: &Controller,
    asked: Vec<ResourceAlteration>,
    validate_only: bool,
) -> Vec<Result<(), Refusal>> {
    let twice = named_twice(&asked);
    let mut outcomes: Vec<Option<Result<(), Refusal>>> = Vec::new();
    let mut resources = Vec::new();
    for one in asked {
        let prepared = if twice.contains(&(one.kind, one.name.clone())) {
            Err(Refusal::new(ErrorCode::InvalidRequest, "The request names a resource more than once"))
        } else {
            prepare(node, listener, one)
        };
        outcomes.push(match prepared {
            Ok((ConfigResource { kind: ResourceType::BrokerLogger, name }, alteration)) => {
                Some(alter_loggers(node, &name, &alteration, validate_only))
            }
            Ok(resource) => {
                resources.push(resource);
                None
            }
            Err(refusal) => Some(Err(refusal)),
        });
    }
    let mut decided = Vec::new();
    if !resources.is_empty() {
        let count = resources.len();
        decided = match controller.ask(AlterConfigs { resources, validate_only }).await {
            Ok(outcomes) => outcomes.into_iter().map(|(_, outcome)| outcome).collect(),
            Err(refused) => vec![Err(refused.into()); count],
        };
    }
    let mut decided = decided.into_iter();
    let missing = || Err(ErrorCode::UnknownServerError.into());
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(|| decided.next().unwrap_or_else(missing)))
        .collect()
}

fn named_twice(asked: &[ResourceAlteration]) -> BTreeSet<(i8, String)> {
    let mut seen = BTreeSet::new();
    let names = asked.iter().map(|one| (one.kind, one.name.clone()));
    names.filter(|name| !seen.insert(name.clone())).collect()
}

fn prepare(
    node: &Node,
    listener: Listener,
    asked: ResourceAlteration,
) -> Result<(ConfigResource, Alteration), Refusal> {
    let alteration = asked.alteration?;
    let Some(kind) = ResourceType::from_code(asked.kind) else {
        let why = format!("Unknown resource type {}", asked.kind);
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    };
    match kind {
        ResourceType::Broker if listener == Listener::Broker => check_broker(node, &asked.name, &alteration)?,
        ResourceType::Broker => {}
        ResourceType::Topic | ResourceType::Group => {}
        ResourceType::ClientMetrics | ResourceType::BrokerLogger => {}
    }
    Ok((ConfigResource { kind, name: asked.name }, alteration))
}

// Log levels are not metadata: they belong to this process, and change here (KIP-412).
fn alter_loggers(
    node: &Node,
    name: &str,
    alteration: &Alteration,
    validate_only: bool,
) -> Result<(), Refusal> {
    let Alteration::Some(changes) = alteration else {
        let why = format!("AlterConfigs knows no resource type {}", ResourceType::BrokerLogger.code());
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    };
    this_broker(node, name)?;
    node.loggers.alter(changes, validate_only)
}

fn check_broker(node: &Node, name: &str, alteration: &Alteration) -> Result<(), Refusal> {
    let scope = if name.is_empty() {
        DynamicScope::AllBrokers
    } else {
        this_broker(node, name)?;
        DynamicScope::OneBroker
    };
    let image = node.image.load();
    let none = BTreeMap::new();
    let me = node.me.to_string();
    let of = |name: &str| image.configs(ResourceType::Broker, name).unwrap_or(&none);
    let (mine, others) = match scope {
        DynamicScope::OneBroker => (of(&me), of("")),
        DynamicScope::AllBrokers => (of(""), of(&me)),
    };
    let values = altered(ResourceType::Broker, mine, alteration)?;
    // Kafka answers INVALID_REQUEST here, and not INVALID_CONFIG (KAFKA-13609).
    let refuse = |error: ConfigError| Refusal::new(ErrorCode::InvalidRequest, error.to_string());
    check_broker_change(&node.config(), scope, &values, others).map_err(refuse)
}

fn this_broker(node: &Node, name: &str) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    match name.parse::<i32>() {
        Ok(id) if id == node.me.0 => Ok(()),
        Ok(_) => refuse(format!("Unexpected broker id, expected {}, but received {name}", node.me)),
        Err(_) => refuse(format!("A node's id must be a whole number, but it is: {name}")),
    }
}
