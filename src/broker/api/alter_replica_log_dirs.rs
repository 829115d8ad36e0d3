//! AlterReplicaLogDirs v1-2 (KIP-113): moves replicas of this broker to other log directories of it. Answered once the
//! moves are under way; DescribeLogDirs tells how far they have come.

use bytes::Bytes;
use ottla_model::{FolderSuffix, PartitionFolder, TopicPartition, check_topic_name};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use ottla_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use tracing::{error, warn};
use uuid::Uuid;

use super::context::{Begun, Context};
use crate::broker::Broker;
use crate::run::owners::storage::is_cordoned;

const FILE_NAME_BYTES_MAX: usize = 255;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: AlterReplicaLogDirsRequest = context.read(body)?;
    let permitted = context.check_cluster(Operation::Alter);
    let broker = broker.clone();
    // Each move begins with a folder, and disks may stall.
    Ok(context.blocking(move || answer(&broker, &request, permitted)))
}

fn answer(
    broker: &Broker,
    request: &AlterReplicaLogDirsRequest,
    permitted: Result<(), ErrorCode>,
) -> AlterReplicaLogDirsResponse {
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let partitions = topic.partitions.iter().map(|index| {
                let id = TopicPartition { topic: topic.name.as_str().into(), partition: *index };
                let outcome = permitted.and_then(|()| alter(broker, id.clone(), &dir.path));
                if let Err(code) = outcome {
                    warn!(partition = %id, to = dir.path.as_str(), code = code.name(), "cannot move the partition");
                }
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(outcome.err().unwrap_or(ErrorCode::None).code())
            });
            let partitions: Vec<_> = partitions.collect();
            // A topic may go to several directories.
            match results.iter_mut().find(|result| result.topic_name == topic.name) {
                Some(result) => result.partitions.extend(partitions),
                None => results.push(
                    AlterReplicaLogDirTopicResult::default()
                        .with_topic_name(topic.name.clone())
                        .with_partitions(partitions),
                ),
            }
        }
    }
    AlterReplicaLogDirsResponse::default().with_results(results)
}

fn alter(broker: &Broker, id: TopicPartition, path: &str) -> Result<(), ErrorCode> {
    if PartitionFolder::marked(&id, FolderSuffix::Future, Uuid::nil()).len() > FILE_NAME_BYTES_MAX {
        return Err(ErrorCode::InvalidTopicException);
    }
    let to = broker.storage.log_dir(path).ok_or(ErrorCode::LogDirNotFound)?;
    if broker.storage.has_failed(to) {
        return Err(ErrorCode::KafkaStorageError);
    }
    if is_cordoned(&broker.config().cordoned_log_dirs, to) {
        return Err(ErrorCode::InvalidReplicaAssignment);
    }
    let image = broker.image.load();
    let topic = image.topic(&id.topic);
    if topic.is_some_and(|topic| broker.partitions.is_offline(topic.id, id.partition)) {
        return Err(ErrorCode::KafkaStorageError);
    }
    let Some(partition) = topic.and_then(|topic| broker.partitions.get(topic.id, id.partition)) else {
        let known = topic.is_some_and(|topic| topic.partitions.contains_key(&id.partition));
        // That is where its log will be made, should this broker get a replica.
        if check_topic_name(&id.topic).is_ok() {
            broker.storage.prefer(id, to);
        }
        return Err(if known { ErrorCode::ReplicaNotAvailable } else { ErrorCode::UnknownTopicOrPartition });
    };
    broker.movers.send(&partition, to).map_err(|error| {
        error!(partition = %partition.id, to = %to.display(), %error, "cannot begin to move the partition");
        ErrorCode::KafkaStorageError
    })
}
