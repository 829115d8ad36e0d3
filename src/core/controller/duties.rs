//! What the active controller does by itself, without being asked: it fences brokers that are not heard of, gives
//! partitions back to their preferred leaders, and lets somebody lead where nobody does and the topic allows it.

use ottla_model::NodeId;
use ottla_model::image::{Partition, Topic};
use ottla_model::record::MetadataRecord;

use super::leadership::{self, Candidates, Target};
use super::{View, heartbeats};

/// As many partitions get another leader at once as in Kafka; the rest follows at once.
pub const ELECTIONS_MAX: usize = 1_000;

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// This broker was not heard of for the time of a session.
    Fence(NodeId),
    /// Every `leader.imbalance.check.interval.seconds`.
    ElectPreferred,
    /// Every `unclean.leader.election.interval.ms`.
    ElectUnclean,
}

/// The records that this takes.
pub fn perform(view: &View<'_>, duty: Duty) -> Vec<MetadataRecord> {
    match duty {
        Duty::Fence(id) => {
            view.image.broker(id).map(|broker| heartbeats::fence(view, broker)).unwrap_or_default()
        }
        Duty::ElectPreferred => elect(view, Candidates::PreferredFirst, |_, partition| {
            partition.leader != partition.preferred_leader()
        }),
        Duty::ElectUnclean => elect(view, Candidates::Anybody, |topic, partition| {
            partition.leader.is_none() && leadership::may_elect_uncleanly(view, topic)
        }),
    }
}

fn elect(
    view: &View<'_>,
    candidates: Candidates,
    due: impl Fn(&Topic, &Partition) -> bool,
) -> Vec<MetadataRecord> {
    let changes = view.image.topics().flat_map(|topic| {
        let due = topic.partitions.iter().filter(|(_, partition)| due(topic, partition));
        due.filter_map(|(index, partition)| {
            let target = Target::of(partition).with_candidates(candidates);
            leadership::change(view, topic, *index, target)
        })
    });
    changes.take(ELECTIONS_MAX).collect()
}
