//! What a transactional producer hears, and does then, as Java's `TransactionManager`.

use ottla_core::coordinator::Producer;
use ottla_core::group::{OffsetsCommitted, OffsetsFetched, Reply as GroupReply};
use ottla_core::txn::Reply;
use ottla_model::txn::Partitions;
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::control::TransactionResult;

use super::{Asked, Phase, Role, TransactionalProducer, What};
use crate::clients::{Around, Response};
use crate::marks::{mark, mark_if};
use crate::node::{Answer, Key};
use crate::verdict::{Verdict, Violation};

/// What an error makes it do.
enum Reaction {
    /// Ask again after a while.
    Again,
    /// Abort the transaction.
    Abort,
    /// Begin anew: whoever it was is gone.
    Fenced,
}

impl TransactionalProducer {
    pub fn hear(&mut self, request: u64, response: &Response, around: &mut Around<'_>) -> Verdict {
        let Some(Asked { what, .. }) = self.asked.remove(&request) else { return Ok(()) };
        match (what, response) {
            (What::Init, Response::Answered(Answer::Transaction(Reply::ProducerInitialized(told)))) => {
                self.initialized(*told, around)
            }
            (What::Position, Response::Answered(Answer::Group(GroupReply::OffsetsFetched(fetched)))) => {
                self.found(fetched, around)
            }
            (
                What::AddPartitions | What::AddOffsets,
                Response::Answered(Answer::Transaction(Reply::PartitionsAdded(code))),
            ) => self.added(what, *code, around),
            (What::Records(key), Response::Produced(outcome)) => {
                self.produced(request, key, outcome.as_ref().err().copied(), around)
            }
            (What::Offsets, Response::Answered(Answer::Group(GroupReply::OffsetsCommitted(committed)))) => {
                self.committed(committed, around)
            }
            (What::End, Response::Answered(Answer::Transaction(Reply::TransactionEnds(told)))) => {
                self.ended(*told, around)
            }
            (what, response) => {
                let what = format!("a producer asked for {what:?} and heard {response:?}");
                Err(Violation::new(NAME, what))
            }
        }
    }

    fn initialized(&mut self, told: Result<Producer, ErrorCode>, around: &mut Around<'_>) -> Verdict {
        match told {
            Ok(producer) => {
                mark_if(self.goes_on, "a producer went on under another epoch");
                (self.producer, self.goes_on) = (Some(producer), false);
                self.sequences.clear();
                self.phase = Phase::Lost;
                Ok(())
            }
            Err(code) => self.react(What::Init, code, around),
        }
    }

    fn found(&mut self, fetched: &OffsetsFetched, around: &mut Around<'_>) -> Verdict {
        let one = fetched.topics.first().and_then(|topic| topic.partitions.first());
        match (fetched.error, one) {
            (ErrorCode::None, Some(one)) if one.error == ErrorCode::None => {
                self.position = one.offset.max(0);
                self.phase = Phase::Idle;
                Ok(())
            }
            (ErrorCode::None, Some(one)) => {
                let is_open = one.error == ErrorCode::UnstableOffsetCommit;
                mark_if(is_open, "a loop waited for the transaction before");
                self.react(What::Position, one.error, around)
            }
            (code, _) => self.react(What::Position, code, around),
        }
    }

    fn added(&mut self, what: What, code: ErrorCode, around: &mut Around<'_>) -> Verdict {
        let Some(open) = self.open.as_mut().filter(|_| code == ErrorCode::None) else {
            return self.react(what, code, around);
        };
        match what {
            What::AddOffsets => open.adds_offsets = false,
            _ => open.to_add = Partitions::new(),
        }
        Ok(())
    }

    fn produced(
        &mut self,
        request: u64,
        key: Key,
        refused: Option<ErrorCode>,
        around: &mut Around<'_>,
    ) -> Verdict {
        let Some(batches) = self.open.as_mut().and_then(|open| open.batches.get_mut(&key)) else {
            return Ok(());
        };
        let Some(at) = batches.iter().position(|batch| batch.sent == Some(request)) else { return Ok(()) };
        let Some(code) = refused else {
            batches.remove(at);
            if let Some(open) = self.open.as_mut() {
                open.batches.retain(|_, batches| !batches.is_empty());
            }
            return Ok(());
        };
        batches[at].sent = None;
        self.react(What::Records(key), code, around)
    }

