//! DescribeLogDirs v1-5 (KIP-113, KIP-827 room from v4, KIP-1066 cordoned directories from v5).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use ottla_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use tracing::warn;

use super::answers::text;
use super::context::{Begun, Context};
use crate::broker::Broker;
use crate::run::owners::storage::is_cordoned;

/// Topic and index of each partition that is asked for; none is every one.
type Wanted = Option<BTreeSet<(String, i32)>>;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: DescribeLogDirsRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::Describe) {
        let response = DescribeLogDirsResponse::default();
        // Before version 3 the answer is merely empty.
        let response = if version >= 3 { response.with_error_code(code.code()) } else { response };
        return Ok(context.now((response, Vec::new())));
    }
    let wanted: Wanted = request.topics.map(|topics| {
        let all = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |index| (topic, *index)));
        all.map(|(topic, index)| (topic.topic.to_string(), index)).collect()
    });
    let broker = broker.clone();
    // Disks may stall, and a look at a log waits for its owner.
    Ok(context.blocking(move || describe(&broker, &wanted, version)))
}

fn describe(broker: &Broker, wanted: &Wanted, version: i16) -> (DescribeLogDirsResponse, Vec<bool>) {
    let config = broker.config();
    let cordoned = &config.cordoned_log_dirs;
    let mut partitions = by_dir(broker, wanted);
    let (mut results, mut are_cordoned) = (Vec::new(), Vec::new());
    for dir in &config.log_dirs {
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
        let shown = path.to_string_lossy();
        let topics = partitions.remove(dir.as_path()).unwrap_or_default();
        let mut result = DescribeLogDirsResult::default().with_log_dir(text(&shown)).with_topics(topics);
        match room(&path) {
            _ if broker.storage.has_failed(dir) => result = failed(&shown),
            Ok((total, usable)) if version >= 4 => {
                result = result.with_total_bytes(total).with_usable_bytes(usable);
            }
            Ok(_) => {}
            Err(error) => {
                warn!(dir = %shown, %error, "cannot tell the room in a log directory");
                result = failed(&shown);
            }
        }
        are_cordoned.push(is_cordoned(cordoned, dir));
        results.push(result);
    }
    (DescribeLogDirsResponse::default().with_results(results), are_cordoned)
}

fn failed(dir: &str) -> DescribeLogDirsResult {
    let code = ErrorCode::KafkaStorageError.code();
    DescribeLogDirsResult::default().with_log_dir(text(dir)).with_error_code(code)
}

fn by_dir(broker: &Broker, wanted: &Wanted) -> BTreeMap<std::path::PathBuf, Vec<DescribeLogDirsTopic>> {
    let mut found: BTreeMap<_, BTreeMap<_, Vec<DescribeLogDirsPartition>>> = BTreeMap::new();
    for partition in broker.partitions.all() {
        let key = (partition.id.topic.to_string(), partition.id.partition);
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&key)) {
            continue;
        }
        let looked = partition.with_log(|log| (log.dir().to_owned(), log.size()));
        let Some((folder, size)) = looked else { continue };
        let Some(dir) = folder.parent() else { continue };
        let offsets = partition.place().reader.offsets();
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(key.1)
            .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX))
            .with_offset_lag((offsets.high_watermark - offsets.log_end).max(0));
        found.entry(dir.to_owned()).or_default().entry(key.0).or_default().push(described);
    }
    for copy in broker.movers.copies() {
        let key = (copy.id.topic.to_string(), copy.id.partition);
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&key)) {
            continue;
        }
        let Some(here) = broker.partitions.get(copy.topic_id, key.1) else { continue };
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(key.1)
            .with_partition_size(i64::try_from(copy.size).unwrap_or(i64::MAX))
            .with_offset_lag(here.place().reader.offsets().log_end - copy.log_end)
            .with_is_future_key(true);
        found.entry(copy.dir).or_default().entry(key.0).or_default().push(described);
    }
    let topics = |by_name: BTreeMap<String, Vec<DescribeLogDirsPartition>>| {
        let topics = by_name.into_iter().map(|(name, mut partitions)| {
            partitions.sort_by_key(|partition| partition.partition_index);
            DescribeLogDirsTopic::default().with_name(text(&name).into()).with_partitions(partitions)
        });
        topics.collect()
    };
    found.into_iter().map(|(dir, by_name)| (dir, topics(by_name))).collect()
}

// Bytes in all, and those that this process may still use.
fn room(dir: &Path) -> std::io::Result<(i64, i64)> {
    let stat = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Ok((bytes(stat.f_blocks), bytes(stat.f_bavail)))
}
