//! Administrative calls: topics, partitions, configs, the cluster itself. One function per call, each turning
//! a broker's error code into an error. It must never decide whether a call is allowed or sensible.

use crate::cluster::{Cluster, topic_name};
use crate::{ClientError, Result};
use kafka_protocol::protocol::Request;
use ottla_model::NodeId;
use ottla_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use ottla_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use ottla_protocol::messages::create_topics_response::CreatableTopicResult;
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::messages::describe_configs_response::DescribeConfigsResult;
use ottla_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use ottla_protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use ottla_protocol::messages::list_partition_reassignments_response::OngoingTopicReassignment;
use ottla_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeClusterResponse, DescribeConfigsRequest, DescribeTopicPartitionsRequest,
    ListPartitionReassignmentsRequest,
};
use ottla_protocol::{ErrorCode, StrBytes};

/// A topic to create. `None` leaves the number to the broker's defaults.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    /// Replicas per partition, from partition 0; instead of the two numbers.
    pub assignments: Vec<Vec<NodeId>>,
    pub configs: Vec<(String, String)>,
}

/// A resource whose configs can be described, with Kafka's type code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic(String),
    /// `None` is the cluster-wide default of all brokers.
    Broker(Option<NodeId>),
}

impl Cluster {
    /// Creates a topic, or only checks whether it could be.
    pub async fn create_topic(&self, topic: &NewTopic, validate_only: bool) -> Result<CreatableTopicResult> {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable(topic)])
            .with_timeout_ms(self.timeout_ms())
            .with_validate_only(validate_only);
        let response = self.call(&request).await?;
        let what = format!("creating topic {}", topic.name);
        let Some(result) = response.topics.into_iter().next() else { return Err(nothing_said(what)) };
        ClientError::check(&what, result.error_code, result.error_message.as_deref())?;
        Ok(result)
    }

    /// Deletes a topic by name.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest::default().with_timeout_ms(self.timeout_ms());
        // Names moved into a structure of their own in v6.
        let request = match self.any().await?.version_of::<DeleteTopicsRequest>().await? {
            ..6 => request.with_topic_names(vec![topic_name(name)]),
            _ => request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(name)))]),
        };
        let response = self.call(&request).await?;
        self.forget(name);
        let what = format!("deleting topic {name}");
        let Some(result) = response.responses.first() else { return Err(nothing_said(what)) };
        ClientError::check(&what, result.error_code, result.error_message.as_deref())
    }

    /// Raises a topic's number of partitions to `count`, the new ones on `assignments` if there are any.
    pub async fn create_partitions(
        &self,
        topic: &str,
        count: i32,
        assignments: &[Vec<NodeId>],
    ) -> Result<()> {
        let assignments: Vec<_> = assignments
            .iter()
            .map(|replicas| CreatePartitionsAssignment::default().with_broker_ids(broker_ids(replicas)))
            .collect();
        let new = CreatePartitionsTopic::default()
            .with_name(topic_name(topic))
            .with_count(count)
            .with_assignments((!assignments.is_empty()).then_some(assignments));
        let request =
            CreatePartitionsRequest::default().with_topics(vec![new]).with_timeout_ms(self.timeout_ms());
        let response = self.call(&request).await?;
        self.forget(topic);
        let what = format!("adding partitions to {topic}");
        let Some(result) = response.results.first() else { return Err(nothing_said(what)) };
        ClientError::check(&what, result.error_code, result.error_message.as_deref())
    }

    /// All configs of a resource. A broker is asked itself, a topic's are known everywhere.
    pub async fn describe_configs(&self, resource: &Resource) -> Result<DescribeConfigsResult> {
        let (kind, name, connection) = match resource {
            Resource::Topic(name) => (2, name.clone(), self.any().await?),
            Resource::Broker(Some(node)) => (4, node.0.to_string(), self.broker(*node).await?),
            Resource::Broker(None) => (4, String::new(), self.any().await?),
        };
        let what = format!("describing configs of {name}");
        let asked = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_string(name))
            .with_configuration_keys(None);
        let request =
            DescribeConfigsRequest::default().with_resources(vec![asked]).with_include_synonyms(true);
        let response = connection.call(&request).await?;
        let Some(result) = response.results.into_iter().next() else { return Err(nothing_said(what)) };
        ClientError::check(&what, result.error_code, result.error_message.as_deref())?;
        Ok(result)
    }

    /// Brokers, controller and cluster id.
    pub async fn describe_cluster(&self) -> Result<DescribeClusterResponse> {
        let response = self.call(&DescribeClusterRequest::default()).await?;
        ClientError::check("describing the cluster", response.error_code, response.error_message.as_deref())?;
        Ok(response)
    }

    /// Topics with everything known of their partitions, eligible leader replicas (KIP-966) included; errors
    /// of single topics stay in the answer. `partitions_per_answer` bounds each page.
    pub async fn describe_topics(
        &self,
        names: &[String],
        partitions_per_answer: i32,
    ) -> Result<Vec<DescribeTopicPartitionsResponseTopic>> {
        let topics: Vec<_> =
            names.iter().map(|name| TopicRequest::default().with_name(topic_name(name))).collect();
        let mut request = DescribeTopicPartitionsRequest::default()
            .with_topics(topics)
            .with_response_partition_limit(partitions_per_answer);
        let mut described: Vec<DescribeTopicPartitionsResponseTopic> = Vec::new();
        loop {
            let response = self.call(&request).await?;
            for topic in response.topics {
                // A page may end inside a topic, which the next one then goes on with.
                match described.last_mut() {
                    Some(last) if last.name == topic.name => last.partitions.extend(topic.partitions),
                    _ => described.push(topic),
                }
            }
            let Some(next) = response.next_cursor else { return Ok(described) };
            request.topics.retain(|topic| topic.name >= next.topic_name);
            let cursor =
                Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
            request.cursor = Some(cursor);
        }
    }

    /// Whether every broker that may answer can describe topics with their eligible leader replicas.
    pub async fn describes_topic_partitions(&self) -> Result<bool> {
        Ok(self.any().await?.versions().await?.newest::<DescribeTopicPartitionsRequest>().is_some())
    }

    /// Reassignments that are under way; empty where the cluster does not serve the call.
    pub async fn reassignments(&self) -> Result<Vec<OngoingTopicReassignment>> {
        let versions = self.any().await?.versions().await?;
        if versions.range(ListPartitionReassignmentsRequest::KEY).is_none() {
            return Ok(Vec::new());
        }
        let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(self.timeout_ms());
        let response = self.call(&request).await?;
        ClientError::check("listing reassignments", response.error_code, response.error_message.as_deref())?;
        Ok(response.topics)
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.request_timeout().as_millis()).unwrap_or(i32::MAX)
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assignments: Vec<_> = (0..)
        .zip(&topic.assignments)
        .map(|(index, replicas)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(index)
                .with_broker_ids(broker_ids(replicas))
        })
        .collect();
    let config = |(name, value): &(String, String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    };
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions.unwrap_or(-1))
        .with_replication_factor(topic.replication_factor.unwrap_or(-1))
        .with_assignments(assignments)
        .with_configs(topic.configs.iter().map(config).collect())
}

fn broker_ids(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|node| BrokerId(node.0)).collect()
}

fn nothing_said(what: String) -> ClientError {
    ClientError::broker(what, ErrorCode::UnknownServerError, Some("the answer leaves out what was asked for"))
}
