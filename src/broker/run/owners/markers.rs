//! Markers on their way into partitions: the ends of transactions, as a transaction coordinator has decided them. A marker
//! goes to the leader of its partition. For a partition of `__consumer_offsets` that is a shard of the group coordinator,
//! for any other a lane. Other brokers are told by WriteTxnMarkers.
//! It must never know which transaction it is, nor try again: the coordinator does. Nor decide who writes a marker:
//! `node::marking` does.

mod elsewhere;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ottla_core::partition::Acks;
use ottla_log::disk::worker;
use ottla_model::NodeId;
use ottla_model::txn::Partitions as Named;
use ottla_node::coordinator::Ending;
use ottla_node::lane::{Answered, Append, Input};
use ottla_node::marking::{Writer, Written, all, batch, by_leader, for_coordinators, writer};
use ottla_protocol::ErrorCode;
use tokio::sync::oneshot;

pub(crate) use elsewhere::Marked;

use super::groups::GroupCoordinator;
use super::partition::Partition;
use super::partitions::Partitions;
use super::waiter::Appender;
use crate::clock::now_ms;
use crate::run::owners::metadata::Metadata;
use crate::run::work::post::Post;

/// Writes markers.
pub(crate) struct MarkerWriter {
    pub me: NodeId,
    pub image: Arc<Metadata>,
    pub partitions: Arc<Partitions>,
    pub groups: Arc<GroupCoordinator>,
    /// For partitions that other brokers lead.
    pub post: Post<Marked>,
    /// How long a marker waits for replication, in milliseconds.
    pub timeout_ms: i64,
}

type Outcome = Pin<Box<dyn Future<Output = ErrorCode> + Send>>;

/// What became of the markers that one leader was sent.
pub(super) type Share = Pin<Box<dyn Future<Output = Written> + Send>>;

impl MarkerWriter {
    /// Has a marker written into each of the partitions: a share for each of their leaders. A partition whose leader was not
    /// reached has an error.
    pub fn write(&self, ending: Ending, partitions: &Named) -> Vec<Share> {
        let share = |(leader, partitions)| match leader {
            Some(leader) if leader == self.me => self.write_all_here(ending, partitions),
            Some(leader) => self.write_elsewhere(leader, ending, partitions),
            None => Box::pin(std::future::ready(all(&partitions, ErrorCode::LeaderNotAvailable))),
        };
        by_leader(&self.image.load(), partitions).into_iter().map(share).collect()
    }

    fn write_all_here(&self, ending: Ending, partitions: Named) -> Share {
        let mut begun = Vec::new();
        for (topic, indexes) in partitions {
            for index in indexes {
                begun.push((topic.clone(), index, self.write_here(ending, &topic, index)));
            }
        }
        Box::pin(async move {
            let mut written = Vec::with_capacity(begun.len());
            for (topic, index, outcome) in begun {
                written.push((topic, index, outcome.await));
            }
            written
        })
    }

    fn write_elsewhere(&self, leader: NodeId, ending: Ending, partitions: Named) -> Share {
        let unanswered = all(&partitions, ErrorCode::NetworkException);
        let answer = self.post.send(leader, Marked { ending, partitions });
        Box::pin(async move { answer.await.unwrap_or(unanswered) })
    }

    /// Begins to write a marker into a partition that this broker leads, and returns what it will have come to: the marker
    /// is replicated, or an error.
    pub fn write_here(&self, ending: Ending, topic: &str, index: i32) -> Outcome {
        let image = self.image.load();
        match writer(&image, topic, index) {
            Ok(Writer::Shard(shard)) => {
                let ended = self.groups.end_transaction(shard, ending);
                Box::pin(async move { for_coordinators(ended.await) })
            }
            Ok(Writer::Lane(topic, index)) => match self.partitions.led(&image, topic, index) {
                Ok(partition) => self.append(&partition, ending),
                Err(code) => known(code),
            },
            Err(code) => known(code),
        }
    }

    fn append(&self, partition: &Arc<Partition>, ending: Ending) -> Outcome {
        let (now, config) = (now_ms(), partition.config.load_full());
        let batch = match batch(now, &ending, &partition.id, &config) {
            Ok(batch) => batch,
            Err(code) => return known(code),
        };
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

fn known(code: ErrorCode) -> Outcome {
    Box::pin(std::future::ready(code))
}
