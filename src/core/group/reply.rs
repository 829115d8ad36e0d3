//! The replies of a shard of the group coordinator. Each has everything that any version of its response needs.

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
    /// Sorted by name.
    GroupsListed(Result<Vec<ListedGroup>, ErrorCode>),
    /// In the order of the request. A group that does not exist is GROUP_ID_NOT_FOUND here. Versions of DescribeGroups
    /// before 6 have the state `Dead` and no error instead; from 6 on they have both (KIP-1043).
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
    /// `None`: versions before 7 send the empty string.
    pub protocol: Option<Arc<str>>,
    /// Empty: there is none.
    pub leader: MemberId,
    pub skip_assignment: bool,
    pub member_id: MemberId,
    /// Empty for every member but the leader.
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
    /// In the order of the request. Versions before 3 have one member, whose error is that of the response.
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
    /// The error of the whole group. Before version 2 it is repeated in each partition.
    pub error: ErrorCode,
    pub topics: Vec<FetchedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    pub topic: TopicName,
    /// The id in the request. `None`: the request was for all topics.
    pub id: Option<TopicId>,
    pub partitions: Vec<FetchedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition: i32,
    pub error: ErrorCode,
    /// -1: nothing is committed.
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
    /// The chosen assignor. Empty unless the group is stable.
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

/// The state of a classic group. There is no `Dead`, since a deleted group does not exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

/// The protocol of a group. Others come with KIP-848, KIP-932 and KIP-1071.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    Classic,
}

impl GroupState {
    /// Kafka's spelling.
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
    /// Kafka's spelling.
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
