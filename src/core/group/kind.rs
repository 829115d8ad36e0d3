//! A group of any kind, and the operations that all kinds have. Each kind has a folder of its own; classic groups are the
//! first, those of KIP-848 and later ones follow. A group name belongs to one kind at a time.

use ottla_model::group::{GroupId, GroupRecord};
use ottla_protocol::ErrorCode;

use super::Step;
use super::classic;
use super::command::CommitOffsets;
use super::offsets::Stored;
use super::reply::{GroupKind, GroupState, ListedGroup};

#[derive(Debug)]
pub(super) enum Group<T> {
    Classic(classic::Group<T>),
}

impl<T> Group<T> {
    /// The group that an offset commit creates if there is none: a group without members.
    pub fn of_offsets() -> Group<T> {
        Group::Classic(classic::Group::new(None))
    }

    /// `None`: the group is of another kind.
    pub fn classic(&self) -> Option<&classic::Group<T>> {
        match self {
            Group::Classic(group) => Some(group),
        }
    }

    /// `None`: the group is of another kind.
    pub fn classic_mut(&mut self) -> Option<&mut classic::Group<T>> {
        match self {
            Group::Classic(group) => Some(group),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is(GroupState::Empty),
        }
    }

    pub fn listed(&self, id: &GroupId) -> ListedGroup {
        match self {
            Group::Classic(group) => ListedGroup {
                group: id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state(),
                kind: GroupKind::Classic,
            },
        }
    }

    /// Whether the sender of the request may commit these offsets.
    pub fn check_commit(&self, commit: &CommitOffsets) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) => group.check_commit(commit),
        }
    }

    /// Whether offsets of the group can be deleted in topics that no member consumes.
    pub fn check_offsets_deletion(&self) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) if group.is(GroupState::Empty) || group.is_of_consumers() => Ok(()),
            Group::Classic(_) => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// Whether members consume the topic.
    pub fn subscribes(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.subscribes(topic),
        }
    }

    /// When the retention of an offset began that no member consumes. `None`: it does not expire now.
    pub fn retention_began_ms(&self, stored: &Stored) -> Option<i64> {
        match self {
            Group::Classic(group) => group.retention_began_ms(stored.commit.commit_timestamp_ms),
        }
    }

    /// Tombstones for the group's own records in the log. Its offsets have tombstones of their own.
    pub fn tombstones(&self, id: &GroupId, records: &mut Vec<GroupRecord>) {
        match self {
            Group::Classic(_) => records.push(GroupRecord::GroupMetadata { group: id.clone(), value: None }),
        }
    }

    /// Answers every parked request. The group must not be used afterwards.
    pub fn resign(self, step: &mut Step<'_, T>, error: ErrorCode) {
        match self {
            Group::Classic(group) => group.resign(step, error),
        }
    }
}
