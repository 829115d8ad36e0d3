//! What a shard of the group coordinator answers. Each reply says all that any version of its response needs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::group::{GroupId, InstanceId, MemberId};
use ottla_model::{TopicId, TopicName};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::command::CommitOffsets;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Joined(Joined),
    Synced(Synced),
    Heartbeat(ErrorCode),
    Left(Left),
    OffsetsCommitted(OffsetsCommitted),
    OffsetsFetched(OffsetsFetched),
    OffsetsDeleted(OffsetsDeleted),
    /// In the order of their names.
    GroupsListed(Result<Vec<ListedGroup>, ErrorCode>),
    /// In the order of the request. A group that does not exist is GROUP_ID_NOT_FOUND here: versions before 6 of
    /// DescribeGroups say it as the state `Dead` without an error, from 6 on both are said (KIP-1043).
    GroupsDescribed(Vec<(GroupId, Result<DescribedGroup, ErrorCode>)>),
    GroupsDeleted(Vec<(GroupId, ErrorCode)>),
    TopicsDeleted(ErrorCode),
    TransactionEnded(ErrorCode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub error: ErrorCode,
    /// -1 with most errors.
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    /// Versions before 7 say an absent one as the empty string.
    pub protocol: Option<Arc<str>>,
    /// Empty if there is none.
    pub leader: MemberId,
    pub skip_assignment: bool,
    pub member_id: MemberId,
    /// Only for the leader.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub error: ErrorCode,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub error: ErrorCode,
    /// In the order of the request. Versions before 3 have one member and say its error as the response's.
    pub members: Vec<LeftMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub error: ErrorCode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsCommitted {
    pub topics: Vec<CommittedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    pub topic: TopicName,
    pub id: Option<TopicId>,
    pub partitions: Vec<(i32, ErrorCode)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsFetched {
    pub group: GroupId,
    /// The whole group's. Before version 2 each partition says it.
    pub error: ErrorCode,
    pub topics: Vec<FetchedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    pub topic: TopicName,
    /// As it was asked; absent where all topics were asked for.
    pub id: Option<TopicId>,
    pub partitions: Vec<FetchedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition: i32,
    pub error: ErrorCode,
    /// -1 if nothing is committed.
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsDeleted {
    pub error: ErrorCode,
    pub topics: Vec<(TopicName, Vec<(i32, ErrorCode)>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group: GroupId,
    pub protocol_type: Arc<str>,
    pub state: GroupState,
    pub kind: GroupKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    pub state: GroupState,
    pub protocol_type: Arc<str>,
    /// The chosen assignor, where the group is stable; else empty.
    pub protocol: Arc<str>,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// The state of a classic group. `Dead` has no place here: a group that is gone does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

/// The protocol that a group is kept by; the others come with KIP-848, KIP-932 and KIP-1071.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    Classic,
}

impl GroupState {
    /// As Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl GroupKind {
    /// As Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            GroupKind::Classic => "classic",
        }
    }
}

impl Joined {
    pub(super) fn refused(member_id: MemberId, error: ErrorCode) -> Joined {
        Joined {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl Synced {
    pub(super) fn refused(error: ErrorCode) -> Synced {
        Synced { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

impl OffsetsCommitted {
    pub(super) fn all(
        commit: &CommitOffsets,
        mut verdict: impl FnMut(&super::command::CommitPartition) -> ErrorCode,
    ) -> OffsetsCommitted {
        let topic = |topic: &super::command::CommitTopic| CommittedTopic {
            topic: topic.topic.clone(),
            id: topic.id,
            partitions: topic.partitions.iter().map(|asked| (asked.partition, verdict(asked))).collect(),
        };
        OffsetsCommitted { topics: commit.topics.iter().map(topic).collect() }
    }
}
