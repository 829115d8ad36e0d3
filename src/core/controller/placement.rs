//! Which brokers hold a new partition. Leaders and followers go round the racks, and in each rack round its brokers, so
//! that each broker leads about as many partitions as any other and a partition's replicas are in many racks. These are
//! the rules of Kafka's `StripedReplicaPlacer`: a broker that is fenced takes replicas only where its rack has no other
//! one left, and is never the first.

use std::collections::BTreeMap;

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

/// Spreads `partitions` of `factor` replicas over the brokers and their racks.
pub(super) fn spread(view: &mut View<'_>, partitions: i32, factor: i16) -> Result<Vec<Placement>, Refusal> {
    let refuse = |why: String| {
        let message = format!("Unable to replicate the partition {factor} time(s): {why}");
        Refusal::new(ErrorCode::InvalidReplicationFactor, message)
    };
    // One that shuts down takes nothing new.
    let usable =
        |broker: &&Broker| broker.takes_new_replicas() && (broker.fenced || !broker.in_controlled_shutdown);
    let usable: Vec<&Broker> = view.image.brokers().map(|broker| &**broker).filter(usable).collect();
    let replicas = usize::try_from(factor).unwrap_or(0);
    if replicas == 0 {
        let why = format!("Invalid replication factor {factor}: the replication factor must be positive.");
        return Err(refuse(why));
    }
    if usable.iter().all(|broker| broker.fenced) {
        let why = "All brokers are currently fenced, or have all their log directories cordoned.";
        return Err(refuse(why.into()));
    }
    if replicas > usable.len() {
        return Err(refuse(format!(
            "The target replication factor of {factor} cannot be reached because only {} broker(s) are registered \
             or some brokers have all their log directories cordoned.",
            usable.len()
        )));
    }
    let mut racks = Racks::of(&usable, view.chance);
    let placed: Vec<Vec<&Broker>> = (0..partitions).map(|_| racks.place(replicas, view.chance)).collect();
    Ok(placed.iter().map(|brokers| placement_of(view, brokers)).collect())
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

/// The brokers of one rack that are alike, in the order in which they take replicas.
#[derive(Default)]
struct Stripe<'a> {
    brokers: Vec<&'a Broker>,
    /// Where this round began, and how many brokers it has had.
    offset: usize,
    taken: usize,
    round: usize,
}

impl<'a> Stripe<'a> {
    /// The next broker of this round. Each round begins one broker later than the one before.
    fn next(&mut self, round: usize) -> Option<&'a Broker> {
        let count = self.brokers.len();
        if self.round != round {
            (self.round, self.taken) = (round, 0);
            self.offset = (self.offset + 1) % count.max(1);
        }
        if self.taken >= count {
            return None;
        }
        self.taken += 1;
        Some(self.brokers[(self.offset + self.taken - 1) % count])
    }
}

#[derive(Default)]
struct Rack<'a> {
    serving: Stripe<'a>,
    fenced: Stripe<'a>,
}

/// All racks, in the order in which they take replicas. Brokers without a rack share one.
struct Racks<'a> {
    racks: Vec<Rack<'a>>,
    serving: usize,
    offset: usize,
    /// Each partition is one round. Kafka counts from 0 again with each new order, and takes a broker that was not used
    /// in between for used.
    round: usize,
}

impl<'a> Racks<'a> {
    fn of(usable: &[&'a Broker], chance: &mut dyn FnMut() -> u64) -> Racks<'a> {
        let mut by_name: BTreeMap<Option<&str>, Rack<'a>> = BTreeMap::new();
        for broker in usable {
            let rack = by_name.entry(broker.rack.as_deref()).or_default();
            let stripe = if broker.fenced { &mut rack.fenced } else { &mut rack.serving };
            stripe.brokers.push(broker);
        }
        let mut racks: Vec<Rack<'a>> = by_name.into_values().collect();
        for stripe in racks.iter_mut().flat_map(|rack| [&mut rack.serving, &mut rack.fenced]) {
            stripe.offset = below(stripe.brokers.len(), chance);
        }
        let offset = below(racks.len(), chance);
        let serving = usable.iter().filter(|broker| !broker.fenced).count();
        Racks { racks, serving, offset, round: 0 }
    }

    /// The replicas of the next partition. There are as many brokers as that, and one of them is not fenced.
    fn place(&mut self, replicas: usize, chance: &mut dyn FnMut() -> u64) -> Vec<&'a Broker> {
        // Everybody has led once: another order, so that the same brokers do not meet in every partition.
        if self.round > 0 && self.round.is_multiple_of(self.serving) && self.serving > 1 {
            self.shuffle(chance);
        }
        let (count, round, start) = (self.racks.len(), self.round, self.offset % self.racks.len());
        let mut placed = Vec::with_capacity(replicas);
        // The rack of the first replica is passed over once, so that the second one is in another rack.
        let mut led_from = None;
        for rack in (0..count).map(|step| (start + step) % count) {
            if let Some(first) = self.racks[rack].serving.next(round) {
                placed.push(first);
                led_from = Some(rack);
                break;
            }
        }
        let mut rack = start;
        while placed.len() < replicas {
            if led_from == Some(rack) {
                led_from = None;
            } else {
                let rack = &mut self.racks[rack];
                placed.extend(rack.serving.next(round).or_else(|| rack.fenced.next(round)));
            }
            rack = (rack + 1) % count;
        }
        self.round += 1;
        self.offset = start + 1;
        placed
    }

    fn shuffle(&mut self, chance: &mut dyn FnMut() -> u64) {
        shuffle(&mut self.racks, chance);
        for rack in &mut self.racks {
            shuffle(&mut rack.serving.brokers, chance);
            shuffle(&mut rack.fenced.brokers, chance);
        }
    }
}

fn below(bound: usize, chance: &mut dyn FnMut() -> u64) -> usize {
    (chance() % bound.max(1) as u64) as usize
}

fn shuffle<T>(list: &mut [T], chance: &mut dyn FnMut() -> u64) {
    for last in (1..list.len()).rev() {
        list.swap(last, below(last + 1, chance));
    }
}
