//! OffsetForLeaderEpoch v2-4 (KIP-101, KIP-279; KIP-320 for consumers): where an epoch ends, so that a reader can tell
//! whether the log it read from is still this one.

use bytes::Bytes;
use ottla_core::partition::fence;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use ottla_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::context::{Begun, Context};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: OffsetForLeaderEpochRequest = context.read(body)?;
    let image = broker.image.load();
    // Brokers, which need not name topics one by one, and consumers.
    let broker_asks = context.check_cluster(Operation::ClusterAction).is_ok();
    let topics = request.topics.iter().map(|topic| {
        let permitted = match broker_asks {
            true => Ok(()),
            false => context.check(Operation::Describe, Resource::Topic, &topic.topic),
        };
        let partitions = topic.partitions.iter().map(|asked| {
            let known = || image.topic(&topic.topic).ok_or(ErrorCode::UnknownTopicOrPartition);
            let led = permitted
                .and_then(|()| known())
                .and_then(|known| broker.partitions.led(&image, known.id, asked.partition));
            let found = led.and_then(|partition| {
                let current = partition.leader_epoch();
                fence(current, LeaderEpoch(asked.current_leader_epoch))?;
                Ok(partition.place().reader.epoch_end_under(current, LeaderEpoch(asked.leader_epoch)))
            });
            let (code, (epoch, end)) = match found {
                Ok(found) => (ErrorCode::None, found),
                Err(code) => (code, (LeaderEpoch::NONE, -1)),
            };
            EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_error_code(code.code())
                .with_leader_epoch(epoch.0)
                .with_end_offset(end)
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    Ok(context.now(response))
}
