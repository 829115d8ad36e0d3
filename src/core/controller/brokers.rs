//! Brokers come, stay and go: registration, heartbeats, fencing (KIP-631), and the first records of a cluster.

use ottla_model::feature::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION};
use ottla_model::image::{Broker, Endpoint, FeatureRange, Image, Partition};
use ottla_model::record::{
    BrokerRegistrationChangeRecord, ConfigRecord, FeatureLevelRecord, FencingChange, LeaderChange,
    MetadataRecord, PartitionChangeRecord, RegisterBrokerRecord, ResourceType,
};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_protocol::ErrorCode;
use uuid::Uuid;

use super::configs::MIN_INSYNC_REPLICAS;
use super::{Decision, Refusal, Reply, View};

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

pub(super) struct Wish {
    pub metadata_offset: i64,
    pub want_fence: bool,
    pub want_shutdown: bool,
}

pub(super) fn bootstrap(view: &View<'_>, metadata_version: i16, features: Vec<(String, i16)>) -> Decision {
    if view.image.feature(METADATA_VERSION) > 0 {
        return Decision::only(Reply::Bootstrapped);
    }
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
            value: Some(view.config.whole(MIN_INSYNC_REPLICAS).to_string()),
        }));
    }
    Decision { records, reply: Reply::Bootstrapped }
}

pub(super) fn register(view: &View<'_>, new: Registration) -> Decision {
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
        return Decision::only(Reply::BrokerRegistered(Err(refusal)));
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
    Decision { records, reply: Reply::BrokerRegistered(Ok(epoch)) }
}

pub(super) fn heartbeat(view: &View<'_>, id: NodeId, epoch: BrokerEpoch, wish: Wish) -> Decision {
    let broker = match known(view.image, id, epoch) {
        Ok(broker) => broker,
        Err(refusal) => return Decision::only(Reply::Heartbeat(Err(refusal))),
    };
    // A broker may serve only once it has seen its own registration.
    let caught_up = wish.metadata_offset >= epoch.0;
    let fenced = wish.want_fence || wish.want_shutdown || (broker.fenced && !caught_up);
    let answer = HeartbeatAnswer { fenced, should_shut_down: wish.want_shutdown, caught_up };
    let mut records = Vec::new();
    if fenced != broker.fenced {
        records.push(MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: epoch,
            fenced: if fenced { FencingChange::Fence } else { FencingChange::Unfence },
            ..BrokerRegistrationChangeRecord::default()
        }));
        if !fenced {
            records.extend(take_the_lead(view, id));
        }
    }
    Decision { records, reply: Reply::Heartbeat(Ok(answer)) }
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

// A broker that is back leads again what nobody else can lead, under a new epoch: its log may have lost what was
// not flushed, and a consumer that read further must be able to tell (KIP-320).
fn take_the_lead(view: &View<'_>, id: NodeId) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in view.image.topics() {
        for (index, partition) in &topic.partitions {
            let vacant = partition.leader.is_none_or(|leader| leader == id);
            let directory = partition.directory(id).zip(view.image.broker(id));
            let offline = directory.is_some_and(|(directory, broker)| !broker.has_online(directory));
            if !vacant || offline {
                continue;
            }
            let change = PartitionChangeRecord {
                partition_id: *index,
                topic_id: topic.id,
                leader: LeaderChange::To(id),
                ..PartitionChangeRecord::default()
            };
            if partition.isr.contains(&id) {
                records.push(MetadataRecord::PartitionChange(change));
            } else if partition.isr.is_empty() && is_eligible(partition, id) {
                let min_isr = min_insync_replicas(view.image, &topic.name).min(partition.replicas.len());
                records
                    .push(MetadataRecord::PartitionChange(from_the_eligible(change, partition, id, min_isr)));
            }
        }
    }
    records
}

// A replica that left the in-sync set while that was at its minimum has everything that was acknowledged (KIP-966).
// Where nobody is eligible, the one leader that is remembered is as good as any.
fn is_eligible(partition: &Partition, id: NodeId) -> bool {
    partition.elr.contains(&id) || (partition.elr.is_empty() && partition.last_known_elr == [id])
}

fn from_the_eligible(
    change: PartitionChangeRecord,
    partition: &Partition,
    id: NodeId,
    min_isr: usize,
) -> PartitionChangeRecord {
    let others: Vec<_> = partition.elr.iter().copied().filter(|other| *other != id).collect();
    let (elr, last_known) =
        if min_isr <= 1 { (Vec::new(), Vec::new()) } else { (others, partition.last_known_elr.clone()) };
    PartitionChangeRecord {
        isr: Some(vec![id]),
        eligible_leader_replicas: Some(elr),
        last_known_elr: Some(last_known),
        ..change
    }
}

/// The topic's own, or the cluster's, which is always on record where there are eligible leaders.
pub(super) fn min_insync_replicas(image: &Image, topic: &str) -> usize {
    let of = |kind, name: &str| image.configs(kind, name)?.get(MIN_INSYNC_REPLICAS)?.parse().ok();
    of(ResourceType::Topic, topic).or_else(|| of(ResourceType::Broker, "")).unwrap_or(1)
}
