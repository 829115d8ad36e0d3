//! Markers on their way into partitions, as a transaction coordinator has decided them: who leads each partition, which
//! owner writes the marker there, and what the coordinator is told. A partition of `__consumer_offsets` belongs to a shard of
//! the group coordinator, any other to its lane. It must never send or append: its shell does, which is the broker or
//! the simulator.

use std::collections::BTreeMap;

use ottla_core::txn::Markers;
use ottla_log::CheckedBatch;
use ottla_log::check::{Origin, Rules, check};
use ottla_model::config::TopicConfig;
use ottla_model::image::Image;
use ottla_model::txn::Partitions;
use ottla_model::{GROUP_METADATA_TOPIC, NodeId, TopicId, TopicName, TopicPartition};
use ottla_protocol::ErrorCode;

use crate::coordinator::{Ending, marker};

/// Who writes a marker at its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// A shard of the group coordinator.
    Shard(i32),
    Lane(TopicId, i32),
}

/// What each partition came to.
pub type Written = Vec<(TopicName, i32, ErrorCode)>;

/// The end of a transaction that its coordinator has decided.
pub fn ending(markers: &Markers) -> Ending {
    Ending {
        producer: markers.producer,
        result: markers.result,
        coordinator_epoch: markers.coordinator_epoch,
        version: markers.client_version,
    }
}

/// The partitions of each leader. `None`: those that have none.
pub fn by_leader(image: &Image, partitions: &Partitions) -> BTreeMap<Option<NodeId>, Partitions> {
    let mut by_leader: BTreeMap<Option<NodeId>, Partitions> = BTreeMap::new();
    for (topic, indexes) in partitions {
        for index in indexes {
            let leader = image.partition(topic, *index).and_then(|partition| partition.leader);
            by_leader.entry(leader).or_default().entry(topic.clone()).or_default().insert(*index);
        }
    }
    by_leader
}

/// Who writes the marker of a partition that is led here.
pub fn writer(image: &Image, topic: &str, index: i32) -> Result<Writer, ErrorCode> {
    if topic == GROUP_METADATA_TOPIC {
        return Ok(Writer::Shard(index));
    }
    image.topic(topic).map(|known| Writer::Lane(known.id, index)).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// The marker as a lane appends it.
pub fn batch(
    now_ms: i64,
    ending: &Ending,
    partition: &TopicPartition,
    topic: &TopicConfig,
) -> Result<CheckedBatch, ErrorCode> {
    let rules = Rules { partition, topic, origin: Origin::Coordinator, now_ms, produce_version: -1 };
    let mut batches = check(marker(now_ms, ending), &rules).map_err(|rejected| rejected.code)?;
    let mut batch = batches.pop().ok_or(ErrorCode::UnknownServerError)?;
    batch.transaction_version = ending.version.0;
    Ok(batch)
}

/// Coordinators of transactions know no errors of group coordinators: one that is not ready leads no partition yet.
pub fn for_coordinators(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NotCoordinator => ErrorCode::NotLeaderOrFollower,
        other => other,
    }
}

/// The same for all of the partitions.
pub fn all(partitions: &Partitions, code: ErrorCode) -> Written {
    let each =
        partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |index| (topic, *index)));
    each.map(|(topic, index)| (topic.clone(), index, code)).collect()
}
