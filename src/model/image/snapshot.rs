//! An image as records, and back: the contents of a snapshot of the metadata log. Applying all records of an image to an
//! empty image gives an equal image.

use ottla_protocol::{LeaderEpoch, Offset};

use super::{ApplyError, Broker, Controller, Image, Partition, State};
use crate::feature::METADATA_VERSION;
use crate::ids::{BrokerEpoch, DIRECTORY_MIGRATING, NodeId, TopicId};
use crate::record::*;

impl Image {
    /// The whole image as records, `metadata.version` first, since it may decide how the others are read.
    ///
    /// Panics while a transaction is open: a snapshot must not contain its changes.
    pub fn records(&self) -> Vec<MetadataRecord> {
        assert!(!self.in_transaction(), "a snapshot in a transaction at offset {}", self.offset);
        let mut records = self.state.feature_records();
        records.extend(self.brokers().map(|broker| broker.to_record().into()));
        records.extend(self.controllers().map(|controller| controller.to_record().into()));
        for topic in self.topics() {
            records.push(TopicRecord { name: topic.name.to_string(), topic_id: topic.id }.into());
            let partitions = topic.partitions.iter();
            records.extend(partitions.map(|(id, partition)| partition.to_record(topic.id, *id).into()));
        }
        records.extend(self.state.config_records());
        records.extend(self.state.quota_records());
        if self.state.next_producer_id >= 0 {
            let next_producer_id = self.state.next_producer_id;
            records.push(
                ProducerIdsRecord { broker_id: None, broker_epoch: BrokerEpoch::NONE, next_producer_id }
                    .into(),
            );
        }
        records.extend(self.acls().map(|acl| acl.as_ref().clone().into()));
        records.extend(self.scram_credentials().map(|credential| credential.as_ref().clone().into()));
        records.extend(self.delegation_tokens().map(|token| token.as_ref().clone().into()));
        records
    }

    /// The image in a snapshot that ends at `offset`, written in term `epoch`.
    pub fn from_records<'a>(
        offset: Offset,
        epoch: LeaderEpoch,
        records: impl IntoIterator<Item = &'a MetadataRecord>,
    ) -> Result<Image, ApplyError> {
        let mut image = Image::empty();
        for record in records {
            image.apply_in_place(offset, epoch, record)?;
        }
        (image.offset, image.epoch) = (offset, epoch);
        Ok(image)
    }
}

impl State {
    fn feature_records(&self) -> Vec<MetadataRecord> {
        let (first, others): (Vec<_>, Vec<_>) =
            self.features.iter().partition(|(name, _)| *name == METADATA_VERSION);
        let record =
            |(name, level): (&String, &i16)| FeatureLevelRecord { name: name.clone(), feature_level: *level };
        first.into_iter().chain(others).map(|feature| record(feature).into()).collect()
    }

    fn config_records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.configs.iter().flat_map(|(resource, configs)| {
            configs.iter().map(|(name, value)| {
                let record = ConfigRecord {
                    resource_type: resource.kind,
                    resource_name: resource.name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                };
                record.into()
            })
        })
    }

    fn quota_records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.quotas.iter().flat_map(|(target, values)| {
            values.iter().map(|(key, value)| {
                let part = |(kind, name): (&String, &Option<String>)| QuotaEntity {
                    entity_type: kind.clone(),
                    entity_name: name.clone(),
                };
                let entity = target.iter().map(part).collect();
                ClientQuotaRecord { entity, key: key.clone(), value: *value, remove: false }.into()
            })
        })
    }
}

impl Broker {
    fn to_record(&self) -> RegisterBrokerRecord {
        RegisterBrokerRecord {
            broker_id: self.id,
            is_migrating_zk_broker: self.is_migrating_zk_broker,
            incarnation_id: self.incarnation,
            broker_epoch: self.epoch,
            end_points: self.endpoints.clone(),
            features: self.features.clone(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.log_dirs.clone(),
            cordoned_log_dirs: self.cordoned_log_dirs.clone(),
        }
    }
}

impl Controller {
    fn to_record(&self) -> RegisterControllerRecord {
        RegisterControllerRecord {
            controller_id: self.id,
            incarnation_id: self.incarnation,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self.endpoints.clone(),
            features: self.features.clone(),
        }
    }
}

impl Partition {
    /// Omits directories that are all "migrating", and empty lists, so that a cluster at a low `metadata.version` can
    /// write the record.
    fn to_record(&self, topic_id: TopicId, partition_id: i32) -> PartitionRecord {
        let migrating = self.directories.iter().all(|directory| *directory == DIRECTORY_MIGRATING);
        let unless_empty = |nodes: &Vec<NodeId>| (!nodes.is_empty()).then(|| nodes.clone());
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing.clone(),
            adding_replicas: self.adding.clone(),
            leader: self.leader,
            leader_recovery_state: self.leader_recovery_state,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: if migrating { Vec::new() } else { self.directories.clone() },
            eligible_leader_replicas: unless_empty(&self.elr),
            last_known_elr: unless_empty(&self.last_known_elr),
        }
    }
}
