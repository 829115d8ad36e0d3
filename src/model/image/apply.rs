//! The only way in which an image changes: a record is applied completely, or refused without any change.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::{LeaderEpoch, Offset};

use super::{ApplyError, ConfigResource, Image, Impossible, NO_PRODUCER_ID, QuotaTarget, State};
use crate::feature::{KRAFT_VERSION, METADATA_VERSION, MetadataVersion};
use crate::record::*;

impl Image {
    /// The image after `record`, which has the offset `offset` and was written in term `epoch`.
    pub fn apply(
        &self,
        offset: Offset,
        epoch: LeaderEpoch,
        record: &MetadataRecord,
    ) -> Result<Image, ApplyError> {
        let mut next = self.clone();
        next.apply_in_place(offset, epoch, record)?;
        Ok(next)
    }

    /// As [`Image::apply`], but changes this image. To apply a batch, call it on a clone. After an error the image is
    /// unchanged.
    pub fn apply_in_place(
        &mut self,
        offset: Offset,
        epoch: LeaderEpoch,
        record: &MetadataRecord,
    ) -> Result<(), ApplyError> {
        self.step(offset, record).map_err(|why| {
            let record = record.record_type().name;
            ApplyError { offset, record, why }
        })?;
        self.offset = offset;
        self.epoch = epoch;
        Ok(())
    }

    fn step(&mut self, offset: Offset, record: &MetadataRecord) -> Result<(), Impossible> {
        // All records of a snapshot have the same offset.
        if offset < self.offset {
            return Err(Impossible::OutOfOrder { last: self.offset });
        }
        match record {
            MetadataRecord::BeginTransaction(_) => self.begin_transaction(),
            MetadataRecord::EndTransaction(_) => self.open_transaction().map(drop),
            MetadataRecord::AbortTransaction(_) => {
                self.state = *self.open_transaction()?;
                Ok(())
            }
            record => self.state.apply(record),
        }
    }

    fn begin_transaction(&mut self) -> Result<(), Impossible> {
        if self.in_transaction() {
            return Err(Impossible::TransactionOpen);
        }
        self.before_transaction = Some(Box::new(self.state.clone()));
        Ok(())
    }

    /// Closes the open transaction, and returns the state from before it.
    fn open_transaction(&mut self) -> Result<Box<State>, Impossible> {
        self.before_transaction.take().ok_or(Impossible::NoTransaction)
    }
}

impl State {
    fn apply(&mut self, record: &MetadataRecord) -> Result<(), Impossible> {
        match record {
            MetadataRecord::RegisterBroker(record) => self.register_broker(record),
            MetadataRecord::UnregisterBroker(record) => self.unregister_broker(record),
            MetadataRecord::FenceBroker(record) => self.fence_broker(record.id, record.epoch, true),
            MetadataRecord::UnfenceBroker(record) => self.fence_broker(record.id, record.epoch, false),
            MetadataRecord::BrokerRegistrationChange(record) => self.change_broker(record),
            MetadataRecord::RegisterController(record) => self.register_controller(record),
            MetadataRecord::UnregisterController(record) => self.unregister_controller(record),
            MetadataRecord::Topic(record) => self.create_topic(record),
            MetadataRecord::RemoveTopic(record) => self.remove_topic(record),
            MetadataRecord::Partition(record) => self.set_partition(record),
            MetadataRecord::PartitionChange(record) => self.change_partition(record),
            MetadataRecord::ClearElr(record) => self.clear_elr(record),
            MetadataRecord::FeatureLevel(record) => self.set_feature(record),
            MetadataRecord::AccessControlEntry(record) => {
                self.acls.insert(record.id, Arc::new(record.clone()));
                Ok(())
            }
            MetadataRecord::RemoveAccessControlEntry(record) => {
                self.acls.remove(&record.id).map(drop).ok_or(Impossible::UnknownAcl(record.id))
            }
            MetadataRecord::Config(record) => {
                self.set_config(record);
                Ok(())
            }
            MetadataRecord::ClientQuota(record) => {
                self.set_quota(record);
                Ok(())
            }
            MetadataRecord::ProducerIds(record) => {
                self.next_producer_id = record.next_producer_id.max(NO_PRODUCER_ID);
                Ok(())
            }
            MetadataRecord::UserScramCredential(record) => {
                self.scram.insert((record.name.clone(), record.mechanism), Arc::new(record.clone()));
                Ok(())
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                self.scram.remove(&(record.name.clone(), record.mechanism));
                Ok(())
            }
            MetadataRecord::DelegationToken(record) => {
                self.tokens.insert(record.token_id.clone(), Arc::new(record.clone()));
                Ok(())
            }
            MetadataRecord::RemoveDelegationToken(record) => {
                self.tokens.remove(&record.token_id);
                Ok(())
            }
            // NoOp has no content. ZkMigrationState is about a migration that no Kafka 4 can be in.
            MetadataRecord::NoOp(_) | MetadataRecord::ZkMigrationState(_) => Ok(()),
            MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {
                unreachable!("transactions are of the image, not its state")
            }
        }
    }

    fn set_feature(&mut self, record: &FeatureLevelRecord) -> Result<(), Impossible> {
        let level = record.feature_level;
        match record.name.as_str() {
            METADATA_VERSION if MetadataVersion::from_level(level).is_none() => {
                return Err(Impossible::MetadataVersion(level));
            }
            // `kraft.version` is in the quorum's own records. A log of Kafka's may have it here by mistake (KAFKA-18979).
            KRAFT_VERSION => {}
            name if level == 0 => drop(self.features.remove(name)),
            name => drop(self.features.insert(name.to_string(), level)),
        }
        Ok(())
    }

    fn set_config(&mut self, record: &ConfigRecord) {
        let resource = ConfigResource { kind: record.resource_type, name: record.resource_name.clone() };
        let mut configs = self.configs.get(&resource).cloned().unwrap_or_default();
        set_or_remove(Arc::make_mut(&mut configs), &record.name, record.value.clone());
        if configs.is_empty() {
            self.configs.remove(&resource);
        } else {
            self.configs.insert(resource, configs);
        }
    }

    fn set_quota(&mut self, record: &ClientQuotaRecord) {
        let part = |part: &QuotaEntity| (part.entity_type.clone(), part.entity_name.clone());
        let target: QuotaTarget = record.entity.iter().map(part).collect();
        let mut values = self.quotas.get(&target).cloned().unwrap_or_default();
        set_or_remove(Arc::make_mut(&mut values), &record.key, (!record.remove).then_some(record.value));
        if values.is_empty() {
            self.quotas.remove(&target);
        } else {
            self.quotas.insert(target, values);
        }
    }
}

fn set_or_remove<V>(map: &mut BTreeMap<String, V>, key: &str, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key.to_string(), value)),
        None => drop(map.remove(key)),
    }
}
