//! What the group coordinator's APIs share: words of the wire turned into the domain's, and back, and questions to the shard
//! of a group.

use std::net::IpAddr;
use std::sync::Arc;

use ottla_core::group::{
    Command, CommitOffsets, DeleteOffsets, DescribedGroup, FetchOffsets, Heartbeat, Join, Joined, Leave,
    Left, ListGroups, ListedGroup, OffsetsCommitted, OffsetsDeleted, OffsetsFetched, Reply, Sync, Synced,
};
use ottla_protocol::messages::GroupId;
use ottla_protocol::{ErrorCode, StrBytes};

use crate::broker::Broker;
use crate::run;

/// One copy, shared from here on.
pub(super) fn shared(text: &StrBytes) -> Arc<str> {
    Arc::from(&**text)
}

pub(super) fn shared_option(text: &Option<StrBytes>) -> Option<Arc<str>> {
    text.as_ref().map(shared)
}

pub(super) fn text_of(shared: &Arc<str>) -> StrBytes {
    StrBytes::from_string((**shared).to_owned())
}

pub(super) fn text_option(shared: &Option<Arc<str>>) -> Option<StrBytes> {
    shared.as_ref().map(text_of)
}

pub(super) fn group_of(shared: &Arc<str>) -> GroupId {
    GroupId(text_of(shared))
}

/// An address as Java writes one: a slash, and IPv6 without abbreviation.
pub(super) fn java_address(ip: IpAddr) -> Arc<str> {
    let written = match ip.to_canonical() {
        IpAddr::V4(v4) => format!("/{v4}"),
        IpAddr::V6(v6) => format!("/{}", v6.segments().map(|s| format!("{s:x}")).join(":")),
    };
    Arc::from(written)
}

/// What is asked of the shard of a group, and the type of its answer.
pub(super) trait Question {
    type Answer;

    fn group(&self) -> GroupName;
    fn command(self) -> Command;
    /// What was asked for, or the reply if it is of another kind.
    fn answer(reply: Reply) -> Result<Self::Answer, Reply>;
}

type GroupName = Arc<str>;

/// Asks the shard of a group.
pub(super) async fn ask<Q: Question>(broker: &Arc<Broker>, question: Q) -> Q::Answer {
    let group = question.group();
    let reply = run::owners::groups::ask(broker, &group, question.command()).await;
    // Another kind of reply is our own mistake, and the task that made it ends.
    Q::answer(reply).unwrap_or_else(|reply| panic!("the coordinator answered something else: {reply:?}"))
}

/// Asks for one group, which DescribeGroups may name among others.
pub(super) struct DescribeGroup(pub GroupName);

/// Asks for one group, which DeleteGroups may name among others.
pub(super) struct DeleteGroup(pub GroupName);

macro_rules! questions {
    ($($question:ident, |$this:ident| $group:expr, $command:expr, $reply:ident($answer:ty);)+) => {$(
        impl Question for $question {
            type Answer = $answer;

            fn group(&self) -> GroupName {
                let $this = self;
                $group.clone()
            }

            fn command(self) -> Command {
                let $this = self;
                $command
            }

            fn answer(reply: Reply) -> Result<$answer, Reply> {
                match reply {
                    Reply::$reply(answer) => Ok(answer),
                    other => Err(other),
                }
            }
        }
    )+};
}

questions! {
    Join, |join| join.group, Command::Join(join), Joined(Joined);
    Sync, |sync| sync.group, Command::Sync(sync), Synced(Synced);
    Heartbeat, |beat| beat.group, Command::Heartbeat(beat), Heartbeat(ErrorCode);
    Leave, |leave| leave.group, Command::Leave(leave), Left(Left);
    CommitOffsets, |commit| commit.group, Command::CommitOffsets(commit), OffsetsCommitted(OffsetsCommitted);
    FetchOffsets, |fetch| fetch.group, Command::FetchOffsets(fetch), OffsetsFetched(OffsetsFetched);
    DeleteOffsets, |delete| delete.group, Command::DeleteOffsets(delete), OffsetsDeleted(OffsetsDeleted);
    DescribeGroup, |one| one.0, Command::DescribeGroups { groups: vec![one.0] },
        GroupsDescribed(Vec<(GroupName, Result<DescribedGroup, ErrorCode>)>);
    DeleteGroup, |one| one.0, Command::DeleteGroups { groups: vec![one.0] },
        GroupsDeleted(Vec<(GroupName, ErrorCode)>);
}

/// Asks every shard that lives here for its groups.
pub(super) async fn list(broker: &Arc<Broker>, list: ListGroups) -> Vec<Result<Vec<ListedGroup>, ErrorCode>> {
    let replies = run::owners::groups::ask_all(broker, &Command::ListGroups(list)).await.into_iter();
    let listed = replies.map(|reply| match reply {
        Reply::GroupsListed(listed) => listed,
        other => panic!("the coordinator answered something else: {other:?}"),
    });
    listed.collect()
}
