//! Producing: one record batch to one partition's leader. It must never choose a partition or compress;
//! whoever calls brings a finished batch.

use crate::cluster::{Cluster, topic_name};
use crate::{ClientError, Result};
use bytes::Bytes;
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::messages::ProduceRequest;
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::{LeaderEpoch, Offset};

/// How many replicas must have a batch before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// The leader.
    Leader,
    /// All in-sync replicas.
    All,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// Milliseconds; -1 unless the topic stamps on append.
    pub log_append_time_ms: i64,
    /// The partition's first offset.
    pub log_start_offset: Offset,
}

/// A record to send; the timestamp is in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Cluster {
    /// Sends a finished batch, again on retriable errors. Without a producer id in the batch a repetition
    /// can write it twice, as with any client that is not idempotent.
    pub async fn produce(&self, topic: &str, partition: i32, batch: Bytes, acks: Acks) -> Result<Produced> {
        let acks = match acks {
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let timeout_ms = i32::try_from(self.request_timeout().as_millis()).unwrap_or(i32::MAX);
        self.at_leader(topic, partition, |leader| {
            let data =
                PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone()));
            let data = TopicProduceData::default()
                .with_name(topic_name(topic))
                .with_topic_id(leader.topic_id)
                .with_partition_data(vec![data]);
            let request = ProduceRequest::default()
                .with_acks(acks)
                .with_timeout_ms(timeout_ms)
                .with_topic_data(vec![data]);
            async move {
                let response = leader.connection.call(&request).await?;
                let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
                let Some(answer) = answer else {
                    return Err(missing(&leader.connection, "Produce"));
                };
                let what = format!("producing to {topic}-{partition}");
                ClientError::check(&what, answer.error_code, answer.error_message.as_deref())?;
                Ok(Produced {
                    base_offset: answer.base_offset,
                    log_append_time_ms: answer.log_append_time_ms,
                    log_start_offset: answer.log_start_offset,
                })
            }
        })
        .await
    }

    /// Sends records as one batch.
    pub async fn produce_records(
        &self,
        topic: &str,
        partition: i32,
        compression: Compression,
        records: &[NewRecord],
        acks: Acks,
    ) -> Result<Produced> {
        self.produce(topic, partition, batch_of(compression, records), acks).await
    }
}

/// One batch of records, as a producer sends it: base offset 0, no leader epoch.
pub fn batch_of(compression: Compression, records: &[NewRecord]) -> Bytes {
    let mut batch = BatchBuilder::new(compression);
    for NewRecord { timestamp, key, value, headers } in records {
        let headers: Vec<_> = headers.iter().map(|(key, value)| (key.as_ref(), value.as_deref())).collect();
        batch.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    batch.build(0, LeaderEpoch::NONE)
}

pub(crate) fn missing(connection: &crate::Connection, what: &str) -> ClientError {
    ClientError::Malformed {
        peer: connection.peer().into(),
        what: format!("the answer to {what}"),
        reason: "it leaves out what was asked for".into(),
    }
}
