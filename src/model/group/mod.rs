//! The records of `__consumer_offsets`, in Kafka's formats: the state that a group coordinator keeps in its log. It must
//! never know what follows from them; `ottla_core::group` decides that.
//!
//! A key begins with the type of its record, a value with the version of its layout. Types 0 to 2 are for classic groups
//! and their offsets. Types from 3 on are for KIP-848, KIP-932, KIP-1071 and later features: a type that is not in this
//! table is read as `None`, so that loading a log can skip it.

#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::primitives::ReadError;
use ottla_protocol::{LeaderEpoch, Offset};

use crate::{TopicId, TopicName};

/// The name of a group, `group.id`.
pub type GroupId = Arc<str>;

/// The id that a coordinator gave a member.
pub type MemberId = Arc<str>;

/// The name of a static member, which stays the same across restarts, `group.instance.id` (KIP-345).
pub type InstanceId = Arc<str>;

/// One record of `__consumer_offsets`. A value of `None` is a tombstone: it deletes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    OffsetCommit { key: OffsetKey, value: Option<OffsetCommit> },
    GroupMetadata { group: GroupId, value: Option<GroupMetadata> },
}

/// The group, topic and partition of an offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group: GroupId,
    pub topic: TopicName,
    pub partition: i32,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    pub offset: Offset,
    /// The leader epoch of the last consumed record (KIP-320).
    pub leader_epoch: LeaderEpoch,
    /// The client's own metadata; empty if it sent none.
    pub metadata: Arc<str>,
    pub commit_timestamp_ms: i64,
    /// `None`: the broker's retention applies. Clients could choose their own until OffsetCommit 4.
    pub expire_timestamp_ms: Option<i64>,
    /// `None`: the commit is from before there were topic ids in commits.
    pub topic_id: Option<TopicId>,
}

/// A generation of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty: nobody has ever joined the group.
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    /// When the group entered its state. `None` before version 2.
    pub current_state_timestamp_ms: Option<i64>,
    pub members: Vec<MemberMetadata>,
}

/// A member of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// `None` before version 1: the session timeout counts.
    pub rebalance_timeout_ms: Option<i32>,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// Why bytes could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the key: {0}")]
    Key(ReadError),
    #[error("{record}: {error}")]
    Value { record: &'static str, error: ReadError },
    #[error("{record} has no version {version}")]
    NoSuchVersion { record: &'static str, version: i16 },
}

impl GroupRecord {
    /// Encodes the record as Kafka 4.4 does.
    pub fn to_key_value(&self) -> (Bytes, Option<Bytes>) {
        wire::write(self)
    }

    /// Parses a record. `None`: its type is unknown.
    pub fn from_key_value(key: &Bytes, value: Option<&Bytes>) -> Result<Option<GroupRecord>, Unreadable> {
        wire::read(key, value)
    }

    pub fn group(&self) -> &GroupId {
        match self {
            GroupRecord::OffsetCommit { key, .. } => &key.group,
            GroupRecord::GroupMetadata { group, .. } => group,
        }
    }
}
