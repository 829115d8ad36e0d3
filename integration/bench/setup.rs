//! Topics and offsets: what has to be asked around a measurement, one blocking call at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ottla_client::connection::{decode_answer, request_frame};
use ottla_client::{HeaderVersion, Request};
use ottla_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::metadata_request::MetadataRequestTopic;
use ottla_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use ottla_protocol::{ErrorCode, Offset, StrBytes, TopicRef};

pub struct Setup {
    stream: TcpStream,
}

/// A topic by name and by id, as newer requests name it.
#[derive(Clone)]
pub struct Topic {
    pub name: String,
    pub id: TopicRef,
    pub partitions: usize,
}

impl Setup {
    /// Connects as soon as somebody listens.
    pub fn connect(address: &str, within: Duration) -> Result<Setup> {
        let stream = retry(within, || Ok(TcpStream::connect(address)?))
            .with_context(|| format!("nobody listens at {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Setup { stream })
    }

    /// Creates a topic as soon as the broker can, each partition on these nodes. Where none is named, the brokers'
    /// `default.replication.factor` says on how many.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: usize,
        configs: &[(&str, &str)],
        replicas: &[i32],
        within: Duration,
    ) -> Result<Topic> {
        let on_nodes = |index: usize| {
            CreatableReplicaAssignment::default()
                .with_partition_index(index as i32)
                .with_broker_ids(replicas.iter().map(|id| (*id).into()).collect())
        };
        let placed = if replicas.is_empty() { 0 } else { partitions };
        let config = |(name, value): &(&str, &str)| {
            let text = |text: &str| StrBytes::from_string(text.into());
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_configs(configs.iter().map(config).collect())
            .with_assignments((0..placed).map(on_nodes).collect())
            .with_num_partitions(if placed > 0 { -1 } else { i32::try_from(partitions)? })
            .with_replication_factor(-1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        retry(within, || {
            let response = self.call(&request, 7)?;
            let created = response.topics.first().context("the answer names no topic")?;
            accept(created.error_code)?;
            Ok(Topic { name: name.into(), id: TopicRef::Id(created.topic_id), partitions })
        })
        .with_context(|| format!("cannot create {name}"))
    }

    /// An existing topic.
    pub fn topic(&mut self, name: &str) -> Result<Topic> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let response = self.call(&MetadataRequest::default().with_topics(Some(vec![asked])), 12)?;
        let found = response.topics.first().context("the answer names no topic")?;
        accept(found.error_code).with_context(|| format!("cannot find {name}"))?;
        Ok(Topic { name: name.into(), id: TopicRef::Id(found.topic_id), partitions: found.partitions.len() })
    }

    /// Where each partition ends, as soon as all are led.
    pub fn end_offsets(&mut self, topic: &Topic, within: Duration) -> Result<Vec<Offset>> {
        self.offsets(topic, LATEST, within)
    }

    /// Where each partition starts, as soon as all are led.
    pub fn start_offsets(&mut self, topic: &Topic, within: Duration) -> Result<Vec<Offset>> {
        self.offsets(topic, EARLIEST, within)
    }

    /// The address of each partition's leader, in the order of the partitions.
    pub fn leaders(&mut self, topic: &Topic) -> Result<Vec<String>> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(&topic.name)));
        let response = self.call(&MetadataRequest::default().with_topics(Some(vec![asked])), 12)?;
        let mut partitions =
            response.topics.into_iter().next().context("the answer names no topic")?.partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        let leader = |id| {
            let broker = response.brokers.iter().find(|broker| broker.node_id == id);
            let broker = broker.with_context(|| format!("{} is not led", topic.name))?;
            Ok(format!("{}:{}", broker.host, broker.port))
        };
        partitions.iter().map(|partition| leader(partition.leader_id)).collect()
    }

    pub fn delete_topic(&mut self, topic: &Topic) -> Result<()> {
        let TopicRef::Id(id) = topic.id else { bail!("{} has no id", topic.name) };
        let named = DeleteTopicState::default().with_topic_id(id);
        let request = DeleteTopicsRequest::default().with_topics(vec![named]).with_timeout_ms(30_000);
        let response = self.call(&request, 6)?;
        let deleted = response.responses.first().context("the answer names no topic")?;
        accept(deleted.error_code).with_context(|| format!("cannot delete {}", topic.name))
    }

    fn offsets(&mut self, topic: &Topic, timestamp: i64, within: Duration) -> Result<Vec<Offset>> {
        let partition = |index| {
            ListOffsetsPartition::default()
                .with_partition_index(index as i32)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        };
        let asked = ListOffsetsTopic::default()
            .with_name(topic_name(&topic.name))
            .with_partitions((0..topic.partitions).map(partition).collect());
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
        let attempt = || {
            let response = self.call(&request, 7)?;
            let mut found =
                response.topics.into_iter().next().context("the answer names no topic")?.partitions;
            found.sort_by_key(|partition| partition.partition_index);
            found.iter().map(|partition| accept(partition.error_code).map(|()| partition.offset)).collect()
        };
        retry(within, attempt).with_context(|| format!("{} is not led", topic.name))
    }

    /// One exchange of bytes: a whole frame out, an answer without its size in.
    pub fn exchange(&mut self, frame: &[u8]) -> Result<Bytes> {
        self.send(frame)?;
        self.receive()
    }

    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(frame)?)
    }

    /// The next answer, without its size.
    pub fn receive(&mut self) -> Result<Bytes> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut answer)?;
        Ok(answer.into())
    }

    pub fn call<Req: Request>(&mut self, request: &Req, version: i16) -> Result<Req::Response> {
        let frame = request_frame(request, version, 0, Some(CLIENT_ID)).map_err(anyhow::Error::msg)?;
        let answer = self.exchange(&frame)?;
        decode_answer(answer, Req::Response::header_version(version), version).map_err(anyhow::Error::msg)
    }
}

/// Repeats what fails, each millisecond, until it has failed for so long.
pub fn retry<T>(within: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            result => return result,
        }
    }
}

/// An error code of 0.
pub fn accept(code: i16) -> Result<()> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        error => bail!("the broker says {error:?}"),
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}

pub const CLIENT_ID: &str = "ottla-bench";
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
