//! The differences between two images, so that every owner looks only at what concerns it. Cheap if the two share
//! structure: shared subtrees are not visited.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Broker, ConfigResource, Controller, Image, Partition, Topic};
use crate::ids::NodeId;

/// The changes from one image to another. Each list is sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub topics_created: Vec<Arc<Topic>>,
    pub topics_changed: Vec<TopicChange>,
    /// A topic that was deleted and created again under its name is in here and in `topics_created`.
    pub topics_deleted: Vec<Arc<Topic>>,
    pub brokers: Vec<NodeChange<Broker>>,
    pub controllers: Vec<NodeChange<Controller>>,
    /// Resources whose configuration has changed or was removed.
    pub configs: Vec<ConfigResource>,
    /// Features whose level has changed or was removed.
    pub features: Vec<String>,
    pub quotas_changed: bool,
    pub acls_changed: bool,
    pub scram_changed: bool,
    pub tokens_changed: bool,
    pub producer_ids_changed: bool,
}

/// A topic that is in both images, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChange {
    pub old: Arc<Topic>,
    pub new: Arc<Topic>,
    /// Only the partitions that have changed.
    pub partitions: Vec<PartitionDelta>,
}

/// A new or changed partition; `old` is `None` for a new one. A topic never loses partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDelta {
    pub partition: i32,
    pub old: Option<Arc<Partition>>,
    pub new: Arc<Partition>,
}

/// A node that was added (`old` is `None`), removed (`new` is `None`) or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChange<T> {
    pub id: NodeId,
    pub old: Option<Arc<T>>,
    pub new: Option<Arc<T>>,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }
}

impl Image {
    /// The changes from `old` to `new`, which is a later image of the same log. Neither may have an open transaction.
    pub fn diff(old: &Image, new: &Image) -> Delta {
        let (old, new) = (&old.state, &new.state);
        let mut delta = Delta {
            configs: changed_keys(&old.configs, &new.configs),
            features: changed_keys(&old.features, &new.features),
            brokers: node_changes(&old.brokers, &new.brokers),
            controllers: node_changes(&old.controllers, &new.controllers),
            quotas_changed: differ(&old.quotas, &new.quotas),
            acls_changed: differ(&old.acls, &new.acls),
            scram_changed: differ(&old.scram, &new.scram),
            tokens_changed: differ(&old.tokens, &new.tokens),
            producer_ids_changed: old.next_producer_id != new.next_producer_id,
            ..Delta::default()
        };
        for item in old.topics.diff(&new.topics) {
            match item {
                DiffItem::Add(_, new) => delta.topics_created.push(new.clone()),
                DiffItem::Remove(_, old) => delta.topics_deleted.push(old.clone()),
                DiffItem::Update { old: (_, old), new: (_, new) } if old.id == new.id => {
                    delta.topics_changed.push(topic_change(old, new));
                }
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    delta.topics_deleted.push(old.clone());
                    delta.topics_created.push(new.clone());
                }
            }
        }
        delta
    }
}

fn topic_change(old: &Arc<Topic>, new: &Arc<Topic>) -> TopicChange {
    let partitions = new.partitions.iter().filter_map(|(partition, now)| {
        let was = old.partitions.get(partition);
        let changed = was.is_none_or(|was| was != now);
        changed.then(|| PartitionDelta { partition: *partition, old: was.cloned(), new: now.clone() })
    });
    TopicChange { partitions: partitions.collect(), old: old.clone(), new: new.clone() }
}

fn node_changes<T: PartialEq>(
    old: &OrdMap<NodeId, Arc<T>>,
    new: &OrdMap<NodeId, Arc<T>>,
) -> Vec<NodeChange<T>> {
    let change = |item| match item {
        DiffItem::Add(id, new) => NodeChange { id: *id, old: None, new: Some(Arc::clone(new)) },
        DiffItem::Remove(id, old) => NodeChange { id: *id, old: Some(Arc::clone(old)), new: None },
        DiffItem::Update { old: (id, old), new: (_, new) } => {
            NodeChange { id: *id, old: Some(Arc::clone(old)), new: Some(Arc::clone(new)) }
        }
    };
    old.diff(new).map(change).collect()
}

fn changed_keys<K: Ord + Clone, V: PartialEq>(old: &OrdMap<K, V>, new: &OrdMap<K, V>) -> Vec<K> {
    let key = |item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => key,
    };
    old.diff(new).map(key).cloned().collect()
}

fn differ<K: Ord, V: PartialEq>(old: &OrdMap<K, V>, new: &OrdMap<K, V>) -> bool {
    old.diff(new).next().is_some()
}
