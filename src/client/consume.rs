//! Consuming: fetch from one partition, and offsets by time. It must never keep a position; the caller does.

use crate::cluster::{Cluster, topic_name};
use crate::produce::missing;
use crate::{ClientError, Connection, Result};
use bytes::Bytes;
use ottla_protocol::Offset;
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::messages::fetch_response::PartitionData;
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::{FetchRequest, ListOffsetsRequest};

/// Which records a reader may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// Everything below the last stable offset.
    ReadCommitted,
}

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchSpec<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: Offset,
    /// The broker waits this long for `min_bytes`.
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub isolation: Isolation,
}

/// What a fetch brought: whole batches, the first of which may start before the offset asked for.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub records: Bytes,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    /// -1 from brokers that do not say.
    pub log_start_offset: Offset,
    /// Producer id and first offset of each aborted transaction in the range, for read_committed.
    pub aborted: Vec<(i64, Offset)>,
}

/// An offset found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub partition: i32,
    /// -1 where there is none.
    pub offset: Offset,
    pub timestamp: i64,
}

/// Where to read on in a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub topic: String,
    pub partition: i32,
    pub offset: Offset,
}

/// How long a poll waits and how much it brings.
#[derive(Clone, Copy, Debug)]
pub struct PollLimits {
    pub max_wait_ms: i32,
    pub partition_max_bytes: i32,
    pub isolation: Isolation,
}

impl Cluster {
    /// One fetch from many partitions, one request for each leader, all at once. Each partition's outcome comes
    /// with its index in `positions`; those that had nothing are left out. A partition whose leader is unknown
    /// or has moved is retriable: poll again.
    pub async fn poll(&self, positions: &[Position], limits: PollLimits) -> Vec<(usize, Result<Fetched>)> {
        let mut outcomes = Vec::new();
        let mut asked = Vec::new();
        for (connection, parts) in self.by_leader(positions, limits, &mut outcomes).await {
            let request = FetchRequest::default()
                .with_max_wait_ms(limits.max_wait_ms)
                .with_min_bytes(1)
                .with_max_bytes(50 << 20)
                .with_isolation_level(limits.isolation as i8)
                .with_session_epoch(-1)
                .with_topics(parts.iter().map(|part| part.topic.clone()).collect());
            let pending = match connection.version_of::<FetchRequest>().await {
                Ok(version) => connection.submit(&request, version).await,
                Err(error) => Err(error),
            };
            asked.push((pending, parts));
        }
        for (pending, parts) in asked {
            let answer = match pending {
                Ok(pending) => pending.answer().await,
                Err(error) => Err(error),
            };
            let answer = answer.and_then(|answer| {
                ClientError::check("fetching", answer.error_code, None)?;
                Ok(answer)
            });
            match answer {
                Ok(answer) => {
                    for topic in answer.responses {
                        for data in topic.partitions {
                            let is_meant = |part: &&Part| {
                                let same =
                                    part.topic.topic == topic.topic || part.topic.topic_id == topic.topic_id;
                                let names_topic = !topic.topic.is_empty() || !topic.topic_id.is_nil();
                                same && names_topic && positions[part.index].partition == data.partition_index
                            };
                            let Some(part) = parts.iter().find(is_meant) else { continue };
                            let Position { topic, partition, .. } = &positions[part.index];
                            let fetched = Fetched::new(&format!("fetching from {topic}-{partition}"), data);
                            if fetched.is_err() {
                                self.forget(topic);
                            }
                            outcomes.push((part.index, fetched));
                        }
                    }
                }
                Err(error) => {
                    for part in parts {
                        self.forget(&positions[part.index].topic);
                        outcomes.push((part.index, Err(error.clone())));
                    }
                }
            }
        }
        outcomes.retain(|(_, fetched)| fetched.as_ref().map_or(true, |fetched| !fetched.records.is_empty()));
        outcomes
    }

