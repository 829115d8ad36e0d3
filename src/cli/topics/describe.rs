//! `kafka-topics --describe`: what it prints, tab for tab. It must never change anything.

use super::existing_names;
use crate::options::{Failure, Given};
use ottla_client::admin::Resource;
use ottla_client::{ClientError, Cluster};
use ottla_model::{uuid_from_base64, uuid_to_base64};
use ottla_protocol::messages::BrokerId;
use ottla_protocol::messages::describe_configs_response::DescribeConfigsResult;
use ottla_protocol::messages::list_partition_reassignments_response::OngoingPartitionReassignment;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use uuid::Uuid;

/// Options that pick partitions.
pub(super) const REPORTS: [&str; 4] = [
    "under-replicated-partitions",
    "unavailable-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
];

/// A topic as it is printed.
struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<Partition>,
    configs: DescribeConfigsResult,
}

/// A partition, from either of the two APIs that tell of it.
struct Partition {
    index: i32,
    leader: BrokerId,
    replicas: Vec<BrokerId>,
    isr: Vec<BrokerId>,
    /// Eligible leader replicas and those last known (KIP-966); `None` where the broker cannot say.
    elr: Option<Vec<BrokerId>>,
    last_known_elr: Option<Vec<BrokerId>>,
    reassignment: Option<OngoingPartitionReassignment>,
}

pub(super) async fn run(given: &Given, cluster: &Cluster) -> Result<(), Failure> {
    let names = match wanted_id(given)? {
        Some(id) => named(given, cluster, id).await?,
        None => existing_names(given, cluster).await?,
    };
    let live: BTreeSet<BrokerId> =
        cluster.metadata(Some(&[])).await?.brokers.iter().map(|broker| broker.node_id).collect();
    for topic in topics(given, cluster, &names).await? {
        print!("{}", text(given, &live, &topic));
    }
    Ok(())
}

fn wanted_id(given: &Given) -> Result<Option<Uuid>, Failure> {
    let Some(text) = given.one("topic-id")? else { return Ok(None) };
    let id = uuid_from_base64(text).ok_or_else(|| Failure::Wrong(format!("{text} is not a topic id")))?;
    Ok((!id.is_nil()).then_some(id))
}

async fn named(given: &Given, cluster: &Cluster, id: Uuid) -> Result<Vec<String>, Failure> {
    let metadata = cluster.metadata(None).await?;
    let found = metadata.topics.iter().find(|topic| topic.topic_id == id);
    match found.and_then(|topic| topic.name.as_ref()) {
        Some(name) => Ok(vec![name.0.to_string()]),
        None if given.has("if-exists") => Ok(Vec::new()),
        None => Err(Failure::Wrong(format!("TopicId '{}' does not exist as expected", uuid_to_base64(id)))),
    }
}

async fn topics(given: &Given, cluster: &Cluster, names: &[String]) -> Result<Vec<Topic>, Failure> {
    let mut reassignments: BTreeMap<(String, i32), OngoingPartitionReassignment> = BTreeMap::new();
    for topic in cluster.reassignments().await? {
        for partition in topic.partitions {
            reassignments.insert((topic.name.0.to_string(), partition.partition_index), partition);
        }
    }
    let mut topics = Vec::new();
    for (name, id, mut partitions) in partitions(given, cluster, names).await? {
        partitions.sort_by_key(|partition| partition.index);
        for partition in &mut partitions {
            partition.reassignment = reassignments.remove(&(name.clone(), partition.index));
        }
        let configs = cluster.describe_configs(&Resource::Topic(name.clone())).await?;
        topics.push(Topic { name, id, partitions, configs });
    }
    Ok(topics)
}

