//! ListOffsets v1-11 (KIP-79 by time, KIP-98 isolation from v2, KIP-320 epochs from v4, KIP-734 max timestamp from
//! v7, KIP-405 and KIP-1005 tiers from v8 and v9, KIP-1023 from v11).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_log::log::Isolation;
use ottla_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use ottla_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use ottla_protocol::{ErrorCode, LeaderEpoch, list_offsets};

use super::{Begun, Body, bytes};
use crate::broker::Broker;
use crate::run::list_offsets::{Moment, Place, look_up};

pub(super) fn begin(broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: ListOffsetsRequest = list_offsets::read_request(version, body)?;
    let isolation = match (request.replica_id.0, request.isolation_level) {
        (-1, 0) => Isolation::HighWatermark,
        (-1, _) => Isolation::Committed,
        _ => Isolation::LogEnd,
    };
    let image = broker.image.load();
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<_> = request
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p.partition_index)))
        .filter(|key| !seen.insert(*key))
        .collect();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let index = asked.partition_index;
            if twice.contains(&(topic.name.as_str(), index)) {
                return partition_reply(index, version, Err(ErrorCode::InvalidRequest));
            }
            let found = Moment::parse(asked.timestamp, version).and_then(|moment| {
                let known = image.topic(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
                let partition = broker.partitions.led(&image, known.id, index)?;
                look_up(&partition, moment, LeaderEpoch(asked.current_leader_epoch), isolation)
            });
            partition_reply(index, version, found)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    let response = ListOffsetsResponse::default().with_topics(topics.collect());
    let mut buf = BytesMut::new();
    list_offsets::write_response(&response, version, &mut buf)?;
    Ok(Body::Now(bytes(buf)))
}

fn partition_reply(
    index: i32,
    version: i16,
    found: Result<Place, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    // The epoch has no room before version 4.
    let found = found.map(|place| match version {
        ..4 => Place { leader_epoch: LeaderEpoch::NONE, ..place },
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
