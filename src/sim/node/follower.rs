//! Following the image, as the broker's follower thread does: open, change and delete the partitions that live here,
//! then show the image. It must never decide anything: the image says it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::partition::Leadership;
use ottla_log::log::{Log, LogError};
use ottla_model::config::TopicConfig;
use ottla_model::image::{Image, Partition as Assigned, Topic};
use ottla_model::record::ResourceType;
use ottla_model::{TopicId, TopicPartition, fresh_id};
use ottla_node::lane::{Host, Input, Lane, Role};
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::{Node, Partition, Said};
use crate::mutation::Mutation;

impl Node {
    pub(super) fn apply(&mut self, now_ms: i64, image: Arc<Image>, said: &mut Vec<Said>) {
        let delta = Image::diff(&self.image, &image);
        for topic in &delta.topics_deleted {
            self.delete(now_ms, topic, said);
        }
        for topic in &delta.topics_created {
            let config = self.topic_config(&image, &topic.name);
            for (index, assigned) in &topic.partitions {
                self.led_here(now_ms, topic, *index, assigned, &config, said);
            }
        }
        for change in &delta.topics_changed {
            let config = self.topic_config(&image, &change.new.name);
            for partition in &change.partitions {
                self.led_here(now_ms, &change.new, partition.partition, &partition.new, &config, said);
            }
        }
        for resource in delta.configs.iter().filter(|r| r.kind == ResourceType::Topic) {
            if let Some(topic) = image.topic(&resource.name) {
                let config = self.topic_config(&image, &topic.name);
                self.configure(topic, &config, said);
            }
        }
        self.image = image;
    }

    fn led_here(
        &mut self,
        now_ms: i64,
        topic: &Arc<Topic>,
        index: i32,
        assigned: &Arc<Assigned>,
        config: &Arc<TopicConfig>,
        said: &mut Vec<Said>,
    ) {
        if assigned.leader != Some(self.me) {
            return;
        }
        let key = (topic.id, index);
        let leadership = self.leadership(assigned);
        if self.partitions.contains_key(&key) {
            return self.submit(key, Input::Lead(leadership), said);
        }
        // What a failed sync was to bring down reads back, and is not there: a second look would believe it.
        if self.closed.contains(&key) {
            return;
        }
        let id = TopicPartition { topic: topic.name.clone(), partition: index };
        match self.open(now_ms, &id, topic.id, config) {
            Ok(log) => {
                let host = self.host();
                let lane = Lane::new(host, log, Role::Leader(leadership), config.clone(), now_ms);
                self.partitions.insert(key, Partition::new(id, lane));
            }
            Err(error) => {
                self.closed.insert(key);
                self.storage.could_not_open();
                let why = format!("cannot open the log of {id}: {error}");
                said.push(Said::Offline { key, why });
            }
        }
    }

    fn open(
        &mut self,
        now_ms: i64,
        id: &TopicPartition,
        topic_id: TopicId,
        config: &Arc<TopicConfig>,
    ) -> Result<Log, LogError> {
        let jitter_seed = self.dice.number();
        let opened = self.storage.open_log(id, topic_id, config.clone(), now_ms, jitter_seed);
        let Err(LogError::TopicId { .. }) = opened else { return opened };
        let unique = self.unique();
        self.storage
            .set_aside(id, unique, now_ms + config.file_delete_delay_ms)
            .map_err(|source| LogError::Io { doing: "setting a deleted topic's folder aside", source })?;
        self.storage.open_log(id, topic_id, config.clone(), now_ms, jitter_seed)
    }

    fn unique(&mut self) -> Uuid {
        let dice = &mut self.dice;
        fresh_id(|| (u128::from(dice.number()) << 64) | u128::from(dice.number()))
    }

    fn configure(&mut self, topic: &Topic, config: &Arc<TopicConfig>, said: &mut Vec<Said>) {
        for index in topic.partitions.keys() {
            let key = (topic.id, *index);
            if self.partitions.get(&key).is_some_and(|here| *here.config != **config) {
                self.submit(key, Input::Configure(config.clone()), said);
            }
        }
    }

    fn delete(&mut self, now_ms: i64, topic: &Topic, said: &mut Vec<Said>) {
        for index in topic.partitions.keys() {
            let key = (topic.id, *index);
            let Some(mut gone) = self.partitions.remove(&key) else { continue };
            let (log, refused) = gone.close();
            let refused = refused.into_iter();
            said.extend(refused.map(|(ask, code)| Said::Produced { ask, outcome: Err(code) }));
            let Some(log) = log else { continue };
            let unique = self.unique();
            match log.delete(unique) {
                Ok(folder) => {
                    self.storage.remove_later(folder, now_ms + gone.config.file_delete_delay_ms);
                }
                Err(error) => {
                    let why = format!("cannot rename the deleted log of {}: {error}", gone.id);
                    said.push(Said::Offline { key, why });
                }
            }
        }
    }

    fn topic_config(&self, image: &Image, name: &str) -> Arc<TopicConfig> {
        let overrides = image.configs(ResourceType::Topic, name).cloned().unwrap_or_default();
        let resolved = TopicConfig::resolve(&self.config, &overrides)
            .or_else(|_| TopicConfig::resolve(&self.config, &BTreeMap::new()));
        Arc::new(resolved.unwrap_or_else(|_| self.config.topic_defaults.clone()))
    }

    fn host(&self) -> Host {
        Host { id: self.me, replica_lag_time_max_ms: self.config.replica_lag_time_max_ms }
    }

    fn leadership(&mut self, assigned: &Assigned) -> Leadership {
        let invented = match self.mutation {
            Some(Mutation::InventEpochs) => self.dice.below(20) as i32,
            _ => 0,
        };
        Leadership {
            epoch: LeaderEpoch(assigned.leader_epoch.0 + invented),
            partition_epoch: assigned.partition_epoch,
            replicas: assigned.replicas.clone(),
            isr: assigned.isr.clone(),
        }
    }
}
