//! Writes under way: what they hold up, and what follows when one is done or turns out impossible.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::group::{GroupId, GroupRecord, MemberId};
use ottla_protocol::{ErrorCode, Offset};

use super::classic::JoinTerms;
use super::command::Command;
use super::reply::Reply;
use super::{Effect, Groups, Note, Producer, Step, Ticket};

/// What a group, or the shard, wants written.
pub(super) struct WantedWrite<T> {
    pub records: Vec<GroupRecord>,
    pub transaction: Option<Producer>,
    pub then: Then,
    pub answer: Option<Answer<T>>,
}

/// Who is told of the outcome: `reply`, or that `command` is refused.
pub(super) struct Answer<T> {
    pub token: T,
    pub command: Command,
    pub reply: Reply,
}

/// What follows.
#[derive(Debug)]
pub(super) enum Then {
    /// The records are applied. Nothing else has changed yet.
    Apply,
    /// The group is empty already. If the log does not say so, it says so with the next generation.
    Nothing,
    /// A new group goes on, or goes.
    Created,
    Assigned {
        assignments: BTreeMap<MemberId, Bytes>,
    },
    /// A static member has a new id, or its old one again.
    Replaced {
        old: MemberId,
        new: MemberId,
        terms_before: JoinTerms,
        leader_before: Option<MemberId>,
        can_skip_assignment: bool,
    },
    /// Part of a sweep is applied; the rest follows with the next tick.
    Swept,
}

/// What a write that is under way is about. A command that would find something else after the write than before it has
/// to wait.
#[derive(Debug)]
pub(super) enum Claim {
    /// Offsets of that group are committed. Nobody's membership depends on that.
    Offsets(GroupId),
    /// The group itself.
    Group(GroupId),
    /// Any number of groups.
    Shard,
}

impl Claim {
    fn group(&self) -> Option<&GroupId> {
        match self {
            Claim::Offsets(group) | Claim::Group(group) => Some(group),
            Claim::Shard => None,
        }
    }
}

/// A write that is not yet answered for.
pub(super) struct Writing<T> {
    ticket: Ticket,
    claim: Claim,
    transaction: Option<Producer>,
    /// A copy of those that are to be applied.
    records: Vec<GroupRecord>,
    then: Then,
    pub answer: Option<Answer<T>>,
}

impl<T> Writing<T> {
    /// Whether the answer to the command is right whatever becomes of this write.
    pub fn allows(&self, command: &Command) -> bool {
        let (Some(claimed), Some(group)) = (self.claim.group(), command.group()) else { return false };
        // Nobody has been told yet that the offsets are committed, so whoever asks may find those of before.
        let is_beside_a_commit = matches!(self.claim, Claim::Offsets(_))
            && matches!(
                command,
                Command::CommitOffsets(_) | Command::FetchOffsets(_) | Command::Heartbeat(_)
            );
        claimed != group || is_beside_a_commit
    }
}

impl<T> WantedWrite<T> {
    pub fn answer_with(&mut self, token: T, command: Command, reply: Reply) {
        assert!(self.answer.is_none(), "a write answers one request");
        self.answer = Some(Answer { token, command, reply });
    }
}

impl<T> Groups<T> {
    pub(super) fn write(&mut self, step: &mut Step<'_, T>, claim: Claim, wish: WantedWrite<T>) {
        let WantedWrite { records, transaction, then, answer } = wish;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let applied = matches!(then, Then::Apply | Then::Swept);
        let kept = if applied { records.clone() } else { Vec::new() };
        self.writes.push_back(Writing { ticket, claim, transaction, records: kept, then, answer });
        step.out.push(Effect::Write { ticket, records, transaction });
    }

    pub(super) fn written(
        &mut self,
        step: &mut Step<'_, T>,
        ticket: Ticket,
        result: Result<Offset, ErrorCode>,
    ) {
        let writing = self.writes.pop_front().expect("there is a write under way");
        assert_eq!(writing.ticket, ticket, "the outcome of another write");
        let outcome = result.map_err(told);
        if let (Ok(first), true) = (result, !writing.records.is_empty()) {
            let producer = writing.transaction.map(|producer| producer.id);
            for (offset, record) in (first..).zip(&writing.records) {
                self.apply(offset, producer, record);
            }
        }
        if let Err(error) = result {
            let of = writing.claim.group().map(|group| format!("group {group}: ")).unwrap_or_default();
            step.out.push(Effect::Note(Note(format!("{of}a write failed: {error}"))));
        }
        if let Some(answer) = writing.answer {
            let reply = match outcome {
                Ok(_) => answer.reply,
                Err(error) => answer.command.refused(error),
            };
            step.reply(answer.token, reply);
        }
        self.follow_up(step, writing.claim, writing.then, outcome);
    }

    fn follow_up(
        &mut self,
        step: &mut Step<'_, T>,
        claim: Claim,
        then: Then,
        outcome: Result<Offset, ErrorCode>,
    ) {
        let Claim::Group(group) = claim else {
            if let Then::Swept = then {
                self.swept(step, outcome.map(drop));
            }
            return;
        };
        match (then, outcome) {
            (Then::Apply | Then::Nothing | Then::Swept, _) | (Then::Created, Ok(_)) => {}
            (Then::Created, Err(error)) => {
                self.turn(step, &group, |turn| turn.disband(error));
                self.groups.remove(&group);
            }
            (Then::Assigned { assignments }, outcome) => {
                self.turn(step, &group, |turn| turn.assigned(assignments, outcome.map(drop)));
            }
            (Then::Replaced { new, leader_before, can_skip_assignment, .. }, Ok(_)) => {
                self.turn(step, &group, |turn| turn.replaced(&new, leader_before, can_skip_assignment));
            }
            (undo @ Then::Replaced { .. }, Err(error)) => {
                self.turn(step, &group, |turn| turn.not_replaced(undo, error));
            }
        }
    }
}

/// What a client is told when the log refuses a write: an error that makes it look for the coordinator again, or try
/// again later, rather than one about a topic that is none of its business.
fn told(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        other => other,
    }
}
