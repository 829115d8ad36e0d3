//! Writes under way, one for a transactional id at most, and what follows when one is done or turns out impossible.

use ottla_model::txn::{TransactionRecord, TransactionalId};
use ottla_protocol::{ErrorCode, Offset};

use super::command::Command;
use super::reply::Reply;
use super::transaction::Transaction;
use super::{Effect, Step, Transactions};
use crate::coordinator::{Note, Ticket};

/// A write that is not yet answered for.
pub(super) struct Writing<T> {
    ticket: Ticket,
    transactional_id: TransactionalId,
    /// `None`: the transactional id is forgotten.
    next: Option<Transaction>,
    pub answer: Option<Answer<T>>,
}

/// Who is told of the outcome: `reply`, or that `command` is refused.
pub(super) struct Answer<T> {
    pub token: T,
    pub command: Command,
    pub reply: Reply,
}

impl<T> Transactions<T> {
    pub(super) fn write(
        &mut self,
        step: &mut Step<'_, T>,
        id: &TransactionalId,
        next: Option<Transaction>,
        answer: Option<Answer<T>>,
    ) {
        let is_first = self.being_written.insert(id.clone());
        assert!(is_first, "two writes at once for {id}");
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let value = next.as_ref().map(|next| next.metadata.clone());
        let records = vec![TransactionRecord { transactional_id: id.clone(), value }];
        self.writes.push_back(Writing { ticket, transactional_id: id.clone(), next, answer });
        step.out.push(Effect::Write { ticket, records, transaction: None });
    }

    pub(super) fn written(
        &mut self,
        step: &mut Step<'_, T>,
        ticket: Ticket,
        result: Result<Offset, ErrorCode>,
    ) {
        let writing = self.writes.pop_front().expect("there is a write under way");
        assert_eq!(writing.ticket, ticket, "the outcome of another write");
        let id = writing.transactional_id;
        self.being_written.remove(&id);
        if let Ok(offset) = result {
            self.apply(&id, offset, writing.next);
        }
        if let Some(answer) = writing.answer {
            match result {
                Ok(_) => step.reply(answer.token, answer.reply),
                Err(error) => step.reply(answer.token, answer.command.refused(told(error))),
            }
        }
        match result {
            Ok(_) => self.go_on_ending(step, &id),
            Err(error) => {
                step.out.push(Effect::Note(Note(format!("transactional id {id}: a write failed: {error}"))));
                self.end_later(step.now_ms, &id);
            }
        }
        self.let_in(step, &id);
    }
}

/// What a client is told when the log refuses a write: an error that makes it look for the coordinator again, or try
/// again later.
fn told(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}
