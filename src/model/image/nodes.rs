//! Records about brokers and controllers, applied as Kafka's `ClusterDelta` does.

use std::sync::Arc;

use super::{Broker, Controller, Endpoint, Impossible, State};
use crate::ids::{BrokerEpoch, DirectoryId, NodeId};
use crate::record::*;

impl State {
    pub(super) fn register_broker(&mut self, record: &RegisterBrokerRecord) -> Result<(), Impossible> {
        let broker = Broker {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation: record.incarnation_id,
            endpoints: named(record.broker_id, &record.end_points)?,
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: sorted(&record.log_dirs),
            cordoned_log_dirs: record.cordoned_log_dirs.clone(),
            features: record.features.clone(),
            is_migrating_zk_broker: record.is_migrating_zk_broker,
        };
        self.brokers.insert(broker.id, Arc::new(broker));
        Ok(())
    }

    pub(super) fn unregister_broker(&mut self, record: &UnregisterBrokerRecord) -> Result<(), Impossible> {
        self.broker_mut(record.broker_id, record.broker_epoch)?;
        self.brokers.remove(&record.broker_id);
        Ok(())
    }

    pub(super) fn fence_broker(
        &mut self,
        id: NodeId,
        epoch: BrokerEpoch,
        fenced: bool,
    ) -> Result<(), Impossible> {
        self.broker_mut(id, epoch)?.fenced = fenced;
        Ok(())
    }

    pub(super) fn change_broker(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
    ) -> Result<(), Impossible> {
        let broker = self.broker_mut(record.broker_id, record.broker_epoch)?;
        match record.fenced {
            FencingChange::Unchanged => {}
            FencingChange::Fence => broker.fenced = true,
            FencingChange::Unfence => broker.fenced = false,
        }
        // Only a new registration ends a controlled shutdown.
        broker.in_controlled_shutdown |= record.in_controlled_shutdown;
        if !record.log_dirs.is_empty() {
            broker.log_dirs = sorted(&record.log_dirs);
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_log_dirs = Some(cordoned.clone());
        }
        Ok(())
    }

    pub(super) fn register_controller(
        &mut self,
        record: &RegisterControllerRecord,
    ) -> Result<(), Impossible> {
        let controller = Controller {
            id: record.controller_id,
            incarnation: record.incarnation_id,
            endpoints: named(record.controller_id, &record.end_points)?,
            features: record.features.clone(),
            zk_migration_ready: record.zk_migration_ready,
        };
        self.controllers.insert(controller.id, Arc::new(controller));
        Ok(())
    }

    pub(super) fn unregister_controller(
        &mut self,
        record: &UnregisterControllerRecord,
    ) -> Result<(), Impossible> {
        let id = record.controller_id;
        self.controllers.remove(&id).map(drop).ok_or(Impossible::UnknownController(id))
    }

    /// The broker, for changes, if it still has that epoch.
    fn broker_mut(&mut self, id: NodeId, given: BrokerEpoch) -> Result<&mut Broker, Impossible> {
        let broker = self.brokers.get_mut(&id).ok_or(Impossible::UnknownBroker(id))?;
        if broker.epoch != given {
            return Err(Impossible::BrokerEpoch { id, current: broker.epoch, given });
        }
        Ok(Arc::make_mut(broker))
    }
}

fn named(node: NodeId, endpoints: &[Endpoint]) -> Result<Vec<Endpoint>, Impossible> {
    if endpoints.iter().any(|endpoint| endpoint.name.is_empty()) {
        return Err(Impossible::UnnamedListener(node));
    }
    Ok(endpoints.to_vec())
}

fn sorted(directories: &[DirectoryId]) -> Vec<DirectoryId> {
    let mut sorted = directories.to_vec();
    sorted.sort_unstable();
    sorted
}
