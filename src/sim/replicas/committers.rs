//! Who uses the coordinator: members of groups, and clients that commit offsets and ask for them, one question at a time. They
//! ask whoever leads then, and must never know more than a client is told.

use ottla_core::group::{
    Command, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, FetchTopic, Reply,
};
use ottla_model::group::GroupId;
use ottla_model::{TopicId, TopicName};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::coordinating::Asker;
use super::process::{Message, To};
use super::{COMMITTERS, Global, Replicas};
use crate::bus::Place;
use crate::clients::{GroupMember, MemberAround, Subscribed};
use crate::dice::Dice;
use crate::invariants::committed::offset_of;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::verdict::Verdict;

pub(super) enum Committer {
    /// Of no group's members: who assigns partitions to itself.
    Alone(Alone),
    Member(Box<GroupMember>),
}

#[derive(Debug)]
pub(super) struct Alone {
    group: GroupId,
    /// The last question, and whether it was a commit.
    asked: Option<(u64, bool)>,
    commits: u32,
    /// Since nothing goes wrong any more, one of its commits was taken, and it was told what is committed.
    served: (bool, bool),
}

impl Committer {
    /// Some of them share a group.
    pub fn draw(client: usize, groups: u64, dice: &mut Dice) -> Committer {
        if dice.percent(50) {
            return Committer::Member(Box::new(GroupMember::new(client, groups, dice).far_away()));
        }
        let group = GroupId::from(format!("alone{}", dice.below(groups)));
        Committer::Alone(Alone { group, asked: None, commits: 0, served: (false, false) })
    }

    pub fn is_done(&self) -> bool {
        match self {
            Committer::Alone(alone) => alone.served == (true, true),
            Committer::Member(member) => member.is_done(),
        }
    }

    fn wake(&mut self, around: &mut MemberAround<'_>) -> i64 {
        match self {
            Committer::Alone(alone) => alone.wake(around),
            Committer::Member(member) => member.wake(around),
        }
    }

    fn hear(&mut self, request: u64, reply: &Reply, around: &mut MemberAround<'_>) -> Verdict {
        match self {
            Committer::Alone(alone) => {
                alone.hear(request, reply, around);
                Ok(())
            }
            Committer::Member(member) => member.hear(request, reply, around),
        }
    }
}

impl Alone {
    fn wake(&mut self, around: &mut MemberAround<'_>) -> i64 {
        let commits = match around.finishing {
            true if self.served == (true, true) => return PATIENCE_MS,
            true => !self.served.0,
            false => around.dice.percent(60),
        };
        let (group, topic, id) =
            (self.group.clone(), around.topics[0].name.clone(), Some(around.topics[0].id));
        let command = if commits {
            self.commits += 1;
            let offset = offset_of(self.commits * 100 + around.client as u32);
            let commit =
                CommitPartition { partition: 0, offset, leader_epoch: LeaderEpoch::NONE, metadata: None };
            Command::CommitOffsets(CommitOffsets {
                group,
                member_id: "".into(),
                generation: -1,
                instance_id: None,
                retention_ms: None,
                transaction: None,
                knows_group_id_not_found: true,
                topics: vec![CommitTopic { topic, id, partitions: vec![commit] }],
            })
        } else {
            let topics = Some(vec![FetchTopic { topic, id, partitions: vec![0] }]);
            Command::FetchOffsets(FetchOffsets { group, topics, require_stable: false })
        };
        self.asked = Some((around.send(command), commits));
        PATIENCE_MS
    }

    fn awaits(&self, request: u64) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == request)
    }

    fn hear(&mut self, request: u64, reply: &Reply, around: &MemberAround<'_>) {
        if !self.awaits(request) {
            return;
        }
        let Some((_, commits)) = self.asked.take() else { return };
        let error = error_of(reply);
        mark_if(error == ErrorCode::CoordinatorLoadInProgress, "a shard was asked while it was loaded");
        mark_if(error == ErrorCode::NotCoordinator, "a shard was not served any more");
        if error == ErrorCode::None && around.finishing {
            match commits {
                true => self.served.0 = true,
                false => self.served.1 = true,
            }
        }
    }
}

/// Of an answer to a commit or to the question what is committed.
pub(super) fn error_of(reply: &Reply) -> ErrorCode {
    match reply {
        Reply::OffsetsCommitted(committed) => {
            let mut codes =
                committed.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, code)| *code);
            codes.find(|code| *code != ErrorCode::None).unwrap_or(ErrorCode::None)
        }
        Reply::OffsetsFetched(fetched) => fetched.error,
        _ => ErrorCode::None,
    }
}

impl Replicas {
    pub(super) fn ask(&mut self, client: usize, turn: u64) {
        // Where nobody asks for anything any more, logs come to rest.
        let is_over = self.cluster.finishing && self.committers.iter().all(Committer::is_done);
        if self.turns[client] != turn || is_over {
            return;
        }
        let pause_ms = self.with_committer(client, |committer, around| committer.wake(around));
        self.turns[client] += 1;
        self.cluster.global(pause_ms, Global::Ask { client, turn: turn + 1 });
    }

    pub(super) fn told(&mut self, asker: Asker, reply: &Reply) -> Verdict {
        let Asker { client, request } = asker;
        self.cluster.note(|| format!("client {client} hears of {request}: {reply:?}"));
        // Who asks one thing at a time goes on with this answer, and members in their own time.
        let goes_on = matches!(&self.committers[client], Committer::Alone(alone) if alone.awaits(request));
        self.with_committer(client, |committer, around| committer.hear(request, reply, around))?;
        if goes_on {
            self.turns[client] += 1;
            let pause_ms = self.cluster.dice.between(0, self.plan.produce_ms_max);
            self.cluster.global(pause_ms, Global::Ask { client, turn: self.turns[client] });
        }
        Ok(())
    }

    fn with_committer<T>(
        &mut self,
        client: usize,
        acts: impl FnOnce(&mut Committer, &mut MemberAround<'_>) -> T,
    ) -> T {
        let topic = Subscribed { id: TOPIC, name: TopicName::from("t0"), partitions: vec![0, 1, 2] };
        let cluster = &mut self.cluster;
        let mut around = MemberAround {
            now_ms: cluster.now_ms(),
            client,
            is_up: true,
            life: 0,
            topics: vec![topic],
            mutation: cluster.mutation.filter(|mutation| *mutation == Mutation::AssignTwice),
            finishing: cluster.finishing,
            dice: &mut cluster.dice,
            next_request: &mut self.requests,
            sends: Vec::new(),
        };
        let acted = acts(&mut self.committers[client], &mut around);
        for (request, command) in around.sends {
            let (asker, to) = (Asker { client, request }, To::Broker(self.believed_leader()));
            self.send(COMMITTERS + client as Place, to, Message::Question { asker, command });
        }
        acted
    }
}

const PATIENCE_MS: i64 = 3_000;
/// What members read.
const TOPIC: TopicId = TopicId::from_u128(1);
