//! Electing leaders on request (KIP-183, KIP-460): the preferred one, or any that may lead.
//! Missing: unclean elections proper. A replica outside the in-sync set is never made leader.

use ottla_model::image::Image;
use ottla_model::record::{LeaderChange, MetadataRecord, PartitionChangeRecord};
use ottla_model::{NodeId, TopicName};
use ottla_protocol::ErrorCode;

use super::{Decision, Refusal, Reply, View};

/// Who is to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The first of its replicas.
    Preferred,
    /// Anybody, where nobody does.
    Unclean,
}

/// A topic's partitions and what became of each.
pub type Elected = Vec<(TopicName, Vec<(i32, Result<(), Refusal>)>)>;

/// `partitions`: none is every one, of which only those are told where something was to do.
pub(super) fn elect(
    view: &View<'_>,
    election: Election,
    partitions: Option<Vec<(TopicName, Vec<i32>)>>,
) -> Decision {
    let mut records = Vec::new();
    let told_all = partitions.is_some();
    let partitions = partitions.unwrap_or_else(|| {
        let all = view.image.topics();
        all.map(|topic| (topic.name.clone(), topic.partitions.keys().copied().collect())).collect()
    });
    let mut elected: Elected = Vec::new();
    for (name, indexes) in partitions {
        let mut outcomes = Vec::new();
        for index in indexes {
            let outcome = plan(view.image, &name, index, election).map(|record| records.push(record));
            let needless = matches!(&outcome, Err(refusal) if refusal.code == ErrorCode::ElectionNotNeeded);
            if told_all || !needless {
                outcomes.push((index, outcome));
            }
        }
        elected.push((name, outcomes));
    }
    Decision { records, reply: Reply::Elected(elected) }
}

fn plan(image: &Image, name: &str, index: i32, election: Election) -> Result<MetadataRecord, Refusal> {
    let unknown = |why: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, why);
    let topic = image.topic(name).ok_or_else(|| unknown(format!("There is no topic {name}")))?;
    let partition = topic
        .partitions
        .get(&index)
        .ok_or_else(|| unknown(format!("There is no partition {name}-{index}")))?;
    let preferred = partition.replicas.first().copied();
    let may_lead = |id: &NodeId| {
        let broker = image.broker(*id).filter(|broker| partition.isr.contains(id) && broker.is_active());
        broker.is_some_and(|broker| partition.directory(*id).is_none_or(|d| broker.has_online(d)))
    };
    let next = match election {
        Election::Preferred if partition.leader.is_some() && partition.leader == preferred => {
            return Err(ErrorCode::ElectionNotNeeded.into());
        }
        Election::Preferred => preferred.filter(may_lead).ok_or(ErrorCode::PreferredLeaderNotAvailable)?,
        Election::Unclean if partition.leader.is_some() => return Err(ErrorCode::ElectionNotNeeded.into()),
        Election::Unclean => {
            let first = partition.replicas.iter().copied().find(may_lead);
            first.ok_or(ErrorCode::EligibleLeadersNotAvailable)?
        }
    };
    Ok(MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: index,
        topic_id: topic.id,
        leader: LeaderChange::To(next),
        ..PartitionChangeRecord::default()
    }))
}
