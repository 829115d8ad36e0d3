//! No committed offset is lost: whoever fetches what is committed is told what was acknowledged last, or a commit that came
//! later. It outlives any kill, and a loss of power where the offsets topic has `flush.messages=1`. A commit that was refused
//! has no effect.

use std::collections::BTreeMap;

use ottla_core::group::{CommitOffsets, FetchOffsets};
use ottla_model::group::GroupId;
use ottla_model::{TopicId, TopicName};
use ottla_protocol::{ErrorCode, Offset};

use crate::marks::{mark, mark_if};
use crate::verdict::{Verdict, Violation};

/// What was committed where.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    commits: BTreeMap<CommittedPartition, Commits>,
    heard: u64,
    /// `offsets.retention`, in runs that may see its end.
    pub retention_ms: Option<i64>,
}

/// Whose offset, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommittedPartition {
    pub group: GroupId,
    pub topic: TopicId,
    pub name: TopicName,
    pub partition: i32,
}

#[derive(Debug, Default)]
struct Commits {
    /// By offset: no two commits are of the same one.
    all: BTreeMap<Offset, Commit>,
    floor: Option<Commit>,
}

/// A commit as the node heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    number: u64,
    at_ms: i64,
    refused: bool,
}

impl Committed {
    /// The node hears a commit.
    pub fn asked(&mut self, now_ms: i64, commit: &CommitOffsets) {
        self.heard += 1;
        let heard = Commit { number: self.heard, at_ms: now_ms, refused: false };
        for (place, offset) in places(commit) {
            self.commits.entry(place).or_default().all.insert(offset, heard);
        }
    }

    /// And answers it, for one partition.
    pub fn answered(&mut self, place: &CommittedPartition, offset: Offset, error: ErrorCode) {
        let Some(commits) = self.commits.get_mut(place) else { return };
        let Some(commit) = commits.all.get_mut(&offset) else { return };
        // With any other error it may be in the log, or not.
        mark_if(error == ErrorCode::NotCoordinator, "it was not known whether an offset was committed");
        commit.refused = matches!(
            error,
            ErrorCode::UnknownMemberId
                | ErrorCode::FencedInstanceId
                | ErrorCode::IllegalGeneration
                | ErrorCode::RebalanceInProgress
                | ErrorCode::GroupIdNotFound
        );
        let commit = *commit;
        if error == ErrorCode::None {
            commits.is_known(commit);
        }
    }

    /// What a fetch that the node hears now must tell of at least.
    pub fn floor(&self, place: &CommittedPartition) -> Option<Commit> {
        self.commits.get(place).and_then(|commits| commits.floor)
    }

    /// Somebody was told what is committed: -1 is nothing.
    pub fn told(
        &mut self,
        now_ms: i64,
        place: &CommittedPartition,
        floor: Option<Commit>,
        offset: Offset,
    ) -> Verdict {
        if let Some(commit) = self.check(Some(now_ms), place, floor, offset)?
            && let Some(commits) = self.commits.get_mut(place)
        {
            commits.is_known(commit);
        }
        Ok(())
    }

    /// What a fresh load of the log says is committed.
    pub fn loaded(&self, place: &CommittedPartition, offset: Offset) -> Verdict {
        self.check(None, place, self.floor(place), offset).map(drop)
    }

    fn check(
        &self,
        now_ms: Option<i64>,
        place: &CommittedPartition,
        floor: Option<Commit>,
        offset: Offset,
    ) -> Result<Option<Commit>, Violation> {
        let wrong = |what: &str| {
            let CommittedPartition { group, name, partition, .. } = place;
            let what = format!("group {group}, {name}-{partition}: {what}; told {offset}, known {floor:?}");
            Err(Violation::new(NAME, what))
        };
        if offset < 0 {
            let may_expire = |commit: Commit| {
                self.retention_ms.is_some_and(|ms| now_ms.is_none_or(|now_ms| now_ms - commit.at_ms >= ms))
            };
            return match floor {
                Some(commit) if !may_expire(commit) => wrong("an acknowledged commit is gone"),
                Some(_) => {
                    mark("a committed offset expired");
                    Ok(None)
                }
                None => Ok(None),
            };
        }
        let commit = self.commits.get(place).and_then(|commits| commits.all.get(&offset));
        let Some(commit) = commit else { return wrong("nobody has committed that") };
        if commit.refused {
            return wrong("that commit was refused");
        }
        if floor.is_some_and(|floor| commit.number < floor.number) {
            return wrong("a commit came back that was replaced");
        }
        Ok(Some(*commit))
    }

    pub fn places(&self) -> impl Iterator<Item = &CommittedPartition> {
        self.commits.keys()
    }

    /// The power was lost, and the offsets topic promises nothing then.
    pub fn may_be_lost(&mut self) {
        mark_if(!self.commits.is_empty(), "the power may have taken committed offsets");
        self.commits.values_mut().for_each(|commits| commits.floor = None);
    }
}

impl Commits {
    fn is_known(&mut self, commit: Commit) {
        if self.floor.is_none_or(|floor| floor.number < commit.number) {
            self.floor = Some(commit);
        }
    }
}

/// What a commit is about.
pub(crate) fn places(commit: &CommitOffsets) -> impl Iterator<Item = (CommittedPartition, Offset)> + '_ {
    commit.topics.iter().flat_map(|topic| {
        topic.partitions.iter().filter_map(|asked| {
            let (group, name) = (commit.group.clone(), topic.topic.clone());
            let place = CommittedPartition { group, topic: topic.id?, name, partition: asked.partition };
            Some((place, asked.offset))
        })
    })
}

/// What a fetch is about.
pub(crate) fn fetched_places(fetch: &FetchOffsets) -> impl Iterator<Item = CommittedPartition> + '_ {
    fetch.topics.iter().flatten().flat_map(|topic| {
        topic.partitions.iter().filter_map(|partition| {
            let (group, name) = (fetch.group.clone(), topic.topic.clone());
            Some(CommittedPartition { group, topic: topic.id?, name, partition: *partition })
        })
    })
}

/// Commits are told apart by their offsets. The value of a commit's record begins with its version, in two bytes, and its offset: so
/// the number is where [`super::copy`] looks for it.
pub(crate) fn offset_of(number: u32) -> Offset {
    Offset::from(number) << 16
}

pub(crate) fn number_of(offset: Offset) -> Option<u32> {
    u32::try_from(offset >> 16).ok()
}

const NAME: &str = "no committed offset is lost";
