//! The first record of `ottla quickstart`: into a broker and out again, over its socket like anybody's.

use anyhow::{Context, Result};
use bytes::Bytes;
use ottla_client::admin::NewTopic;
use ottla_client::consume::{FetchSpec, Isolation};
use ottla_client::produce::{Acks, NewRecord};
use ottla_client::{Cluster, ClusterOptions};
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::{Compression, DecompressLimit, batches, records};
use std::time::{SystemTime, UNIX_EPOCH};

const TOPIC: &str = "quickstart";

/// Produces a record to the topic `quickstart`, which is created if missing, and consumes it back. Returns a
/// line that says what happened, and the node that leads the topic.
pub async fn first_record(addr: &str, replicas: i16) -> Result<(String, i32)> {
    let cluster = Cluster::connect(addr, ClusterOptions::default()).await?;
    let topic = NewTopic {
        name: TOPIC.into(),
        partitions: Some(1),
        replication_factor: Some(replicas),
        ..NewTopic::default()
    };
    match cluster.create_topic(&topic, false).await {
        Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error.into()),
        _ => {}
    }
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let record =
        NewRecord { timestamp, value: Some(Bytes::from_static(b"Hello, Ottla!")), ..NewRecord::default() };
    let produced = cluster.produce_records(TOPIC, 0, Compression::None, &[record], Acks::All).await?;
    let spec = FetchSpec {
        topic: TOPIC,
        partition: 0,
        offset: produced.base_offset,
        max_wait_ms: 5_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: Isolation::ReadUncommitted,
    };
    let fetched = cluster.fetch(spec).await?;
    let (_, batch) = batches(&fetched.records).next().context("the record did not come back")??;
    let record =
        records(&batch, DecompressLimit(1 << 20))?.next().context("the record did not come back")??;
    let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
    let metadata = cluster.metadata(Some(&[TOPIC])).await?;
    let partition = metadata.topics.iter().flat_map(|topic| &topic.partitions).next();
    let partition = partition.context("the topic is gone")?;
    let nodes: Vec<String> = partition.replica_nodes.iter().map(|node| node.0.to_string()).collect();
    let on = if nodes.len() > 1 { format!(" (on nodes {})", nodes.join(", ")) } else { String::new() };
    Ok((format!("{TOPIC}-0 at offset {}{on}: {value}", record.offset), partition.leader_id.0))
}
