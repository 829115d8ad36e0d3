//! Markers on their way into partitions: the ends of transactions, as a transaction coordinator has decided them. A marker
//! goes to the leader of its partition. For a partition of `__consumer_offsets` that is a shard of the group coordinator,
//! for any other a lane.
//! It must never know which transaction it is, nor try again: the coordinator does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ottla_core::partition::Acks;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::disk::worker;
use ottla_model::image::Image;
use ottla_model::txn::Partitions as Named;
use ottla_model::{GROUP_METADATA_TOPIC, NodeId, TopicName};
use ottla_node::coordinator::{Ending, marker};
use ottla_node::lane::{Answered, Append, Input};
use ottla_protocol::ErrorCode;
use tokio::sync::oneshot;

use super::groups::GroupCoordinator;
use super::partition::Partition;
use super::partitions::Partitions;
use super::waiter::Appender;
use crate::clock::now_ms;
use crate::run::owners::metadata::Metadata;

/// Writes markers.
pub(crate) struct MarkerWriter {
    pub me: NodeId,
    pub image: Arc<Metadata>,
    pub partitions: Arc<Partitions>,
    pub groups: Arc<GroupCoordinator>,
    /// How long a marker waits for replication, in milliseconds.
    pub timeout_ms: i64,
}

/// Where the leader of a partition is.
enum Leader {
    Here,
    Elsewhere,
    Nobody,
}

type Outcome = Pin<Box<dyn Future<Output = ErrorCode> + Send>>;

impl MarkerWriter {
    /// Has a marker written into each of the partitions. A partition whose leader was not reached has an error.
    pub async fn write(&self, ending: Ending, partitions: &Named) -> Vec<(TopicName, i32, ErrorCode)> {
        let image = self.image.load_full();
        let mut begun = Vec::new();
        for (topic, indexes) in partitions {
            for index in indexes {
                let outcome = match self.leader(&image, topic, *index) {
                    Leader::Here => self.write_here(ending, topic, *index),
                    // Brokers do not send each other markers yet.
                    Leader::Elsewhere => known(ErrorCode::NotLeaderOrFollower),
                    Leader::Nobody => known(ErrorCode::LeaderNotAvailable),
                };
                begun.push((topic.clone(), *index, outcome));
            }
        }
        let mut written = Vec::with_capacity(begun.len());
        for (topic, index, outcome) in begun {
            written.push((topic, index, outcome.await));
        }
        written
    }

    fn leader(&self, image: &Image, topic: &str, index: i32) -> Leader {
        match image.partition(topic, index).and_then(|partition| partition.leader) {
            Some(leader) if leader == self.me => Leader::Here,
            Some(_) => Leader::Elsewhere,
            None => Leader::Nobody,
        }
    }

    /// Begins to write a marker into a partition that this broker leads, and returns what it will have come to: the marker
    /// is replicated, or an error.
    pub fn write_here(&self, ending: Ending, topic: &str, index: i32) -> Outcome {
        if topic == GROUP_METADATA_TOPIC {
            let ended = self.groups.end_transaction(index, ending);
            return Box::pin(async move { for_coordinators(ended.await) });
        }
        let image = self.image.load();
        let Some(known_topic) = image.topic(topic) else { return known(ErrorCode::UnknownTopicOrPartition) };
        match self.partitions.led(&image, known_topic.id, index) {
            Ok(partition) => self.append(&partition, ending),
            Err(code) => known(code),
        }
    }

    fn append(&self, partition: &Arc<Partition>, ending: Ending) -> Outcome {
        let (now, config) = (now_ms(), partition.config.load_full());
        let rules = Rules {
            partition: &partition.id,
            topic: &config,
            origin: Origin::Coordinator,
            now_ms: now,
            produce_version: -1,
        };
        let checked = check(marker(now, &ending), &rules).map_err(|rejected| rejected.code);
        let mut batch = match checked.map(|mut batches| batches.pop()) {
            Ok(Some(batch)) => batch,
            Ok(None) => return known(ErrorCode::UnknownServerError),
            Err(code) => return known(code),
        };
        batch.transaction_version = ending.version.0;
        let (waiting, answer) = oneshot::channel();
        // The task that runs this may be on another thread than before, which serves clients, too.
        worker::mark();
        partition.submit(Input::Append(Append {
            token: Appender::Broker(waiting),
            batch,
            acks: Acks::All,
            answered: Answered::WhenSafe,
            checked_against: config,
            deadline_ms: now.saturating_add(self.timeout_ms),
        }));
        Box::pin(async move {
            match answer.await.unwrap_or(Err(ErrorCode::KafkaStorageError)) {
                Ok(_) => ErrorCode::None,
                Err(code) => code,
            }
        })
    }
}

/// Coordinators of transactions know no errors of group coordinators: one that is not ready leads no partition yet.
fn for_coordinators(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NotCoordinator => ErrorCode::NotLeaderOrFollower,
        other => other,
    }
}

fn known(code: ErrorCode) -> Outcome {
    Box::pin(std::future::ready(code))
}
