//! Committed offsets, and those of open transactions. They change only by records and by transaction markers, in the
//! order of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_model::TopicName;
use ottla_model::group::{GroupId, OffsetCommit, OffsetKey};
use ottla_protocol::{Offset, ProducerId};

/// A committed offset, and the offset of its record in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    at: Offset,
    pub commit: OffsetCommit,
}

pub type Topics = BTreeMap<TopicName, BTreeMap<i32, Stored>>;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    committed: BTreeMap<GroupId, Topics>,
    /// These count once their transaction is committed.
    pending: BTreeMap<ProducerId, BTreeMap<OffsetKey, Stored>>,
    /// For each offset, the producers with a pending commit of it.
    open: BTreeMap<OffsetKey, BTreeSet<ProducerId>>,
}

impl Offsets {
    pub fn of(&self, group: &str) -> Option<&Topics> {
        self.committed.get(group)
    }

    pub fn has(&self, key: &OffsetKey) -> bool {
        let topics = self.committed.get(&key.group).and_then(|topics| topics.get(&key.topic));
        topics.is_some_and(|partitions| partitions.contains_key(&key.partition))
    }

    /// Whether an open transaction has committed the offset.
    pub fn is_open(&self, key: &OffsetKey) -> bool {
        self.open.contains_key(key)
    }

    /// The offsets of a group that open transactions have committed.
    pub fn open_in<'a>(&'a self, group: &'a GroupId) -> impl Iterator<Item = &'a OffsetKey> {
        let first = OffsetKey { group: group.clone(), topic: Arc::from(""), partition: i32::MIN };
        self.open.range(first..).map(|(key, _)| key).take_while(move |key| key.group == *group)
    }

    /// Of those, the ones in topics where the commit of some producer satisfies a condition.
    pub fn pending_of(
        &self,
        group: &GroupId,
        topic: &TopicName,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Vec<OffsetKey> {
        let by_any = |key: &OffsetKey| {
            let producers = self.open.get(key).into_iter().flatten();
            let mut stored = producers.filter_map(|producer| self.pending.get(producer)?.get(key));
            stored.any(&wanted)
        };
        self.open_in(group).filter(|key| key.topic == *topic && by_any(key)).cloned().collect()
    }

    pub fn has_open(&self, group: &GroupId) -> bool {
        !self.open.is_empty() && self.open_in(group).next().is_some()
    }

    /// Applies the record at offset `at`. `producer` is that of its batch, if the batch is transactional.
    pub fn apply(
        &mut self,
        at: Offset,
        producer: Option<ProducerId>,
        key: &OffsetKey,
        value: Option<&OffsetCommit>,
    ) {
        match (value, producer) {
            (Some(commit), None) => self.put(key, Stored { at, commit: commit.clone() }),
            (Some(commit), Some(producer)) => {
                let stored = Stored { at, commit: commit.clone() };
                self.pending.entry(producer).or_default().insert(key.clone(), stored);
                self.open.entry(key.clone()).or_default().insert(producer);
            }
            (None, _) => {
                self.forget(key);
                for producer in self.open.remove(key).unwrap_or_default() {
                    self.forget_pending(producer, key);
                }
            }
        }
    }

    /// Ends the producer's open transaction, if it has one.
    pub fn end_transaction(&mut self, producer: ProducerId, committed: bool) {
        for (key, stored) in self.pending.remove(&producer).unwrap_or_default() {
            if let Some(producers) = self.open.get_mut(&key) {
                producers.remove(&producer);
                if producers.is_empty() {
                    self.open.remove(&key);
                }
            }
            // A commit that is later in the log wins, also after compaction has removed others.
            if committed && self.get(&key).is_none_or(|current| stored.at > current.at) {
                self.put(&key, stored);
            }
        }
    }

    fn get(&self, key: &OffsetKey) -> Option<&Stored> {
        self.committed.get(&key.group)?.get(&key.topic)?.get(&key.partition)
    }

    fn put(&mut self, key: &OffsetKey, stored: Stored) {
        // Keys are cloned only if they are new: a consumer commits the same partitions again and again.
        if !self.committed.contains_key(&key.group) {
            self.committed.insert(key.group.clone(), Topics::new());
        }
        let Some(topics) = self.committed.get_mut(&key.group) else { return };
        match topics.get_mut(&key.topic) {
            Some(partitions) => {
                partitions.insert(key.partition, stored);
            }
            None => {
                topics.insert(key.topic.clone(), BTreeMap::from([(key.partition, stored)]));
            }
        }
    }

    fn forget(&mut self, key: &OffsetKey) {
        let Some(topics) = self.committed.get_mut(&key.group) else { return };
        let Some(partitions) = topics.get_mut(&key.topic) else { return };
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.committed.remove(&key.group);
        }
    }

    fn forget_pending(&mut self, producer: ProducerId, key: &OffsetKey) {
        let Some(pending) = self.pending.get_mut(&producer) else { return };
        pending.remove(key);
        if pending.is_empty() {
            self.pending.remove(&producer);
        }
    }
}
