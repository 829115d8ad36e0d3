//! Replicas that are filled no faster than an operator wants (KIP-73): what `leader.replication.throttled.*` and
//! `follower.replication.throttled.*` ask for. It must never hold back a replica that is in sync: it would leave the set.

use ottla_model::NodeId;
use ottla_model::config::{BrokerConfig, ThrottledReplicas, TopicConfig};
use ottla_model::image::Image;
use ottla_node::throttle::Throttle;
use parking_lot::Mutex;

use crate::clock::now_ms;
use crate::run::owners::partition::Partition;

/// One direction of the throttled traffic of this broker.
#[derive(Debug, Default)]
pub(crate) struct Throttled(Mutex<Throttle>);

/// Who replicates what, and how fast.
pub(crate) struct Filling<'a> {
    throttled: &'a ThrottledReplicas,
    me: NodeId,
    follower: NodeId,
    bytes_per_second: i64,
}

impl Throttled {
    /// Whether the follower has to wait for records of this partition.
    pub fn holds_back(&self, filling: &Filling<'_>, image: &Image, partition: &Partition) -> bool {
        filling.is_throttled(image, partition)
            && self.0.lock().is_exceeded(now_ms(), filling.bytes_per_second)
    }

    /// Notes what the follower gets.
    pub fn pass(&self, filling: &Filling<'_>, image: &Image, partition: &Partition, bytes: usize) {
        if filling.is_throttled(image, partition) {
            self.0.lock().pass(bytes as u64);
        }
    }
}

impl<'a> Filling<'a> {
    /// As the leader sees it.
    pub fn by_leader(
        config: &BrokerConfig,
        topic: &'a TopicConfig,
        me: NodeId,
        follower: NodeId,
    ) -> Filling<'a> {
        let throttled = &topic.leader_replication_throttled_replicas;
        Filling { throttled, me, follower, bytes_per_second: config.leader_replication_throttled_rate }
    }

    /// As the follower sees it.
    pub fn by_follower(config: &BrokerConfig, topic: &'a TopicConfig, me: NodeId) -> Filling<'a> {
        let throttled = &topic.follower_replication_throttled_replicas;
        let bytes_per_second = config.follower_replication_throttled_rate;
        Filling { throttled, me, follower: me, bytes_per_second }
    }

    fn is_throttled(&self, image: &Image, partition: &Partition) -> bool {
        let index = partition.id.partition;
        let listed = match self.throttled {
            ThrottledReplicas::All => true,
            ThrottledReplicas::Only(pairs) => pairs.contains(&(index, self.me)),
        };
        let in_sync = || {
            let known = image.topic_by_id(partition.topic_id).and_then(|topic| topic.partitions.get(&index));
            known.is_some_and(|known| known.isr.contains(&self.follower))
        };
        listed && !in_sync()
    }
}
