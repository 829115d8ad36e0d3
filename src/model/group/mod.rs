//! The records of `__consumer_offsets`, in Kafka's formats: what a group's coordinator remembers.
//! It must never know what they lead to; `ottla_core::group` decides that.
//!
//! A key begins with its record's type, a value with the version of its layout. Types 0 to 2 are the classic
//! groups and their offsets; 3 and above belong to KIP-848, KIP-932 and KIP-1071, and to whatever comes later: one
//! that is not in this table reads as nothing, so that whoever loads a log can pass over it.

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

/// The name that a coordinator gave a member.
pub type MemberId = Arc<str>;

/// The name that a static member goes by across restarts, `group.instance.id` (KIP-345).
pub type InstanceId = Arc<str>;

/// One record of `__consumer_offsets`. A value of `None` is a tombstone: the key is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    OffsetCommit { key: OffsetKey, value: Option<OffsetCommit> },
    GroupMetadata { group: GroupId, value: Option<GroupMetadata> },
}

/// Whose offset, and of what.
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
    /// Of the last record that was consumed (KIP-320).
    pub leader_epoch: LeaderEpoch,
    /// The client's own note; empty where it gave none.
    pub metadata: Arc<str>,
    pub commit_timestamp_ms: i64,
    /// Only where the client chose a retention of its own, as it could until OffsetCommit 4.
    pub expire_timestamp_ms: Option<i64>,
    /// Absent in what was written before there were topic ids in commits.
    pub topic_id: Option<TopicId>,
}

/// A generation of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty for a group that nobody has joined.
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    /// When the group came into its state. Absent before version 2.
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
    /// Absent before version 1: the session timeout counts.
    pub rebalance_timeout_ms: Option<i32>,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// Why bytes are no record.
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
    /// As Kafka 4.4 writes it.
    pub fn to_key_value(&self) -> (Bytes, Option<Bytes>) {
        wire::write(self)
    }

    /// `None` if it is of a type that we don't know.
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
