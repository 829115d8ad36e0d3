//! Brokers come, stay and go: registration, heartbeats, fencing (KIP-631), and the first records of a cluster.

use ottla_model::feature::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION};
use ottla_model::image::{Broker, Endpoint, FeatureRange, Image};
use ottla_model::record::{
    BrokerRegistrationChangeRecord, ConfigRecord, FeatureLevelRecord, FencingChange, MetadataRecord,
    RegisterBrokerRecord, ResourceType,
};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_protocol::ErrorCode;
use uuid::Uuid;

use super::configs::MIN_INSYNC_REPLICAS;
use super::{Bootstrap, Decision, Heartbeat, Refusal, View, leadership};

/// A broker that introduces itself.
#[derive(Clone, Debug)]
pub struct Registration {
    pub id: NodeId,
    /// New at each start of the process.
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    pub log_dirs: Vec<DirectoryId>,
    pub features: Vec<FeatureRange>,
}

/// What the controller thinks of a broker after its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    pub fenced: bool,
    pub should_shut_down: bool,
    pub caught_up: bool,
}

pub(super) fn bootstrap(view: &View<'_>, new: Bootstrap) -> Decision<()> {
    if view.image.feature(METADATA_VERSION) > 0 {
        return Decision::only(());
    }
    let Bootstrap { metadata_version, features } = new;
    let level = |name: &str, feature_level: i16| {
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level })
    };
    let mut records = vec![level(METADATA_VERSION, metadata_version)];
    records.extend(features.iter().map(|(name, feature_level)| level(name, *feature_level)));
    if features.iter().any(|(name, level)| name == ELIGIBLE_LEADER_REPLICAS_VERSION && *level > 0) {
        // From here on all brokers go by one number (KIP-966): the one that the first of them was started with.
        records.push(MetadataRecord::Config(ConfigRecord {
            resource_type: ResourceType::Broker,
            resource_name: String::new(),
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value: Some(view.config.min_insync_replicas.to_string()),
        }));
    }
    Decision { records, answer: () }
}

pub(super) fn register(view: &View<'_>, new: Registration) -> Decision<Result<BrokerEpoch, Refusal>> {
    if let Some(known) = view.image.broker(new.id)
        && known.incarnation != new.incarnation
        && view.sessions.contains(&new.id)
    {
        // Two processes with one id: the one that is there stays until its session ends.
        let message = format!(
            "Another broker is registered with that broker id. If the broker was recently restarted this should self-resolve once the heartbeat timeout expires: node {}",
            new.id
        );
        let refusal = Refusal::new(ErrorCode::DuplicateBrokerRegistration, message);
        return Decision::only(Err(refusal));
    }
    let epoch = BrokerEpoch(view.next_offset);
    let record = RegisterBrokerRecord {
        broker_id: new.id,
        incarnation_id: new.incarnation,
        broker_epoch: epoch,
        end_points: new.endpoints,
        features: new.features,
        rack: new.rack,
        fenced: true,
        log_dirs: if view.knows_directories() { new.log_dirs } else { Vec::new() },
        ..RegisterBrokerRecord::default()
    };
    let records = vec![MetadataRecord::RegisterBroker(record)];
    Decision { records, answer: Ok(epoch) }
}

pub(super) fn heartbeat(
    view: &View<'_>,
    heartbeat: &Heartbeat,
) -> Decision<Result<HeartbeatAnswer, Refusal>> {
    let Heartbeat { broker: id, epoch, metadata_offset, want_fence, want_shutdown } = *heartbeat;
    let broker = match known(view.image, id, epoch) {
        Ok(broker) => broker,
        Err(refusal) => return Decision::only(Err(refusal)),
    };
    // A broker may serve only once it has seen its own registration.
    let caught_up = metadata_offset >= epoch.0;
    let fenced = want_fence || want_shutdown || (broker.fenced && !caught_up);
    let answer = HeartbeatAnswer { fenced, should_shut_down: want_shutdown, caught_up };
    let mut records = Vec::new();
    if fenced != broker.fenced {
        records.push(MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: epoch,
            fenced: if fenced { FencingChange::Fence } else { FencingChange::Unfence },
            ..BrokerRegistrationChangeRecord::default()
        }));
        if !fenced {
            records.extend(leadership::broker_returned(view, id));
        }
    }
    Decision { records, answer: Ok(answer) }
}

/// A broker that is registered, and knows of no later registration.
pub(super) fn known(image: &Image, id: NodeId, epoch: BrokerEpoch) -> Result<&Broker, Refusal> {
    let unknown =
        || Refusal::new(ErrorCode::BrokerIdNotRegistered, format!("No broker is registered with id {id}."));
    let broker = image.broker(id).ok_or_else(unknown)?;
    if broker.epoch != epoch {
        let why = format!("Expected broker epoch {}, but got broker epoch {epoch}.", broker.epoch);
        return Err(Refusal::new(ErrorCode::StaleBrokerEpoch, why));
    }
    Ok(broker)
}
