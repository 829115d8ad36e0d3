//! Records about topics and partitions, applied as Kafka's `PartitionRegistration` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::LeaderEpoch;

use super::{ConfigResource, Impossible, Partition, State, Topic};
use crate::ids::{DIRECTORY_MIGRATING, DirectoryId, TopicId};
use crate::record::*;
use crate::topics::{TopicName, check_topic_name};

impl State {
    pub(super) fn create_topic(&mut self, record: &TopicRecord) -> Result<(), Impossible> {
        // The name becomes the name of a folder: not even a damaged log may lead out of the log directory.
        check_topic_name(&record.name).map_err(Impossible::TopicName)?;
        if let Some(topic) = self.topics.get(record.name.as_str()) {
            return Err(Impossible::TopicExists { name: record.name.clone(), id: topic.id });
        }
        let id = record.topic_id;
        if let Some(name) = self.topic_names.get(&id) {
            return Err(Impossible::TopicIdExists { id, name: name.to_string() });
        }
        let name = TopicName::from(record.name.as_str());
        self.topic_names.insert(id, name.clone());
        self.topics.insert(name.clone(), Arc::new(Topic { id, name, partitions: BTreeMap::new() }));
        Ok(())
    }

    pub(super) fn remove_topic(&mut self, record: &RemoveTopicRecord) -> Result<(), Impossible> {
        let id = record.topic_id;
        let name = self.topic_names.remove(&id).ok_or(Impossible::UnknownTopicId(id))?;
        self.topics.remove(&name);
        self.configs.remove(&ConfigResource { kind: ResourceType::Topic, name: name.to_string() });
        Ok(())
    }

    pub(super) fn set_partition(&mut self, record: &PartitionRecord) -> Result<(), Impossible> {
        if record.partition_id < 0 {
            return Err(Impossible::PartitionId(record.partition_id));
        }
        let partition = Partition::from_record(record)?;
        let topic = self.topic_mut(record.topic_id)?;
        topic.partitions.insert(record.partition_id, Arc::new(partition));
        Ok(())
    }

    pub(super) fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), Impossible> {
        let topic = self.topic_by_id(record.topic_id)?;
        let Some(was) = topic.partitions.get(&record.partition_id) else {
            return Err(Impossible::UnknownPartition {
                topic: topic.name.to_string(),
                partition: record.partition_id,
            });
        };
        let now = was.merge(record)?;
        self.topic_mut(record.topic_id)?.partitions.insert(record.partition_id, Arc::new(now));
        Ok(())
    }

    pub(super) fn clear_elr(&mut self, record: &ClearElrRecord) -> Result<(), Impossible> {
        let all = record.topic_name.is_empty();
        if !all && !self.topics.contains_key(record.topic_name.as_str()) {
            return Err(Impossible::UnknownTopic(record.topic_name.clone()));
        }
        let concerned = |topic: &&Arc<Topic>| {
            (all || *topic.name == *record.topic_name) && topic.partitions.values().any(|p| p.has_elr())
        };
        let ids: Vec<TopicId> = self.topics.values().filter(concerned).map(|topic| topic.id).collect();
        for id in ids {
            for partition in self.topic_mut(id)?.partitions.values_mut().filter(|p| p.has_elr()) {
                let partition = Arc::make_mut(partition);
                partition.elr.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch = partition.partition_epoch.wrapping_add(1);
            }
        }
        Ok(())
    }

    fn topic_by_id(&self, id: TopicId) -> Result<&Arc<Topic>, Impossible> {
        let name = self.topic_names.get(&id).ok_or(Impossible::UnknownTopicId(id))?;
        self.topics.get(name).ok_or(Impossible::UnknownTopicId(id))
    }

    /// The topic, for changes. It is copied at the first change after the image was shared.
    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, Impossible> {
        let name = self.topic_names.get(&id).ok_or(Impossible::UnknownTopicId(id))?;
        self.topics.get_mut(name).map(Arc::make_mut).ok_or(Impossible::UnknownTopicId(id))
    }
}

impl Partition {
    fn from_record(record: &PartitionRecord) -> Result<Partition, Impossible> {
        let replicas = record.replicas.clone();
        Ok(Partition {
            directories: directories_of(&record.directories, replicas.len())?,
            replicas,
            isr: record.isr.clone(),
            removing: record.removing_replicas.clone(),
            adding: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: recovery_state(record.leader_recovery_state)?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        })
    }

    /// The partition after a change. A change that names a leader raises the leader epoch, even if it is the same leader;
    /// every change raises the partition epoch.
    pub fn merge(&self, change: &PartitionChangeRecord) -> Result<Partition, Impossible> {
        let replicas = change.replicas.as_ref().unwrap_or(&self.replicas).clone();
        let directories = change.directories.as_ref().unwrap_or(&self.directories);
        let (leader, leader_epoch) = match change.leader {
            LeaderChange::Unchanged => (self.leader, self.leader_epoch),
            LeaderChange::Nobody => (None, self.next_leader_epoch()),
            LeaderChange::To(node) => (Some(node), self.next_leader_epoch()),
        };
        Ok(Partition {
            directories: directories_of(directories, replicas.len())?,
            replicas,
            isr: change.isr.as_ref().unwrap_or(&self.isr).clone(),
            removing: change.removing_replicas.as_ref().unwrap_or(&self.removing).clone(),
            adding: change.adding_replicas.as_ref().unwrap_or(&self.adding).clone(),
            elr: change.eligible_leader_replicas.as_ref().unwrap_or(&self.elr).clone(),
            last_known_elr: change.last_known_elr.as_ref().unwrap_or(&self.last_known_elr).clone(),
            leader,
            leader_recovery_state: match change.leader_recovery_state {
                LEADER_RECOVERY_UNCHANGED => self.leader_recovery_state,
                state => recovery_state(state)?,
            },
            leader_epoch,
            partition_epoch: self.partition_epoch.wrapping_add(1),
        })
    }

    fn next_leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.0.wrapping_add(1))
    }

    fn has_elr(&self) -> bool {
        !self.elr.is_empty() || !self.last_known_elr.is_empty()
    }
}

/// One directory for each replica. An empty list, or one with only "migrating", means "migrating" for each.
fn directories_of(given: &[DirectoryId], replicas: usize) -> Result<Vec<DirectoryId>, Impossible> {
    if given.iter().all(|directory| *directory == DIRECTORY_MIGRATING) {
        return Ok(vec![DIRECTORY_MIGRATING; replicas]);
    }
    if given.len() != replicas {
        return Err(Impossible::Directories { directories: given.len(), replicas });
    }
    Ok(given.to_vec())
}

fn recovery_state(state: i8) -> Result<i8, Impossible> {
    match state {
        LEADER_RECOVERED | LEADER_RECOVERING => Ok(state),
        other => Err(Impossible::LeaderRecoveryState(other)),
    }
}
