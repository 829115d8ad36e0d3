//! The requests to a shard of the group coordinator, in the domain's terms. It must never know API versions: where
//! versions differ, there is a field for the difference.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::group::{GroupId, InstanceId, MemberId};
use ottla_model::{TopicId, TopicName};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::reply::*;
use crate::coordinator::InTransaction;

#[derive(Clone, Debug)]
pub enum Command {
    Join(Join),
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Leave),
    CommitOffsets(CommitOffsets),
    FetchOffsets(FetchOffsets),
    DeleteOffsets(DeleteOffsets),
    ListGroups(ListGroups),
    DescribeGroups {
        groups: Vec<GroupId>,
    },
    DeleteGroups {
        groups: Vec<GroupId>,
    },
    /// The topics were deleted, so the offsets committed in them are removed.
    TopicsDeleted {
        topics: Vec<(TopicName, TopicId)>,
    },
}

#[derive(Clone, Debug)]
pub struct Join {
    pub group: GroupId,
    /// Empty: the member has no id yet.
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub client_id: Arc<str>,
    /// In Java's spelling of an address: `/127.0.0.1`.
    pub client_host: Arc<str>,
    pub session_timeout_ms: i32,
    /// Negative: the request version has no such field, and the session timeout counts.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: Arc<str>,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// From version 4 on, a new dynamic member has to join again with the id that it is given (KIP-394).
    pub member_id_required: bool,
    /// From version 9 on, a leader can be told that no assignment is needed (KIP-814).
    pub can_skip_assignment: bool,
    pub reason: Option<String>,
}

/// An assignor, and the member's metadata for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub group: GroupId,
    pub generation: i32,
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    /// `None` before version 5 (KIP-559). The API checks that later versions have it.
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    /// Only the leader's assignments are used.
    pub assignments: Vec<(MemberId, Bytes)>,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: GroupId,
    pub generation: i32,
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
}

#[derive(Clone, Debug)]
pub struct Leave {
    pub group: GroupId,
    /// Exactly one before version 3.
    pub members: Vec<Leaver>,
}

#[derive(Clone, Debug)]
pub struct Leaver {
    /// Empty: a static member is removed by its instance id.
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug)]
pub struct CommitOffsets {
    pub group: GroupId,
    /// Empty: the group is not managed.
    pub member_id: MemberId,
    /// Negative: the group is not managed.
    pub generation: i32,
    pub instance_id: Option<InstanceId>,
    /// The client's own retention, in versions 2 to 4. `None`: the request had none, or -1.
    pub retention_ms: Option<i64>,
    /// The transaction that the offsets belong to (TxnOffsetCommit, KIP-98): they count once it is committed.
    pub transaction: Option<InTransaction>,
    /// Whether the client expects GROUP_ID_NOT_FOUND (OffsetCommit 9, TxnOffsetCommit 6) instead of ILLEGAL_GENERATION.
    pub knows_group_id_not_found: bool,
    /// Topics that exist. The API answers for the others.
    pub topics: Vec<CommitTopic>,
}

#[derive(Clone, Debug)]
pub struct CommitTopic {
    pub topic: TopicName,
    pub id: Option<TopicId>,
    pub partitions: Vec<CommitPartition>,
}

#[derive(Clone, Debug)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub struct FetchOffsets {
    pub group: GroupId,
    /// `None`: all topics of the group.
    pub topics: Option<Vec<FetchTopic>>,
    /// An offset with a commit in an open transaction is an error. Otherwise the committed value is returned (KIP-447).
    pub require_stable: bool,
}

#[derive(Clone, Debug)]
pub struct FetchTopic {
    pub topic: TopicName,
    /// An offset that was committed under another topic id does not count.
    pub id: Option<TopicId>,
    pub partitions: Vec<i32>,
}

#[derive(Clone, Debug)]
pub struct DeleteOffsets {
    pub group: GroupId,
    pub topics: Vec<(TopicName, Vec<i32>)>,
}

/// An empty filter matches everything. Case does not matter.
#[derive(Clone, Debug, Default)]
pub struct ListGroups {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

impl Command {
    /// The group that the command is about. `None`: it is about several groups.
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Command::Join(join) => Some(&join.group),
            Command::Sync(sync) => Some(&sync.group),
            Command::Heartbeat(heartbeat) => Some(&heartbeat.group),
            Command::Leave(leave) => Some(&leave.group),
            Command::CommitOffsets(commit) => Some(&commit.group),
            Command::FetchOffsets(fetch) => Some(&fetch.group),
            Command::DeleteOffsets(delete) => Some(&delete.group),
            Command::ListGroups(_)
            | Command::DescribeGroups { .. }
            | Command::DeleteGroups { .. }
            | Command::TopicsDeleted { .. } => None,
        }
    }

    /// The reply with `error` for every part of the command, from a shard that does not process it.
    pub fn refused(&self, error: ErrorCode) -> Reply {
        match self {
            Command::Join(join) => Reply::Joined(Joined::refused(join.member_id.clone(), error)),
            Command::Sync(_) => Reply::Synced(Synced::refused(error)),
            Command::Heartbeat(_) => Reply::Heartbeat(error),
            Command::Leave(_) => Reply::Left(Left { error, members: Vec::new() }),
            Command::CommitOffsets(commit) => {
                Reply::OffsetsCommitted(OffsetsCommitted::all(commit, |_| error))
            }
            Command::FetchOffsets(fetch) => Reply::OffsetsFetched(OffsetsFetched {
                group: fetch.group.clone(),
                error,
                topics: Vec::new(),
            }),
            Command::DeleteOffsets(_) => Reply::OffsetsDeleted(OffsetsDeleted { error, topics: Vec::new() }),
            Command::ListGroups(_) => Reply::GroupsListed(Err(error)),
            Command::DescribeGroups { groups } => {
                Reply::GroupsDescribed(groups.iter().map(|group| (group.clone(), Err(error))).collect())
            }
            Command::DeleteGroups { groups } => {
                Reply::GroupsDeleted(groups.iter().map(|group| (group.clone(), error)).collect())
            }
            Command::TopicsDeleted { .. } => Reply::TopicsDeleted(error),
        }
    }
}
