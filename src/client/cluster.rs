//! A cluster as a client sees it: a bootstrap list, the brokers and leaders of the last metadata answer, and
//! one connection per broker. It must never decide what to do with a partition; it only finds who leads it.

use crate::connection::{Connection, Options};
use crate::{ClientError, Request, Result, retry};
use ottla_model::NodeId;
use ottla_protocol::messages::metadata_request::MetadataRequestTopic;
use ottla_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use ottla_protocol::{ErrorCode, StrBytes};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How a cluster is used.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Of each connection.
    pub connection: Options,
    /// For a whole call with its repetitions.
    pub call_timeout: Duration,
    /// Whether asking for the leader of an unknown topic may create it.
    pub auto_create_topics: bool,
}

impl Default for ClusterOptions {
    fn default() -> ClusterOptions {
        ClusterOptions {
            connection: Options::default(),
            call_timeout: Duration::from_secs(60),
            auto_create_topics: false,
        }
    }
}

/// A client of a whole cluster. Cheap to share by reference; all calls take `&self`.
#[derive(Debug)]
pub struct Cluster {
    bootstrap: Vec<String>,
    options: ClusterOptions,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    brokers: HashMap<NodeId, String>,
    leaders: HashMap<String, TopicLeaders>,
    /// By address, so that a bootstrap connection serves as its broker's too.
    connections: HashMap<String, Connection>,
}

#[derive(Debug, Clone)]
struct TopicLeaders {
    id: uuid::Uuid,
    leaders: Vec<(i32, NodeId)>,
}

/// Who leads a partition, and how to reach it.
pub(crate) struct Leader {
    pub(crate) topic_id: uuid::Uuid,
    pub(crate) connection: Connection,
}

impl Cluster {
    /// `bootstrap` is `host:port,host:port`; at least one must answer before the call timeout.
    pub async fn connect(bootstrap: &str, options: ClusterOptions) -> Result<Cluster> {
        let bootstrap: Vec<String> =
            bootstrap.split(',').map(str::trim).filter(|peer| !peer.is_empty()).map(String::from).collect();
        let cluster = Cluster { bootstrap, options, known: Mutex::default() };
        retry::until(cluster.deadline(), || async { cluster.any().await?.versions().await }).await?;
        Ok(cluster)
    }

    /// A connection to any broker: a known one, else the first of the bootstrap list that answers. Brokers
    /// forward what only the controller can do, so it serves for every administrative call.
    pub async fn any(&self) -> Result<Connection> {
        let open = self.known().connections.values().find(|connection| !connection.is_closed()).cloned();
        if let Some(connection) = open {
            return Ok(connection);
        }
        let mut peers = self.bootstrap.clone();
        peers.extend(self.known().brokers.values().cloned());
        let mut failure =
            ClientError::Connect { peer: "the cluster".into(), reason: "no address is given".into() };
        for peer in peers {
            match self.reach(&peer).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// A connection to one broker, by node id.
    pub async fn broker(&self, node: NodeId) -> Result<Connection> {
        if !self.known().brokers.contains_key(&node) {
            self.metadata(Some(&[])).await?;
        }
        let address = self.known().brokers.get(&node).cloned();
        match address {
            Some(address) => self.reach(&address).await,
            None => {
                Err(ClientError::broker(format!("broker {}", node.0), ErrorCode::BrokerNotAvailable, None))
            }
        }
    }

    /// Brokers and topics, fresh: all topics for `None`. Errors of single topics stay in the answer.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        self.ask_metadata(topics, false).await
    }

    async fn ask_metadata(&self, topics: Option<&[&str]>, create: bool) -> Result<MetadataResponse> {
        let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(topics.map(|names| names.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(create);
        let connection = self.any().await?;
        // v10 to 11 answer topic ids too, v13 has an error of the whole; older ones lack fields only.
        let response = connection.call(&request).await?;
        ClientError::check("Metadata", response.error_code, None)?;
        self.known().learn(&response);
        Ok(response)
    }

    /// The connection to a partition's leader. Asks for metadata when it is unknown or was forgotten.
    pub(crate) async fn leader(&self, topic: &str, partition: i32) -> Result<Leader> {
        let what = || format!("the leader of {topic}-{partition}");
        if self.known().leader(topic, partition).is_none() {
            let response = self.ask_metadata(Some(&[topic]), self.options.auto_create_topics).await?;
            for topic in &response.topics {
                ClientError::check(&what(), topic.error_code, None)?;
            }
        }
        let leader = self.known().leader(topic, partition);
        let Some((topic_id, node)) = leader else {
            return Err(ClientError::broker(what(), ErrorCode::UnknownTopicOrPartition, None));
        };
        if node.0 < 0 {
            self.forget(topic);
            return Err(ClientError::broker(what(), ErrorCode::LeaderNotAvailable, None));
        }
        Ok(Leader { topic_id, connection: self.broker(node).await? })
    }

    /// Waits until every partition of a topic has a leader, which may be a moment after its creation.
    pub async fn wait_for_leaders(&self, topic: &str) -> Result<()> {
        retry::until(self.deadline(), || async {
            self.forget(topic);
            self.leader(topic, 0).await?;
            let partitions =
                self.known().leaders.get(topic).map(|topic| topic.leaders.clone()).unwrap_or_default();
            for (partition, _) in partitions {
                self.leader(topic, partition).await?;
            }
            Ok(())
        })
        .await
    }

    /// Drops what is known of a topic, after an error that says it is out of date.
    pub(crate) fn forget(&self, topic: &str) {
        self.known().leaders.remove(topic);
    }

    /// Calls any broker, repeating what is retriable until the call timeout.
    pub async fn call<Req: Request>(&self, request: &Req) -> Result<Req::Response> {
        retry::until(self.deadline(), || async { self.any().await?.call(request).await }).await
    }

    /// Runs an attempt at a partition's leader; a retriable failure forgets the leader and tries again.
    pub(crate) async fn at_leader<T, F>(
        &self,
        topic: &str,
        partition: i32,
        attempt: impl Fn(Leader) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        retry::until(self.deadline(), || async {
            let result = match self.leader(topic, partition).await {
                Ok(leader) => attempt(leader).await,
                Err(error) => Err(error),
            };
            if result.is_err() {
                self.forget(topic);
            }
            result
        })
        .await
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.call_timeout
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.options.connection.request_timeout
    }

    async fn reach(&self, address: &str) -> Result<Connection> {
        let open =
            self.known().connections.get(address).filter(|connection| !connection.is_closed()).cloned();
        if let Some(connection) = open {
            return Ok(connection);
        }
        let connection = Connection::connect_with(address, self.options.connection.clone()).await?;
        self.known().connections.insert(address.into(), connection.clone());
        Ok(connection)
    }

    // Held for a look-up only, never across an await.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn learn(&mut self, response: &MetadataResponse) {
        let address = |host: &str, port: i32| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| (NodeId(broker.node_id.0), address(&broker.host, broker.port)))
            .collect();
        for topic in response.topics.iter().filter(|topic| topic.error_code == 0) {
            let Some(name) = &topic.name else { continue };
            let leaders =
                topic.partitions.iter().map(|at| (at.partition_index, NodeId(at.leader_id.0))).collect();
            self.leaders.insert(name.0.to_string(), TopicLeaders { id: topic.topic_id, leaders });
        }
    }

    fn leader(&self, topic: &str, partition: i32) -> Option<(uuid::Uuid, NodeId)> {
        let topic = self.leaders.get(topic)?;
        let (_, node) = topic.leaders.iter().find(|(index, _)| *index == partition)?;
        Some((topic.id, *node))
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}
