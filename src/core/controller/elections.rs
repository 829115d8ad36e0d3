//! Electing leaders on request (KIP-183, KIP-460): the preferred one, or any that may lead.

use ottla_model::TopicName;
use ottla_model::record::MetadataRecord;
use ottla_protocol::ErrorCode;

use super::leadership::{self, Candidates, Target};
use super::{Decision, ElectLeaders, Refusal, View};

/// Which election a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The first replica is to lead.
    Preferred,
    /// Somebody is to lead where nobody does, even a replica that is not in sync.
    Unclean,
}

/// A topic's partitions and what became of each.
pub type Elected = Vec<(TopicName, Vec<(i32, Result<(), Refusal>)>)>;

pub(super) fn elect(view: &View<'_>, elect: ElectLeaders) -> Decision<Elected> {
    let ElectLeaders { election, partitions } = elect;
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
            let outcome = plan(view, &name, index, election).map(|record| records.push(record));
            let needless = matches!(&outcome, Err(refusal) if refusal.code == ErrorCode::ElectionNotNeeded);
            if told_all || !needless {
                outcomes.push((index, outcome));
            }
        }
        elected.push((name, outcomes));
    }
    Decision { records, answer: elected }
}

fn plan(view: &View<'_>, name: &str, index: i32, election: Election) -> Result<MetadataRecord, Refusal> {
    let unknown = |why: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, why);
    let topic = view.image.topic(name).ok_or_else(|| unknown(format!("There is no topic {name}")))?;
    let partition = topic
        .partitions
        .get(&index)
        .ok_or_else(|| unknown(format!("There is no partition {name}-{index}")))?;
    let (needless, candidates, unavailable) = match election {
        Election::Preferred => (
            partition.leader.is_some() && partition.leader == partition.preferred_leader(),
            Candidates::PreferredFirst,
            ErrorCode::PreferredLeaderNotAvailable,
        ),
        Election::Unclean => {
            (partition.leader.is_some(), Candidates::Anybody, ErrorCode::EligibleLeadersNotAvailable)
        }
    };
    if needless {
        return Err(ErrorCode::ElectionNotNeeded.into());
    }
    let target = Target::of(partition).with_candidates(candidates);
    leadership::change(view, topic, index, target).ok_or_else(|| unavailable.into())
}
