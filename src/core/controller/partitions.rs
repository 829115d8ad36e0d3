//! Adding partitions to topics, with the checks of Kafka's controller in its order.

use ottla_model::image::Topic;
use ottla_model::record::MetadataRecord;
use ottla_model::{NodeId, TopicName};
use ottla_protocol::ErrorCode;

use super::leadership::new_partition;
use super::placement::{self, PARTITIONS_MAX, Placement};
use super::{CreatePartitions, Decision, Refusal, View};

/// How many partitions a topic is to have, and where those that are new go if somebody chose.
#[derive(Clone, Debug)]
pub struct MorePartitions {
    pub name: TopicName,
    pub count: i32,
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

pub(super) fn add(
    view: &mut View<'_>,
    create: CreatePartitions,
) -> Decision<Vec<(TopicName, Result<(), Refusal>)>> {
    let CreatePartitions { topics, validate_only } = create;
    let mut records = Vec::new();
    let mut outcomes = Vec::new();
    for topic in topics {
        let outcome = plan(view, &topic, records.len()).map(|mut of_topic| records.append(&mut of_topic));
        outcomes.push((topic.name, outcome));
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer: outcomes }
}

fn plan(view: &mut View<'_>, asked: &MorePartitions, decided: usize) -> Result<Vec<MetadataRecord>, Refusal> {
    let image = view.image;
    let topic = image.topic(&asked.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let present = topic.partitions.len();
    let wrong = |why: String| Refusal::new(ErrorCode::InvalidPartitions, why);
    let count = usize::try_from(asked.count).unwrap_or(0);
    if count == present {
        return Err(wrong(format!("The topic has {present} partition(s) already")));
    }
    if count < present {
        let why = format!("The topic has {present} partition(s); {} would be fewer", asked.count);
        return Err(wrong(why));
    }
    let additional = count - present;
    if decided + additional > PARTITIONS_MAX {
        let why = "Too many partitions in one request";
        return Err(Refusal::new(ErrorCode::PolicyViolation, why));
    }
    // As many replicas as the first of its partitions has.
    let factor = topic.partitions.values().next().map_or(1, |first| first.replicas.len());
    let placed = match &asked.assignments {
        Some(assignments) => place_by_hand(view, topic, assignments, additional, factor)?,
        None => {
            let factor = i16::try_from(factor).unwrap_or(i16::MAX);
            placement::spread(view, additional as i32, factor)?
        }
    };
    let indexes = present as i32..;
    Ok(placed
        .into_iter()
        .zip(indexes)
        .map(|(placed, index)| new_partition(topic.id, index, placed))
        .collect())
}

fn place_by_hand(
    view: &View<'_>,
    topic: &Topic,
    assignments: &[Vec<NodeId>],
    additional: usize,
    factor: usize,
) -> Result<Vec<Placement>, Refusal> {
    let wrong = |why: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, why);
    if assignments.len() != additional {
        let given = assignments.len();
        return Err(wrong(format!("{additional} partition(s) are to be added, but {given} are assigned")));
    }
    let mut placed = Vec::with_capacity(additional);
    for (replicas, index) in assignments.iter().zip(topic.partitions.len()..) {
        let placement = placement::by_hand(view, replicas).map_err(wrong)?;
        if placement.replicas.len() != factor {
            return Err(wrong(format!(
                "Partition {index} is assigned {} replica(s), but the topic's partitions have {factor}",
                placement.replicas.len()
            )));
        }
        if placement.isr.is_empty() {
            let why =
                format!("Every broker that partition {index} is assigned to is fenced or shutting down");
            return Err(wrong(why));
        }
        placed.push(placement);
    }
    Ok(placed)
}