/// With eligible leader replicas where the broker tells them, else from its metadata.
async fn partitions(
    given: &Given,
    cluster: &Cluster,
    names: &[String],
) -> Result<Vec<(String, Uuid, Vec<Partition>)>, Failure> {
    let mut all = Vec::new();
    if names.is_empty() {
        return Ok(all);
    }
    if cluster.describes_topic_partitions().await? {
        let limit = given.parsed("partition-size-limit-per-response")?.unwrap_or(2_000);
        for topic in cluster.describe_topics(names, limit).await? {
            let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
            ClientError::check(&format!("describing topic {name}"), topic.error_code, None)?;
            let partitions = topic.partitions.into_iter().map(|at| Partition {
                index: at.partition_index,
                leader: at.leader_id,
                replicas: at.replica_nodes,
                isr: at.isr_nodes,
                elr: at.eligible_leader_replicas,
                last_known_elr: at.last_known_elr,
                reassignment: None,
            });
            all.push((name, topic.topic_id, partitions.collect()));
        }
        return Ok(all);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for topic in cluster.metadata(Some(&names)).await?.topics {
        let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
        ClientError::check(&format!("describing topic {name}"), topic.error_code, None)?;
        let partitions = topic.partitions.into_iter().map(|at| Partition {
            index: at.partition_index,
            leader: at.leader_id,
            replicas: at.replica_nodes,
            isr: at.isr_nodes,
            elr: None,
            last_known_elr: None,
            reassignment: None,
        });
        all.push((name, topic.topic_id, partitions.collect()));
    }
    Ok(all)
}

fn text(given: &Given, live: &BTreeSet<BrokerId>, topic: &Topic) -> String {
    let mut text = String::new();
    let reported = REPORTS.into_iter().find(|report| given.has(report));
    let overrides: Vec<String> = topic
        .configs
        .configs
        .iter()
        .filter(|config| config.config_source != DEFAULT_CONFIG)
        .map(|config| format!("{}={}", &*config.name, config.value.as_deref().unwrap_or("null")))
        .collect();
    if reported.is_none() && (!given.has("topics-with-overrides") || !overrides.is_empty()) {
        text += &topic.line(&overrides.join(","));
    }
    if !given.has("topics-with-overrides") {
        for partition in &topic.partitions {
            let wanted = match reported {
                None => true,
                Some("under-replicated-partitions") => partition.isr.len() < partition.replication_factor(),
                Some("unavailable-partitions") => !live.contains(&partition.leader),
                Some("under-min-isr-partitions") => {
                    !partition.has_leader() || partition.isr.len() < topic.min_isr()
                }
                Some(_) => partition.isr.len() == topic.min_isr(),
            };
            if wanted {
                text += &partition.line(&topic.name);
            }
        }
    }
    text
}

/// The code of a value that nobody has set.
const DEFAULT_CONFIG: i8 = 5;

impl Topic {
    fn line(&self, configs: &str) -> String {
        let mut line = format!("Topic: {}", self.name);
        // Writing to a string does not fail.
        if !self.id.is_nil() {
            let _ = write!(line, "\tTopicId: {}", uuid_to_base64(self.id));
        }
        let factor = self.partitions.first().map_or(0, Partition::replication_factor);
        let count = self.partitions.len();
        let _ = writeln!(line, "\tPartitionCount: {count}\tReplicationFactor: {factor}\tConfigs: {configs}");
        line
    }

    fn min_isr(&self) -> usize {
        let config = self.configs.configs.iter().find(|config| &*config.name == "min.insync.replicas");
        config.and_then(|config| config.value.as_deref()).and_then(|value| value.parse().ok()).unwrap_or(1)
    }
}

impl Partition {
    fn has_leader(&self) -> bool {
        self.leader.0 >= 0
    }

    /// Replicas that a running reassignment adds do not count yet.
    fn replication_factor(&self) -> usize {
        match &self.reassignment {
            Some(moving) => moving.replicas.len() - moving.adding_replicas.len().min(moving.replicas.len()),
            None => self.replicas.len(),
        }
    }

    fn line(&self, topic: &str) -> String {
        let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
        let known = |ids_of: &Option<Vec<BrokerId>>| ids_of.as_deref().map_or("N/A".into(), ids);
        let leader = if self.has_leader() { self.leader.0.to_string() } else { "none".into() };
        let mut line = format!(
            "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
            self.index,
            ids(&self.replicas),
            ids(&self.isr),
        );
        if let Some(moving) = &self.reassignment {
            let (adding, removing) = (ids(&moving.adding_replicas), ids(&moving.removing_replicas));
            let _ = write!(line, "\tAdding Replicas: {adding}\tRemoving Replicas: {removing}");
        }
        let _ = writeln!(line, "\tElr: {}\tLastKnownElr: {}", known(&self.elr), known(&self.last_known_elr));
        line
    }
}
