//! DeleteRecords v0-2 (KIP-107). Internal topics keep theirs, and so does what is only compacted.

use bytes::Bytes;
use ottla_model::is_internal;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use ottla_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::context::{Begun, Context};
use crate::run::serve::delete_records::{Deletion, delete};

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: DeleteRecordsRequest = context.read(body)?;
    let image = broker.image.load();
    let deletions = request.topics.iter().flat_map(|topic| {
        let known = image.topic(&topic.name);
        topic.partitions.iter().map(move |asked| (topic, known, asked))
    });
    let deletions = deletions.map(|(topic, known, asked)| {
        let permitted = context.check(Operation::Delete, Resource::Topic, &topic.name);
        let find = || match known.filter(|known| known.partitions.contains_key(&asked.partition_index)) {
            None => Err(ErrorCode::UnknownTopicOrPartition),
            Some(_) if is_internal(&topic.name) => Err(ErrorCode::InvalidTopicException),
            Some(known) => broker.partitions.led(&image, known.id, asked.partition_index),
        };
        let partition = permitted.and_then(|()| find());
        Deletion { partition, before: (asked.offset != HIGH_WATERMARK).then_some(asked.offset) }
    });
    let deletions: Vec<Deletion> = deletions.collect();
    let broker = broker.clone();
    Ok(context.later(async move {
        let mut outcomes = delete(broker, deletions, request.timeout_ms).await.into_iter();
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().zip(outcomes.by_ref()).map(|(asked, outcome)| {
                let result =
                    DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                match outcome {
                    Ok(start) => result.with_low_watermark(start),
                    Err(code) => result.with_low_watermark(-1).with_error_code(code.code()),
                }
            });
            let partitions = partitions.collect();
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }))
}
