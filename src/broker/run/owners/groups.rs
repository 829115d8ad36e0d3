//! The group coordinator of this broker: which shard a group falls to, and how its machines are set up.
//! It must never know what is asked of a group, nor how its shards are run: that is `run/owners/coordinator`.

use std::sync::Arc;

use ottla_core::group::{Command, Groups, Reply, Settings};
use ottla_model::config::BrokerConfig;
use ottla_model::image::{Image, Topic};
use ottla_model::{GROUP_METADATA_TOPIC, TopicId, TopicName};
use ottla_node::coordinator::{Linger, ShardSettings};
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::Compression;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::warn;

use super::coordinator::Coordinator;
use crate::broker::Broker;

/// The group coordinator of this broker.
pub(crate) struct GroupCoordinator {
    coordinator: Arc<Coordinator<Groups<oneshot::Sender<Reply>>>>,
    /// Why there is no offsets topic, as the log has it.
    said: Mutex<Option<String>>,
}

impl GroupCoordinator {
    pub fn new(config: &BrokerConfig) -> GroupCoordinator {
        let settings = Arc::new(settings(config));
        let load_buffer_bytes =
            usize::try_from(config.whole("offsets.load.buffer.size")).unwrap_or(usize::MAX);
        let coordinator =
            Coordinator::new(GROUP_METADATA_TOPIC, terms(config), load_buffer_bytes, move || {
                Groups::new(settings.clone(), Box::new(rand::random::<u64>))
            });
        GroupCoordinator { coordinator: Arc::new(coordinator), said: Mutex::default() }
    }

    /// Logs why the offsets topic cannot be created, once for a reason: clients ask again and again.
    pub fn say_once(&self, why: &str) {
        let mut said = self.said.lock();
        if said.as_deref() != Some(why) {
            warn!(topic = GROUP_METADATA_TOPIC, why, "cannot create the topic");
            *said = Some(why.to_owned());
        }
    }

    /// Tells every shard that these topics are gone, and with them what was committed in them.
    pub fn topics_deleted(&self, topics: &[(TopicName, TopicId)]) {
        self.coordinator.tell_all(|| Command::TopicsDeleted { topics: topics.to_vec() });
    }
}

/// The partition of `__consumer_offsets` that a group falls to: Java's hash of its name, as every broker and tool
/// reckons it.
pub(crate) fn shard_of(group: &str, partitions: usize) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % i32::try_from(partitions.max(1)).unwrap_or(i32::MAX)
}

/// The offsets topic, once there is one.
pub(crate) fn offsets_topic(image: &Image) -> Option<&Arc<Topic>> {
    image.topic(GROUP_METADATA_TOPIC)
}

/// Asks the shard of a group.
pub(crate) async fn ask(broker: &Arc<Broker>, group: &str, command: Command) -> Reply {
    let shard = offsets_topic(&broker.image.load()).map(|topic| shard_of(group, topic.partitions.len()));
    match shard {
        Some(shard) => broker.groups.coordinator.ask(broker, shard, command).await,
        None => command.refused(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Asks every shard that lives here, in their order.
pub(crate) async fn ask_all(broker: &Arc<Broker>, command: &Command) -> Vec<Reply> {
    let coordinator = &broker.groups.coordinator;
    let mut replies = Vec::new();
    for shard in coordinator.led_here(broker) {
        replies.push(coordinator.ask(broker, shard, command.clone()).await);
    }
    replies
}

/// Loads what this broker leads, before anybody asks for it.
pub(crate) fn wake_all(broker: &Arc<Broker>) {
    broker.groups.coordinator.wake_all(broker);
}

fn settings(config: &BrokerConfig) -> Settings {
    let small = |name| i32::try_from(config.whole(name)).unwrap_or(i32::MAX);
    Settings {
        initial_rebalance_delay_ms: small("group.initial.rebalance.delay.ms"),
        min_session_timeout_ms: small("group.min.session.timeout.ms"),
        max_session_timeout_ms: small("group.max.session.timeout.ms"),
        max_size: usize::try_from(config.whole("group.max.size")).unwrap_or(usize::MAX),
        offset_metadata_max: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
        offsets_retention_ms: config.whole("offsets.retention.minutes").saturating_mul(60_000),
        offsets_retention_check_interval_ms: config.whole("offsets.retention.check.interval.ms"),
        ..Settings::default()
    }
}

fn terms(config: &BrokerConfig) -> ShardSettings {
    let codec = u8::try_from(config.whole("offsets.topic.compression.codec")).ok();
    ShardSettings {
        compression: codec.and_then(Compression::from_id).unwrap_or_default(),
        linger: Linger::of_config(config.whole("group.coordinator.append.linger.ms")),
        write_timeout_ms: config.whole("offsets.commit.timeout.ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Reckoned with Java's String.hashCode and Kafka's Utils.abs.
    #[test]
    fn a_group_falls_to_the_shard_that_java_says() {
        let rows = [("", 0), ("a", 47), ("my-group", 12), ("Aa", 12), ("BB", 12), ("größe", 7)];
        for (group, shard) in rows {
            assert_eq!(shard_of(group, 50), shard, "{group}");
        }
        // Its hash is the smallest integer there is, which has no absolute value.
        assert_eq!(shard_of("polygenelubricants", 50), 0);
    }
}
