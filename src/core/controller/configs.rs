//! Changing what is set for topics, brokers, groups and subscriptions to clients' metrics (KIP-133, KIP-226, KIP-339,
//! KIP-714), with the checks of Kafka's controller in its order. Loggers are no metadata and never come here.

use std::borrow::Cow;

use ottla_model::config::{
    BrokerConfig, ConfigError, Dynamic, TopicConfig, check_client_metrics, check_group, list_key,
};
use ottla_model::image::{ConfigResource, Image};
use ottla_model::record::{ClearElrRecord, ConfigRecord, MetadataRecord, ResourceType};
use ottla_model::{NodeId, check_topic_name};
use ottla_protocol::ErrorCode;
use ottla_protocol::primitives::STRING_BYTES_MAX;

use super::{AlterConfigs, Decision, Overrides, Refusal, View};

/// The most records of one request, as in Kafka.
const RECORDS_MAX: usize = 10_000;

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
pub(super) const UNCLEAN_LEADER_ELECTION_ENABLE: &str = "unclean.leader.election.enable";

/// What happens to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(String),
    Delete,
    /// Adds what a list does not have yet, to its default if it is not set.
    Append(String),
    Subtract(String),
}

/// What happens to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// These keys change, others stay.
    Some(Vec<(String, Change)>),
    /// This is all that is set from now on.
    All(Overrides),
}

/// What would be set for a resource for which `stored` is set now.
pub fn altered(
    kind: ResourceType,
    stored: &Overrides,
    alteration: &Alteration,
) -> Result<Overrides, Refusal> {
    let changes = match alteration {
        Alteration::All(values) => return Ok(values.clone()),
        Alteration::Some(changes) => changes,
    };
    let mut values = stored.clone();
    for (key, change) in changes {
        let list = || match list_key(kind, key) {
            Some(row) => {
                let text = stored.get(key).map(String::as_str).or(row.default).unwrap_or_default();
                Ok(text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>())
            }
            None => {
                let why = format!("Cannot append to or subtract from {key}: it is not a list");
                Err(Refusal::new(ErrorCode::InvalidConfig, why))
            }
        };
        match change {
            Change::Set(value) => drop(values.insert(key.clone(), value.clone())),
            Change::Delete => drop(values.remove(key)),
            Change::Append(more) => {
                let mut items = list()?;
                for item in more.split(',') {
                    if !items.iter().any(|known| known == item) {
                        items.push(item.to_owned());
                    }
                }
                values.insert(key.clone(), items.join(","));
            }
            Change::Subtract(less) => {
                let mut items = list()?;
                for item in less.split(',') {
                    if let Some(at) = items.iter().position(|known| known == item) {
                        items.remove(at);
                    }
                }
                values.insert(key.clone(), items.join(","));
            }
        }
    }
    Ok(values)
}

pub(super) fn alter(
    view: &View<'_>,
    alter: AlterConfigs,
) -> Decision<Vec<(ConfigResource, Result<(), Refusal>)>> {
    let AlterConfigs { resources, validate_only } = alter;
    let mut records = Vec::new();
    let mut outcomes = Vec::new();
    for (resource, alteration) in resources {
        let outcome =
            plan(view, &resource, &alteration).map(|mut of_resource| records.append(&mut of_resource));
        outcomes.push((resource, outcome));
    }
    if records.len() > RECORDS_MAX {
        let refusal = Refusal::new(ErrorCode::PolicyViolation, "Too many changes in one request");
        outcomes.iter_mut().for_each(|(_, outcome)| *outcome = Err(refusal.clone()));
        records.clear();
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer: outcomes }
}

fn plan(
    view: &View<'_>,
    resource: &ConfigResource,
    alteration: &Alteration,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let none = Overrides::new();
    let stored = view.image.configs(resource.kind, &resource.name).unwrap_or(&none);
    let values = altered(resource.kind, stored, alteration)?;
    let set = values.iter().filter(|(key, value)| stored.get(*key) != Some(value));
    let set = set.map(|(key, value)| (key.as_str(), Some(value.as_str())));
    let deleted = stored.keys().filter(|key| !values.contains_key(*key)).map(|key| (key.as_str(), None));
    let changes: Vec<(&str, Option<&str>)> = set.chain(deleted).collect();
    let eligible = view.knows_eligible_leaders();
    check_lengths(resource, &changes)?;
    if eligible {
        check_min_isr(resource, &changes)?;
    }
    check(view, resource, &values)?;
    check_exists(view.image, resource)?;
    let mut records: Vec<MetadataRecord> = Vec::new();
    for (key, value) in &changes {
        records.push(MetadataRecord::Config(ConfigRecord {
            resource_type: resource.kind,
            resource_name: resource.name.clone(),
            name: (*key).to_owned(),
            value: value.map(str::to_owned),
        }));
    }
    if eligible && changes.iter().any(|(key, _)| *key == MIN_INSYNC_REPLICAS) {
        // Who was eligible was so by the old number (KIP-966).
        let topic = (resource.kind == ResourceType::Topic).then(|| resource.name.clone());
        records.push(MetadataRecord::ClearElr(ClearElrRecord { topic_name: topic.unwrap_or_default() }));
    }
    Ok(records)
}

