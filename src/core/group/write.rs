//! Writes in progress: which commands have to wait for them, and what follows from success and failure.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::group::{GroupId, GroupRecord, MemberId};
use ottla_protocol::{ErrorCode, Offset};

use super::classic::JoinTerms;
use super::command::Command;
use super::reply::Reply;
use super::{Effect, Groups, InTransaction, Note, Step, Ticket};

/// What a group, or the shard, has to write.
pub(super) struct WantedWrite<T> {
    pub records: Vec<GroupRecord>,
    pub transaction: Option<InTransaction>,
    pub then: Then,
    pub answer: Option<Answer<T>>,
}

/// The answer that depends on the write: `reply` after success; after a failure, `command` is refused.
pub(super) struct Answer<T> {
    pub token: T,
    pub command: Command,
    pub reply: Reply,
}

/// What follows from the outcome.
#[derive(Debug)]
pub(super) enum Then {
    /// The records are applied. Nothing else has changed before.
    Apply,
    /// The group is empty in memory already. If this write fails, the record of the next generation makes up for it.
    Nothing,
    /// A new group exists from now on; after a failure it is removed again.
    Created,
    Assigned {
        assignments: BTreeMap<MemberId, Bytes>,
    },
    /// A static member has its new id; after a failure, its old one again.
    Replaced {
        old: MemberId,
        new: MemberId,
        terms_before: JoinTerms,
        leader_before: Option<MemberId>,
        can_skip_assignment: bool,
    },
    /// A piece of a sweep is applied. The next tick goes on with the rest.
    Swept,
}

/// What a write in progress changes. A command whose answer depends on whether the write succeeds has to wait.
#[derive(Debug)]
pub(super) enum Claim {
    /// Committed offsets of that group. Membership does not depend on them.
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

/// A write whose outcome is not known yet.
pub(super) struct Writing<T> {
    ticket: Ticket,
    claim: Claim,
    transaction: Option<InTransaction>,
    /// A copy of the records that are applied after success.
    records: Vec<GroupRecord>,
    then: Then,
    pub answer: Option<Answer<T>>,
}

impl<T> Writing<T> {
    /// Whether the answer to the command is right whatever the outcome of this write is.
    pub fn allows(&self, command: &Command) -> bool {
        let (Some(claimed), Some(group)) = (self.claim.group(), command.group()) else { return false };
        // Nobody has been told yet that the offsets are committed, so a read may still return the earlier ones.
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
            let producer = writing.transaction.map(|transaction| transaction.producer.id);
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

/// The error that a client gets when the log refuses a write. It makes the client look for the coordinator again, or
/// retry later; an error about `__consumer_offsets` itself would mean nothing to it.
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
