//! The group coordinator of this broker: which shard a group falls to, and the way to it. Each partition of
//! `__consumer_offsets` that this broker leads has a task that owns its shard.
//! It must never know what is asked.

mod keeper;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::group::{Command, Reply, Settings};
use ottla_model::config::BrokerConfig;
use ottla_model::image::{Image, Topic};
use ottla_model::{GROUP_METADATA_TOPIC, TopicId, TopicName};
use ottla_node::coordinator::Terms;
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::Compression;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::broker::Broker;
use keeper::Keeper;

/// Where a shard's answer goes.
pub(crate) type Token = oneshot::Sender<Reply>;

/// A question on its way to a shard.
pub(crate) struct Question {
    command: Command,
    token: Token,
}

/// The shards of this broker.
pub(crate) struct GroupCoordinator {
    terms: Terms,
    shards: Mutex<BTreeMap<i32, mpsc::UnboundedSender<Question>>>,
    /// Why there is no offsets topic, as the log has it.
    said: Mutex<Option<String>>,
}

impl GroupCoordinator {
    pub fn new(config: &BrokerConfig) -> GroupCoordinator {
        GroupCoordinator { terms: terms(config), shards: Mutex::default(), said: Mutex::default() }
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
        for shard in self.shards.lock().values() {
            // Nobody waits for it to be done; a shard that has ended has nothing to forget.
            let (token, _) = oneshot::channel();
            let command = Command::TopicsDeleted { topics: topics.to_vec() };
            let _ = shard.send(Question { command, token });
        }
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
        Some(shard) => ask_shard(broker, shard, command).await,
        None => command.refused(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Asks every shard that lives here, in their order.
pub(crate) async fn ask_all(broker: &Arc<Broker>, command: &Command) -> Vec<Reply> {
    let mut replies = Vec::new();
    for shard in led_here(broker) {
        replies.push(ask_shard(broker, shard, command.clone()).await);
    }
    replies
}

/// Loads what this broker leads, before anybody asks for it.
pub(crate) fn wake_all(broker: &Arc<Broker>) {
    for shard in led_here(broker) {
        reach(broker, shard);
    }
}

fn led_here(broker: &Broker) -> Vec<i32> {
    let image = broker.image.load();
    let Some(topic) = offsets_topic(&image) else { return Vec::new() };
    topic
        .partitions
        .keys()
        .copied()
        .filter(|index| broker.partitions.get(topic.id, *index).is_some())
        .collect()
}

async fn ask_shard(broker: &Arc<Broker>, shard: i32, command: Command) -> Reply {
    let refused = command.refused(ErrorCode::NotCoordinator);
    let (token, answer) = oneshot::channel();
    let Some(way) = reach(broker, shard) else { return refused };
    if way.send(Question { command, token }).is_err() {
        return refused;
    }
    answer.await.unwrap_or(refused)
}

// The way to a shard's task, which is started if it does not run. None if the shard is not this broker's.
fn reach(broker: &Arc<Broker>, shard: i32) -> Option<mpsc::UnboundedSender<Question>> {
    let mut shards = broker.groups.shards.lock();
    if let Some(way) = shards.get(&shard).filter(|way| !way.is_closed()) {
        return Some(way.clone());
    }
    let image = broker.image.load();
    let topic = offsets_topic(&image)?;
    broker.partitions.get(topic.id, shard)?;
    let (way, inbox) = mpsc::unbounded_channel();
    tokio::spawn(Keeper::new(broker.clone(), shard, inbox).keep());
    shards.insert(shard, way.clone());
    Some(way)
}

fn terms(config: &BrokerConfig) -> Terms {
    let small = |name| i32::try_from(config.whole(name)).unwrap_or(i32::MAX);
    let settings = Settings {
        initial_rebalance_delay_ms: small("group.initial.rebalance.delay.ms"),
        min_session_timeout_ms: small("group.min.session.timeout.ms"),
        max_session_timeout_ms: small("group.max.session.timeout.ms"),
        max_size: usize::try_from(config.whole("group.max.size")).unwrap_or(usize::MAX),
        offset_metadata_max: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
        offsets_retention_ms: config.whole("offsets.retention.minutes").saturating_mul(60_000),
        offsets_retention_check_interval_ms: config.whole("offsets.retention.check.interval.ms"),
        ..Settings::default()
    };
    let codec = u8::try_from(config.whole("offsets.topic.compression.codec")).ok();
    Terms {
        settings: Arc::new(settings),
        compression: codec.and_then(Compression::from_id).unwrap_or_default(),
        commit_timeout_ms: config.whole("offsets.commit.timeout.ms"),
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
