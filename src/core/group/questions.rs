//! Which reply is the answer to which question to a shard of the group coordinator.

use ottla_model::group::GroupId;
use ottla_protocol::ErrorCode;

use super::command::*;
use super::reply::*;
use crate::question::{Question, questions};

/// A question about one group, which the group's shard answers.
pub trait OfGroup: Question<Command = Command, Reply = Reply> {
    fn group(&self) -> &GroupId;
}

/// One group. A DescribeGroups request may name several.
pub struct DescribeGroup(pub GroupId);

/// One group. A DeleteGroups request may name several.
pub struct DeleteGroup(pub GroupId);

questions! { Command, Reply:
    Join => Command::Join, Joined(Joined);
    Sync => Command::Sync, Synced(Synced);
    Heartbeat => Command::Heartbeat, Heartbeat(ErrorCode);
    Leave => Command::Leave, Left(Left);
    CommitOffsets => Command::CommitOffsets, OffsetsCommitted(OffsetsCommitted);
    FetchOffsets => Command::FetchOffsets, OffsetsFetched(OffsetsFetched);
    DeleteOffsets => Command::DeleteOffsets, OffsetsDeleted(OffsetsDeleted);
    DescribeGroup => |one| Command::DescribeGroups { groups: vec![one.0] },
        GroupsDescribed(Vec<(GroupId, Result<DescribedGroup, ErrorCode>)>);
    DeleteGroup => |one| Command::DeleteGroups { groups: vec![one.0] },
        GroupsDeleted(Vec<(GroupId, ErrorCode)>);
    ListGroups => Command::ListGroups, GroupsListed(Result<Vec<ListedGroup>, ErrorCode>);
}

macro_rules! of_group {
    ($($question:ident: $field:tt;)+) => {$(
        impl OfGroup for $question {
            fn group(&self) -> &GroupId {
                &self.$field
            }
        }
    )+};
}

of_group! {
    Join: group;
    Sync: group;
    Heartbeat: group;
    Leave: group;
    CommitOffsets: group;
    FetchOffsets: group;
    DeleteOffsets: group;
    DescribeGroup: 0;
    DeleteGroup: 0;
}
