//! Creating and deleting topics, with the checks of Kafka's controller in its order.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::config::{TopicConfig, check_topic_config};
use ottla_model::record::{ConfigRecord, MetadataRecord, RemoveTopicRecord, ResourceType, TopicRecord};
use ottla_model::{NodeId, TopicId, TopicName, check_topic_name, collides, fresh_id};
use ottla_protocol::ErrorCode;
use ottla_protocol::primitives::STRING_BYTES_MAX;

use super::configs::configured;
use super::leadership::new_partition;
use super::placement::{self, PARTITIONS_MAX, Placement};
use super::{CreateTopics, Decision, DeleteTopics, Overrides, Refusal, View};

/// A topic as a client asks for it.
#[derive(Clone, Debug)]
pub struct NewTopic {
    pub name: TopicName,
    /// -1 takes the default.
    pub partitions: i32,
    /// -1 takes the default.
    pub replication_factor: i16,
    /// Replicas by partition; when there are any, the two numbers above must be -1.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic as it was, or with `validate_only` would be, created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: Overrides,
}

pub(super) fn create(
    view: &mut View<'_>,
    create: CreateTopics,
) -> Decision<Vec<(TopicName, Result<Created, Refusal>)>> {
    let CreateTopics { topics, validate_only } = create;
    let asked: i64 = topics.iter().map(|t| partitions_asked(t, view.config.num_partitions)).sum();
    let mut names = BTreeSet::new();
    let mut records = Vec::new();
    let mut outcomes = Vec::new();
    for topic in topics {
        let name = topic.name.clone();
        let outcome = if asked > PARTITIONS_MAX as i64 {
            Err(Refusal::new(
                ErrorCode::PolicyViolation,
                "Excessively large number of partitions per request.",
            ))
        } else {
            plan(view, topic, &names)
        };
        let outcome = outcome.map(|(created, mut of_topic)| {
            names.insert(name.clone());
            records.append(&mut of_topic);
            created
        });
        outcomes.push((name, outcome));
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer: outcomes }
}

fn partitions_asked(topic: &NewTopic, default: i32) -> i64 {
    match (topic.assignments.len(), topic.partitions) {
        (0, -1) => i64::from(default),
        (0, n) => i64::from(n.max(0)),
        (n, _) => n as i64,
    }
}

fn plan(
    view: &mut View<'_>,
    topic: NewTopic,
    in_this_request: &BTreeSet<TopicName>,
) -> Result<(Created, Vec<MetadataRecord>), Refusal> {
    check_name(view, &topic.name, in_this_request)?;
    let configs = check_configs(view, &topic)?;
    let placed = place(view, &topic)?;
    let id = new_topic_id(view);
    let created = Created {
        id,
        partitions: placed.len() as i32,
        replication_factor: placed.first().map_or(0, |p| p.replicas.len() as i16),
        configs: configs.clone(),
    };
    let name = topic.name.to_string();
    let mut records = vec![MetadataRecord::Topic(TopicRecord { name: name.clone(), topic_id: id })];
    records.extend(configs.into_iter().map(|(key, value)| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: ResourceType::Topic,
            resource_name: name.clone(),
            name: key,
            value: Some(value),
        })
    }));
    records.extend(placed.into_iter().zip(0..).map(|(placement, index)| new_partition(id, index, placement)));
    Ok((created, records))
}

fn check_name(
    view: &View<'_>,
    name: &TopicName,
    in_this_request: &BTreeSet<TopicName>,
) -> Result<(), Refusal> {
    check_topic_name(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
    if view.image.topic(name).is_some() {
        let message = format!("Topic '{name}' already exists.");
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
    }
    // '.' and '_' are one character in metric names, so names that differ only there cannot live together.
    let existing = view.image.topics().map(|topic| &topic.name);
    if let Some(other) = existing.chain(in_this_request.iter()).find(|other| collides(name, other)) {
        let message = format!("Topic '{name}' collides with existing topic: {other}");
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    Ok(())
}

fn check_configs(view: &View<'_>, topic: &NewTopic) -> Result<Overrides, Refusal> {
    let mut configs = Overrides::new();
    for (key, value) in &topic.configs {
        let Some(value) = value else {
            let message = format!("Null value not supported for topic configs: {key}");
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        };
        if value.len() > STRING_BYTES_MAX {
            let message = format!("Value for config {key} is longer than {STRING_BYTES_MAX} bytes");
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        }
        check_topic_config(key, value).map_err(|e| Refusal::new(ErrorCode::InvalidConfig, e.to_string()))?;
        configs.insert(key.clone(), value.clone());
    }
    // Each may be fine and the whole not.
    TopicConfig::resolve(&configured(view), &configs)
        .map_err(|e| Refusal::new(ErrorCode::InvalidConfig, e.to_string()))?;
    Ok(configs)
}

fn place(view: &mut View<'_>, topic: &NewTopic) -> Result<Vec<Placement>, Refusal> {
    if !topic.assignments.is_empty() {
        return place_by_hand(view, topic);
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    if topic.partitions < -1 || topic.partitions == 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let partitions = if topic.partitions == -1 { view.config.num_partitions } else { topic.partitions };
    let factor = match topic.replication_factor {
        -1 => i16::try_from(view.config.default_replication_factor).unwrap_or(i16::MAX),
        n => n,
    };
    placement::spread(view, partitions, factor)
}

fn place_by_hand(view: &View<'_>, topic: &NewTopic) -> Result<Vec<Placement>, Refusal> {
    for (number, what) in
        [(i32::from(topic.replication_factor), "replication factor"), (topic.partitions, "numPartitions")]
    {
        if number != -1 {
            let message =
                format!("A manual partition assignment was specified, but {what} was not set to -1.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    }
    let wrong = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
    let mut placed = BTreeMap::new();
    for (index, replicas) in &topic.assignments {
        let placement = placement::by_hand(view, replicas).map_err(wrong)?;
        let factor = placed.values().next().map_or(replicas.len(), |p: &Placement| p.replicas.len());
        if factor != replicas.len() {
            return Err(wrong(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, which have {factor} replica(s).",
                replicas.len(),
            )));
        }
        if placement.isr.is_empty() {
            return Err(wrong(format!(
                "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
            )));
        }
        if placed.insert(*index, placement).is_some() {
            return Err(wrong(format!("Found multiple manual partition assignments for partition {index}")));
        }
    }
    let consecutive = placed.keys().copied().eq(0..placed.len() as i32);
    if !consecutive {
        return Err(wrong("partitions should be a consecutive 0-based integer sequence".into()));
    }
    Ok(placed.into_values().collect())
}

fn new_topic_id(view: &mut View<'_>) -> TopicId {
    let chance = &mut view.chance;
    fresh_id(|| u128::from(chance()) << 64 | u128::from(chance()))
}

pub(super) fn delete(view: &View<'_>, delete: DeleteTopics) -> Decision<Vec<(TopicId, Result<(), Refusal>)>> {
    let mut records = Vec::new();
    let mut outcomes = Vec::new();
    let mut seen = BTreeSet::new();
    for id in delete.topics {
        let outcome = match view.image.topic_by_id(id) {
            Some(_) if seen.insert(id) => {
                records.push(MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id }));
                Ok(())
            }
            _ => Err(ErrorCode::UnknownTopicId.into()),
        };
        outcomes.push((id, outcome));
    }
    Decision { records, answer: outcomes }
}
