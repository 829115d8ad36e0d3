//! How topics, partitions and brokers look to a client; what Metadata and its younger relatives share.

use ottla_model::NodeId;
use ottla_model::image::{Broker as Known, Endpoint, Image, Partition, Topic};
use ottla_protocol::ErrorCode;

use crate::broker::Broker;

/// A partition as a client sees it by one listener.
pub(super) struct VisiblePartition {
    pub error: ErrorCode,
    pub leader: i32,
    pub offline: Vec<NodeId>,
}

/// What a look at partitions needs.
#[derive(Clone, Copy)]
pub(super) struct Viewer<'a> {
    pub broker: &'a Broker,
    pub image: &'a Image,
    pub listener: &'a str,
}

pub(super) fn see(viewer: Viewer<'_>, topic: &Topic, index: i32, partition: &Partition) -> VisiblePartition {
    let Viewer { broker, image, listener } = viewer;
    // A log that is offline is led by nobody, whatever the metadata says of it.
    if partition.leader == Some(broker.me) && broker.partitions.is_offline(topic.id, index) {
        return VisiblePartition {
            error: ErrorCode::LeaderNotAvailable,
            leader: -1,
            offline: vec![broker.me],
        };
    }
    let alive = |id: &NodeId| image.broker(*id).is_some_and(|b| !b.fenced);
    let offline = partition.replicas.iter().filter(|id| !alive(id)).copied().collect();
    let leader = partition.leader.filter(alive);
    let error = match leader {
        None => ErrorCode::LeaderNotAvailable,
        Some(id) if image.broker(id).and_then(|b| b.endpoint(listener)).is_none() => {
            ErrorCode::ListenerNotFound
        }
        Some(_) => ErrorCode::None,
    };
    let leader = if error == ErrorCode::None { leader.map_or(-1, |id| id.0) } else { -1 };
    VisiblePartition { error, leader, offline }
}

/// The brokers that a client of this listener can reach.
pub(super) fn reachable<'a>(
    image: &'a Image,
    listener: &'a str,
) -> impl Iterator<Item = (&'a Known, &'a Endpoint)> {
    image.brokers().filter(|b| !b.fenced).filter_map(move |b| Some((&**b, b.endpoint(listener)?)))
}

pub(super) fn is_internal(topic: &Topic) -> bool {
    ottla_model::is_internal(&topic.name)
}

pub(super) fn ids<T: From<i32>>(nodes: &[NodeId]) -> Vec<T> {
    nodes.iter().map(|id| T::from(id.0)).collect()
}

/// The controller that clients are told of. Brokers pass on what is for the controller, so any of them will do: this one, which
/// the client reaches, unless it is about to stop. Clients look for another one only when they ask for metadata again.
pub(super) fn controller(me: NodeId, image: &Image, listener: &str) -> i32 {
    let stays = reachable(image, listener).filter(|(broker, _)| broker.is_active());
    let stays: Vec<NodeId> = stays.map(|(broker, _)| broker.id).collect();
    let chosen = stays.iter().find(|id| **id == me).or(stays.first());
    chosen.map_or(-1, |id| id.0)
}
