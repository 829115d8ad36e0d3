//! Brokers come and go: registration and its end (KIP-631), and the first records of a cluster.

use std::collections::BTreeSet;

use ottla_model::feature::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION};
use ottla_model::image::{Broker, Endpoint, FeatureRange, Image};
use ottla_model::record::{FeatureLevelRecord, MetadataRecord, RegisterBrokerRecord, UnregisterBrokerRecord};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, is_reserved, uuid_to_base64};
use ottla_protocol::ErrorCode;
use uuid::Uuid;

use super::{Bootstrap, Decision, Refusal, View, features, leadership};

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
    /// The epoch of the process before, if it stopped cleanly: its logs have everything (KIP-966).
    pub previous_epoch: Option<BrokerEpoch>,
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
        records.extend(features::one_minimum(view));
    }
    Decision { records, answer: () }
}

pub(super) fn register(view: &View<'_>, new: Registration) -> Decision<Result<BrokerEpoch, Refusal>> {
    let known = view.image.broker(new.id);
    let same = known.filter(|known| known.incarnation == new.incarnation);
    if let Err(refusal) = check(view, known.map(|known| &**known), &new) {
        return Decision::only(Err(refusal));
    }
    let mut records = Vec::new();
    if same.is_none() {
        let stopped_cleanly = known.is_some_and(|known| new.previous_epoch == Some(known.epoch));
        records.extend(leadership::broker_restarted(view, new.id, stopped_cleanly));
    }
    // A process that registers once more stays what it is. A new one has the offset of its own record for an epoch.
    let epoch = same.map_or(BrokerEpoch(view.next_offset + records.len() as i64), |same| same.epoch);
    let record = RegisterBrokerRecord {
        broker_id: new.id,
        incarnation_id: new.incarnation,
        broker_epoch: epoch,
        end_points: new.endpoints,
        features: new.features,
        rack: new.rack,
        fenced: same.is_none_or(|same| same.fenced),
        in_controlled_shutdown: same.is_some_and(|same| same.in_controlled_shutdown),
        log_dirs: if view.knows_directories() { new.log_dirs } else { Vec::new() },
        ..RegisterBrokerRecord::default()
    };
    records.push(MetadataRecord::RegisterBroker(record));
    Decision { records, answer: Ok(epoch) }
}

fn check(view: &View<'_>, known: Option<&Broker>, new: &Registration) -> Result<(), Refusal> {
    if let Some(known) = known
        && known.incarnation != new.incarnation
        && view.sessions.holds(new.id, known.epoch, view.now_ms)
    {
        // Two processes with one id: the one that is there stays until its session ends.
        let message = format!(
            "Another broker is registered with that broker id. If the broker was recently restarted this should self-resolve once the heartbeat timeout expires: node {}",
            new.id
        );
        return Err(Refusal::new(ErrorCode::DuplicateBrokerRegistration, message));
    }
    if view.knows_directories() {
        check_directories(view.image, new)?;
    }
    features::check_registration(view, &new.features)
}

fn check_directories(image: &Image, new: &Registration) -> Result<(), Refusal> {
    let wrong = |why: String| Err(Refusal::new(ErrorCode::InvalidRegistration, why));
    let unique: BTreeSet<&DirectoryId> = new.log_dirs.iter().collect();
    if unique.is_empty() {
        return wrong("The registration names no log directory".into());
    }
    if unique.iter().any(|id| is_reserved(**id)) {
        return wrong("The registration names a reserved directory id".into());
    }
    if unique.len() < new.log_dirs.len() {
        return wrong("The registration names a directory twice".into());
    }
    let others = image.brokers().filter(|broker| broker.id != new.id);
    for other in others {
        if let Some(taken) = other.log_dirs.iter().find(|id| unique.contains(id)) {
            let taken = uuid_to_base64(*taken);
            return wrong(format!("Broker {} is already registered with directory {taken}", other.id));
        }
    }
    Ok(())
}

/// UnregisterBroker: the broker is forgotten, and nothing is expected of its replicas any more.
pub(super) fn unregister(view: &View<'_>, id: NodeId) -> Decision<Result<(), Refusal>> {
    let Some(broker) = view.image.broker(id) else {
        let why = format!("Broker ID {id} is not currently registered");
        return Decision::only(Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, why)));
    };
    let mut records = leadership::broker_lost(view, id);
    let record = UnregisterBrokerRecord { broker_id: id, broker_epoch: broker.epoch };
    records.push(MetadataRecord::UnregisterBroker(record));
    Decision { records, answer: Ok(()) }
}

/// A broker that is registered, and knows of no later registration.
pub(super) fn known(image: &Image, id: NodeId, epoch: BrokerEpoch) -> Result<&Broker, Refusal> {
    let stale = |why: String| Refusal::new(ErrorCode::StaleBrokerEpoch, why);
    let unknown = || stale(format!("No broker registration found for broker id {id}"));
    let broker = image.broker(id).ok_or_else(unknown)?;
    match broker.epoch == epoch {
        true => Ok(broker),
        false => Err(stale(format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch))),
    }
}
