//! The partitions of this broker, by topic and index. Changed only when the metadata image changes.

use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use ottla_model::TopicId;
use ottla_model::image::Image;
use ottla_protocol::ErrorCode;

use super::partition::Partition;

/// Every partition with a log here. Cheap to share; lookups never wait for each other.
#[derive(Default)]
pub(crate) struct Partitions {
    by_id: DashMap<(TopicId, i32), Arc<Partition>>,
    /// Partitions of which this broker has a replica and whose logs could not be opened.
    offline: DashSet<(TopicId, i32)>,
}

impl Partitions {
    pub fn get(&self, topic: TopicId, index: i32) -> Option<Arc<Partition>> {
        self.by_id.get(&(topic, index)).map(|found| found.value().clone())
    }

    /// The partition, if this broker leads it; otherwise the error for the client.
    pub fn led(&self, image: &Image, topic: TopicId, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.found(image, topic, index, |found| !found.has_resigned())
    }

    /// The replica that lives here, whether it leads or follows; otherwise the error for the client.
    pub fn replica(&self, image: &Image, topic: TopicId, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.found(image, topic, index, |_| true)
    }

    fn found(
        &self,
        image: &Image,
        topic: TopicId,
        index: i32,
        serves: impl Fn(&Partition) -> bool,
    ) -> Result<Arc<Partition>, ErrorCode> {
        if let Some(found) = self.by_id.get(&(topic, index)).filter(|found| serves(found)) {
            return Ok(found.value().clone());
        }
        if self.is_offline(topic, index) {
            return Err(ErrorCode::KafkaStorageError);
        }
        let known = image.topic_by_id(topic).is_some_and(|t| t.partitions.contains_key(&index));
        Err(if known { ErrorCode::NotLeaderOrFollower } else { ErrorCode::UnknownTopicOrPartition })
    }

    /// Adds a partition whose log is open.
    pub fn insert(&self, partition: Arc<Partition>) {
        let key = (partition.topic_id, partition.id.partition);
        self.by_id.insert(key, partition);
        self.offline.remove(&key);
    }

    /// Marks a partition whose log cannot be opened, or not be used any more. Returns the open partition, if there was
    /// one.
    pub fn set_offline(&self, topic: TopicId, index: i32) -> Option<Arc<Partition>> {
        self.offline.insert((topic, index));
        self.by_id.remove(&(topic, index)).map(|(_, partition)| partition)
    }

    pub fn is_offline(&self, topic: TopicId, index: i32) -> bool {
        self.offline.contains(&(topic, index))
    }

    pub fn remove(&self, topic: TopicId, index: i32) -> Option<Arc<Partition>> {
        self.offline.remove(&(topic, index));
        self.by_id.remove(&(topic, index)).map(|(_, partition)| partition)
    }

    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.by_id.iter().map(|entry| entry.value().clone()).collect()
    }
}
