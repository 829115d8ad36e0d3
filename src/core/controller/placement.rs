//! Which brokers hold a new partition. Leaders and followers go round the brokers in stripes, so that each leads
//! about as many partitions as any other.

use ottla_model::image::Broker;
use ottla_model::{DIRECTORY_UNASSIGNED, DirectoryId, NodeId};
use ottla_protocol::ErrorCode;

use super::{Refusal, View};

/// The most partitions that one request may create or add, as in Kafka.
pub(super) const PARTITIONS_MAX: usize = 10_000;

/// The replicas of one partition, the preferred leader first, and those of them that are alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub replicas: Vec<NodeId>,
    pub directories: Vec<DirectoryId>,
    pub isr: Vec<NodeId>,
}

/// Spreads `partitions` of `factor` replicas over the brokers that are alive, from a random one on.
pub(super) fn spread(view: &mut View<'_>, partitions: i32, factor: i16) -> Result<Vec<Placement>, Refusal> {
    let refuse = |why: String| {
        let message = format!("Unable to replicate the partition {factor} time(s): {why}");
        Refusal::new(ErrorCode::InvalidReplicationFactor, message)
    };
    let all: Vec<&Broker> = view.image.brokers().map(|broker| &**broker).collect();
    if usize::try_from(factor).unwrap_or(0) > all.len() {
        return Err(refuse(format!(
            "The target replication factor of {factor} cannot be reached because only {} broker(s) are registered.",
            all.len()
        )));
    }
    // Fenced brokers take replicas only where there are not enough others, and never lead.
    let (mut order, mut fenced): (Vec<&Broker>, Vec<&Broker>) = all.into_iter().partition(|b| b.is_active());
    if order.is_empty() {
        return Err(refuse("All brokers are currently fenced or in controlled shutdown.".into()));
    }
    let alive = order.len();
    order.append(&mut fenced);
    let start = ((view.chance)() % alive as u64) as usize;
    let placed = (0..partitions as usize).map(|index| {
        let replicas: Vec<&Broker> = (0..factor as usize)
            .map(|r| if r < alive { order[(start + index + r) % alive] } else { order[r] })
            .collect();
        placement_of(view, &replicas)
    });
    Ok(placed.collect())
}

/// Takes the replicas that a client chose.
pub(super) fn by_hand(view: &View<'_>, replicas: &[NodeId]) -> Result<Placement, String> {
    if replicas.is_empty() {
        return Err("The manual partition assignment includes an empty replica list.".into());
    }
    let mut brokers: Vec<&Broker> = Vec::with_capacity(replicas.len());
    for id in replicas {
        let Some(broker) = view.image.broker(*id) else {
            return Err(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        };
        if !broker.takes_new_replicas() {
            return Err(format!(
                "The manual partition assignment includes broker {id}, but all its log directories are cordoned."
            ));
        }
        if brokers.iter().any(|known| known.id == *id) {
            return Err(format!("The manual partition assignment includes the broker {id} more than once."));
        }
        brokers.push(broker);
    }
    Ok(placement_of(view, &brokers))
}

fn placement_of(view: &View<'_>, replicas: &[&Broker]) -> Placement {
    let with_directories = if view.knows_directories() { replicas } else { &[] };
    Placement {
        replicas: replicas.iter().map(|b| b.id).collect(),
        directories: with_directories.iter().map(|b| directory_on(b)).collect(),
        isr: replicas.iter().filter(|b| b.is_active()).map(|b| b.id).collect(),
    }
}

// With a single directory there is nothing to choose; with several the broker assigns one (KIP-858).
fn directory_on(broker: &Broker) -> DirectoryId {
    match broker.log_dirs.as_slice() {
        [only] => *only,
        _ => DIRECTORY_UNASSIGNED,
    }
}