    /// What to ask of each leader; partitions without one are outcomes already.
    async fn by_leader(
        &self,
        positions: &[Position],
        limits: PollLimits,
        outcomes: &mut Vec<(usize, Result<Fetched>)>,
    ) -> Vec<(Connection, Vec<Part>)> {
        let mut leaders: Vec<(Connection, Vec<Part>)> = Vec::new();
        for (index, position) in positions.iter().enumerate() {
            let leader = match self.leader(&position.topic, position.partition).await {
                Ok(leader) => leader,
                Err(error) => {
                    outcomes.push((index, Err(error)));
                    continue;
                }
            };
            let at = fetch_partition(position.partition, position.offset, limits.partition_max_bytes);
            let topic = FetchTopic::default()
                .with_topic(topic_name(&position.topic))
                .with_topic_id(leader.topic_id)
                .with_partitions(vec![at]);
            let part = Part { index, topic };
            match leaders.iter_mut().find(|(connection, _)| connection.peer() == leader.connection.peer()) {
                Some((_, parts)) => parts.push(part),
                None => leaders.push((leader.connection, vec![part])),
            }
        }
        leaders
    }

    /// One fetch from a partition's leader.
    pub async fn fetch(&self, spec: FetchSpec<'_>) -> Result<Fetched> {
        let what = format!("fetching from {}-{}", spec.topic, spec.partition);
        self.at_leader(spec.topic, spec.partition, |leader| {
            let request = fetch_request(&spec, leader.topic_id);
            let what = &what;
            async move {
                let response = leader.connection.call(&request).await?;
                ClientError::check(what, response.error_code, None)?;
                let answer = response.responses.into_iter().next();
                let answer = answer.and_then(|topic| topic.partitions.into_iter().next());
                let Some(answer) = answer else { return Err(missing(&leader.connection, "Fetch")) };
                Fetched::new(what, answer)
            }
        })
        .await
    }

    /// The first offset whose record is at or after `timestamp` in each partition, or a special timestamp:
    /// -1 latest, -2 earliest, -3 of the largest timestamp, -4 earliest local, -5 latest tiered (KIP-1005).
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        isolation: Isolation,
    ) -> Result<Vec<FoundOffset>> {
        let mut found = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            found.push(self.list_offset(topic, partition, timestamp, isolation).await?);
        }
        Ok(found)
    }

    async fn list_offset(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
        isolation: Isolation,
    ) -> Result<FoundOffset> {
        let at = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let at = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![at]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(isolation as i8)
            .with_topics(vec![at]);
        self.at_leader(topic, partition, |leader| {
            let request = request.clone();
            async move {
                let response = leader.connection.call(&request).await?;
                let answer = response.topics.first().and_then(|topic| topic.partitions.first());
                let Some(answer) = answer else { return Err(missing(&leader.connection, "ListOffsets")) };
                ClientError::check(
                    &format!("listing offsets of {topic}-{partition}"),
                    answer.error_code,
                    None,
                )?;
                Ok(FoundOffset { partition, offset: answer.offset, timestamp: answer.timestamp })
            }
        })
        .await
    }
}

/// One partition of a request to a leader.
struct Part {
    index: usize,
    topic: FetchTopic,
}

impl Fetched {
    fn new(what: &str, answer: PartitionData) -> Result<Fetched> {
        ClientError::check(what, answer.error_code, None)?;
        let aborted = answer.aborted_transactions.unwrap_or_default();
        Ok(Fetched {
            records: answer.records.unwrap_or_default(),
            high_watermark: answer.high_watermark,
            last_stable_offset: answer.last_stable_offset,
            log_start_offset: answer.log_start_offset,
            aborted: aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect(),
        })
    }
}

fn fetch_partition(partition: i32, offset: Offset, max_bytes: i32) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(max_bytes)
}

fn fetch_request(spec: &FetchSpec<'_>, topic_id: uuid::Uuid) -> FetchRequest {
    let at = fetch_partition(spec.partition, spec.offset, spec.max_bytes);
    let at = FetchTopic::default()
        .with_topic(topic_name(spec.topic))
        .with_topic_id(topic_id)
        .with_partitions(vec![at]);
    // Session epoch -1: a full request outside any session (KIP-227).
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(spec.max_wait_ms)
        .with_min_bytes(spec.min_bytes)
        .with_max_bytes(spec.max_bytes)
        .with_isolation_level(spec.isolation as i8)
        .with_session_epoch(-1)
        .with_topics(vec![at])
}
