//! Which replica a consumer should read from (KIP-392): the leader chooses one in the consumer's rack, as Kafka's
//! `RackAwareReplicaSelector` does. It must never wait for a lane.

use std::sync::Arc;

use ottla_model::NodeId;
use ottla_model::image::Image;
use ottla_protocol::Offset;

use crate::broker::Broker;
use crate::run::owners::partition::Partition;

/// Where a consumer is.
#[derive(Clone, Debug)]
pub(crate) struct Nearest {
    /// Empty: it does not say.
    pub rack: String,
    /// By which it reaches brokers.
    pub listener: Arc<str>,
}

/// The value of `replica.selector.class` that turns this on.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Another replica than the leader. `None`: the consumer should read here.
pub(crate) fn preferred(
    broker: &Broker,
    image: &Image,
    partition: &Arc<Partition>,
    nearest: &Nearest,
    offset: Offset,
) -> Option<NodeId> {
    let config = broker.config();
    let Nearest { rack, listener } = nearest;
    if rack.is_empty()
        || config.replica_selector_class.as_deref() != Some(RACK_AWARE)
        || config.rack.as_ref() == Some(rack)
        || !partition.leads()
    {
        return None;
    }
    let topic = image.topic_by_id(partition.topic_id)?;
    let replicas = &topic.partitions.get(&partition.id.partition)?.replicas;
    let near = replicas.iter().copied().filter(|id| {
        let known = image.broker(*id).filter(|known| *id != broker.me && !known.fenced);
        known.is_some_and(|known| known.rack.as_ref() == Some(rack) && known.endpoint(listener).is_some())
    });
    let near: Vec<NodeId> = near.collect();
    if near.is_empty() {
        return None;
    }
    partition.try_leader(|leader| {
        let readable = near.iter().filter_map(|id| Some((leader.readable(*id, offset)?, *id)));
        readable.max().map(|(_, id)| id)
    })?
}
