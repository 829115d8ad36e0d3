//! ListOffsets v1-11 (KIP-79 by time, KIP-98 isolation from v2, KIP-320 epochs from v4, KIP-734 max timestamp from
//! v7, KIP-405 and KIP-1005 tiers from v8 and v9, KIP-1023 from v11).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::disk::worker;
use ottla_log::log::Isolation;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use ottla_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use ottla_protocol::{ErrorCode, LeaderEpoch, list_offsets};

use super::context::{Begun, Context};
use crate::broker::Broker;
use crate::run::serve::list_offsets::{Moment, NotFound, OffsetAtTime, look_up};

/// What is looked for.
struct Search {
    request: ListOffsetsRequest,
    /// Of each topic, why the caller does not hear of it.
    refused: Vec<Option<ErrorCode>>,
    isolation: Isolation,
}

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: ListOffsetsRequest = list_offsets::read_request(version, body)?;
    let isolation = match (request.replica_id.0, request.isolation_level) {
        (-1, 0) => Isolation::HighWatermark,
        (-1, _) => Isolation::Committed,
        _ if context.check_cluster(Operation::ClusterAction).is_ok() => Isolation::LogEnd,
        // Whoever merely says to be a replica sees what a consumer sees.
        _ => Isolation::HighWatermark,
    };
    let names = request.topics.iter().map(|topic| &topic.name);
    let refused = names.map(|name| context.check(Operation::Describe, Resource::Topic, name).err()).collect();
    let search = Arc::new(Search { request, refused, isolation });
    match worker::cached_only(|| answer(broker, version, &search)) {
        Some(response) => Ok(context.now(response)),
        None => {
            let broker = broker.clone();
            Ok(context.blocking(move || {
                answer(&broker, version, &search).expect("this thread may wait for the disk")
            }))
        }
    }
}

// None: only the disk knows, and this thread may not wait for it.
fn answer(
    broker: &Broker,
    version: i16,
    Search { request, refused, isolation }: &Search,
) -> Option<ListOffsetsResponse> {
    let image = broker.image.load();
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<_> = request
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p.partition_index)))
        .filter(|key| !seen.insert(*key))
        .collect();
    let topics = request.topics.iter().zip(refused).map(|(topic, refused)| {
        let partitions = topic.partitions.iter().map(|asked| {
            let index = asked.partition_index;
            if let Some(code) = refused {
                return Some(partition_reply(index, version, Err(*code)));
            }
            if twice.contains(&(topic.name.as_str(), index)) {
                return Some(partition_reply(index, version, Err(ErrorCode::InvalidRequest)));
            }
            let moment = Moment::parse(asked.timestamp, version).map_err(NotFound::from);
            let found = moment.and_then(|moment| {
                let known = image.topic(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
                let partition = broker.partitions.led(&image, known.id, index)?;
                look_up(&partition, moment, LeaderEpoch(asked.current_leader_epoch), *isolation)
            });
            match found {
                Ok(place) => Some(partition_reply(index, version, Ok(place))),
                // Older clients do not know that one.
                Err(NotFound::Refused(ErrorCode::OffsetNotAvailable)) if version < 5 => {
                    Some(partition_reply(index, version, Err(ErrorCode::LeaderNotAvailable)))
                }
                Err(NotFound::Refused(code)) => Some(partition_reply(index, version, Err(code))),
                Err(NotFound::Cold) => None,
            }
        });
        let partitions = partitions.collect::<Option<_>>()?;
        Some(ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions))
    });
    Some(ListOffsetsResponse::default().with_topics(topics.collect::<Option<_>>()?))
}

fn partition_reply(
    index: i32,
    version: i16,
    found: Result<OffsetAtTime, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    // The epoch has no room before version 4.
    let found = found.map(|place| match version {
        ..4 => OffsetAtTime { leader_epoch: LeaderEpoch::NONE, ..place },
        _ => place,
    });
    match found {
        Ok(place) => response
            .with_offset(place.offset)
            .with_timestamp(place.timestamp)
            .with_leader_epoch(place.leader_epoch.0),
        Err(code) => {
            response.with_error_code(code.code()).with_offset(-1).with_timestamp(-1).with_leader_epoch(-1)
        }
    }
}