    fn committed(&mut self, committed: &OffsetsCommitted, around: &mut Around<'_>) -> Verdict {
        let mut errors = committed.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, error)| *error);
        match (errors.next().unwrap_or(ErrorCode::UnknownTopicOrPartition), self.open.as_mut()) {
            (ErrorCode::None, Some(open)) => open.offset = None,
            (code, _) => return self.react(What::Offsets, code, around),
        }
        Ok(())
    }

    fn ended(&mut self, told: Result<Option<Producer>, ErrorCode>, around: &mut Around<'_>) -> Verdict {
        let next = match told {
            Ok(next) => next,
            Err(code) => return self.react(What::End, code, around),
        };
        let Some(open) = self.open.take() else { return Ok(()) };
        let commits = self.phase == Phase::Ending(TransactionResult::Commit);
        if commits {
            self.position = open.committed_offset.unwrap_or(self.position);
            self.served |= around.finishing;
        }
        self.phase = Phase::Idle;
        match next {
            Some(next) => {
                self.producer = Some(next);
                self.sequences.clear();
            }
            // Sequences are used up that are not stored (KIP-360).
            None if open.is_unresolved || !open.batches.is_empty() => {
                (self.goes_on, self.phase) = (true, Phase::Out);
            }
            None => {}
        }
        Ok(())
    }

    fn react(&mut self, asked: What, code: ErrorCode, around: &mut Around<'_>) -> Verdict {
        match reaction(asked, code) {
            Some(Reaction::Again) => self.not_before_ms = around.now_ms + around.dice.between(1, 60),
            Some(Reaction::Abort) => {
                mark("a producer had to abort its transaction");
                if let Some(open) = &mut self.open {
                    (open.is_doomed, open.is_unresolved) = (true, true);
                }
                if self.phase == Phase::Ending(TransactionResult::Commit) {
                    self.phase = Phase::Writing;
                }
            }
            Some(Reaction::Fenced) => self.begin_anew(around),
            None => {
                let what =
                    format!("client {} asked for {asked:?} and was told {}", around.client, code.name());
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }

    fn begin_anew(&mut self, around: &mut Around<'_>) {
        mark("a producer was fenced");
        (self.producer, self.goes_on, self.open) = (None, false, None);
        self.phase = Phase::Out;
        self.asked.clear();
        self.sequences.clear();
        let most_ms = if self.role == Role::Keeper { 500 } else { 3_000 };
        self.not_before_ms = around.now_ms + around.dice.between(50, most_ms);
    }
}

/// `None`: it can make nothing of the error.
fn reaction(asked: What, code: ErrorCode) -> Option<Reaction> {
    match (asked, code) {
        (
            What::Records(_) | What::Offsets,
            ErrorCode::InvalidProducerEpoch
            | ErrorCode::InvalidTxnState
            | ErrorCode::TransactionAbortable
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::UnknownProducerId,
        )
        | (What::End, ErrorCode::TransactionAbortable) => Some(Reaction::Abort),
        (What::End, ErrorCode::InvalidTxnState)
        | (
            _,
            ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidProducerIdMapping,
        ) => Some(Reaction::Fenced),
        (
            _,
            ErrorCode::ConcurrentTransactions
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::UnstableOffsetCommit,
        ) => {
            mark_if(
                code == ErrorCode::ConcurrentTransactions,
                "a producer came while its transaction was ending",
            );
            mark_if(
                code == ErrorCode::CoordinatorLoadInProgress,
                "a producer came while its coordinator loaded",
            );
            Some(Reaction::Again)
        }
        (_, code) => code.is_retriable().then_some(Reaction::Again),
    }
}

const NAME: &str = "a producer can act on what it is told";
