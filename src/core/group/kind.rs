//! A group of any kind, and what is asked of all kinds alike. Kinds stand beside each other in folders of their own;
//! classic groups are the first, those of KIP-848 and later ones follow. One name belongs to one kind at a time.

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
    /// What an offset makes that is committed in a group that does not exist: a group without members.
    pub fn of_offsets() -> Group<T> {
        Group::Classic(classic::Group::new(None))
    }

    /// `None` if it is of another kind.
    pub fn classic(&self) -> Option<&classic::Group<T>> {
        match self {
            Group::Classic(group) => Some(group),
        }
    }

    /// `None` if it is of another kind.
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

    /// Whether the offsets come from who may commit them.
    pub fn check_commit(&self, commit: &CommitOffsets) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) => group.check_commit(commit),
        }
    }

    /// Whether offsets can be deleted of it, where no member consumes their topic.
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

    /// Tombstones for all that the log has of the group itself. Its offsets have their own.
    pub fn tombstones(&self, id: &GroupId, records: &mut Vec<GroupRecord>) {
        match self {
            Group::Classic(_) => records.push(GroupRecord::GroupMetadata { group: id.clone(), value: None }),
        }
    }

    /// Tells every member that waits. The group is of no use afterwards.
    pub fn resign(self, step: &mut Step<'_, T>, error: ErrorCode) {
        match self {
            Group::Classic(group) => group.resign(step, error),
        }
    }
}