// A record has no room for more.
fn check_lengths(resource: &ConfigResource, changes: &[(&str, Option<&str>)]) -> Result<(), Refusal> {
    let longest = changes.iter().map(|(key, value)| key.len().max(value.map_or(0, str::len))).max();
    if longest.unwrap_or(0).max(resource.name.len()) > STRING_BYTES_MAX {
        let why = format!("A name or value is longer than {STRING_BYTES_MAX} bytes");
        return Err(Refusal::new(ErrorCode::InvalidConfig, why));
    }
    Ok(())
}

// With eligible leader replicas the number has to be the same for all brokers, and to be there (KIP-966).
fn check_min_isr(resource: &ConfigResource, changes: &[(&str, Option<&str>)]) -> Result<(), Refusal> {
    let Some((_, value)) = changes.iter().find(|(key, _)| *key == MIN_INSYNC_REPLICAS) else { return Ok(()) };
    if resource.kind != ResourceType::Broker {
        return Ok(());
    }
    let why = match (resource.name.is_empty(), value) {
        (false, _) => "cannot be set for one broker",
        (true, None) => "cannot be removed from the cluster's defaults",
        (true, Some(_)) => return Ok(()),
    };
    let why = format!("{MIN_INSYNC_REPLICAS} {why} while eligible leader replicas are in use");
    Err(Refusal::new(ErrorCode::InvalidConfig, why))
}

fn check(view: &View<'_>, resource: &ConfigResource, values: &Overrides) -> Result<(), Refusal> {
    let name = resource.name.as_str();
    let refuse = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let invalid = |error: ConfigError| Refusal::new(ErrorCode::InvalidConfig, error.to_string());
    match resource.kind {
        ResourceType::Topic if name.is_empty() => refuse("There are no settings for all topics"),
        ResourceType::Topic => {
            check_topic_name(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
            TopicConfig::resolve(&configured(view), values).map_err(invalid).map(drop)
        }
        // Their values are checked by the broker that they are for, before it asks.
        ResourceType::Broker if name.is_empty() => Ok(()),
        ResourceType::Broker => match name.parse::<i32>() {
            Ok(id) if id < 0 => refuse("A broker id cannot be negative"),
            Ok(_) => Ok(()),
            Err(_) => refuse("The name of a broker is its id, a whole number"),
        },
        ResourceType::Group if name.is_empty() => refuse("There are no settings for all groups"),
        ResourceType::Group => check_group(&configured(view), values).map_err(invalid),
        ResourceType::ClientMetrics if name.is_empty() => refuse("A subscription's name cannot be empty"),
        ResourceType::ClientMetrics => check_client_metrics(values).map_err(|error| match error {
            ConfigError::UnknownClientMetricsKey(_) | ConfigError::OutOfRange { .. } => {
                Refusal::new(ErrorCode::InvalidRequest, error.to_string())
            }
            error => invalid(error),
        }),
        ResourceType::BrokerLogger => refuse("Loggers are not stored"),
    }
}

fn check_exists(image: &Image, resource: &ConfigResource) -> Result<(), Refusal> {
    let name = resource.name.as_str();
    match resource.kind {
        ResourceType::Topic if image.topic(name).is_none() => {
            let why = format!("The topic '{name}' does not exist");
            Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, why))
        }
        ResourceType::Broker if !name.is_empty() => {
            let id = name.parse().map(NodeId).ok();
            let known = id.is_some_and(|id| image.broker(id).is_some() || image.controller(id).is_some());
            let refuse = || {
                let why = format!("There is no broker with id {name}");
                Refusal::new(ErrorCode::BrokerIdNotRegistered, why)
            };
            if known { Ok(()) } else { Err(refuse()) }
        }
        _ => Ok(()),
    }
}

/// What the node that decides runs with: topics and groups take their defaults from it.
pub(super) fn configured<'a>(view: &View<'a>) -> Cow<'a, BrokerConfig> {
    let none = Overrides::new();
    let of = |name: &str| view.image.configs(ResourceType::Broker, name);
    let (mine, all) = (of(&view.config.node_id.to_string()), of(""));
    if mine.is_none() && all.is_none() {
        return Cow::Borrowed(view.config);
    }
    let dynamic = Dynamic { per_broker: mine.unwrap_or(&none), cluster_default: all.unwrap_or(&none) };
    view.config.with_dynamic(dynamic).map_or(Cow::Borrowed(view.config), Cow::Owned)
}
