//! Batches of transactions on their way into the log, as the broker's handlers of Produce and TxnOffsetCommit have them:
//! verified, then written. Between any two things that a handler waits for, other things may happen.
//! It must never decide: `node::verification` does.

use ottla_core::coordinator::InTransaction;
use ottla_core::group::Command as GroupCommand;
use ottla_core::txn::{Command, Reply};
use ottla_model::TopicPartition;
use ottla_node::coordinator::groups::offsets_topic;
use ottla_node::coordinator::shard_of;
use ottla_node::lane::Input as LaneInput;
use ottla_node::verification::{
    Question, Refused, Transaction, Verified, for_committers, for_producers, not_verified, refused,
    refused_to_add,
};
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::BatchHeader;

use super::holding::{Caller, Stage, Verifying};
use super::said::{Step, Waits, Write};
use super::{Answer, Ask, Key, Node, Said};
use crate::marks::mark_if;
use crate::mutation::Mutation;

/// The way of a batch.
impl Node {
    /// A client writes in a transaction.
    pub fn write_in_transaction(
        &mut self,
        now_ms: i64,
        ask: Ask,
        transaction: Transaction,
        write: Write,
        said: &mut Vec<Said>,
    ) {
        let key = match &write {
            Write::Records(produce) => Some(produce.key),
            Write::Offsets(commit) => offsets_topic(&self.image)
                .map(|topic| (topic.id, shard_of(&commit.group, topic.partitions.len()))),
        };
        let led = |key: &Key| self.partitions.get(key).is_some_and(|partition| !partition.resigned);
        let Some(key) = key.filter(led) else {
            let code = match &write {
                Write::Records(produce) => self.missing(produce.key),
                Write::Offsets(_) => ErrorCode::NotCoordinator,
            };
            return said.push(refusal(ask, write, code));
        };
        let Some(transactions) = &mut self.transactions else { return };
        transactions.begun += 1;
        let (number, pause_ms, stage) = (transactions.begun, 1, Stage::Lane);
        let verifying = Verifying { ask, transaction, write, key, began_ms: now_ms, pause_ms, stage };
        transactions.verifying.insert(number, verifying);
        self.begin_to_verify(now_ms, number, said);
    }

    /// The lane is asked first.
    pub(super) fn begin_to_verify(&mut self, now_ms: i64, number: u64, said: &mut Vec<Said>) {
        let Some(verifying) = self.verifying(number) else { return };
        let base_sequence = match &verifying.write {
            Write::Records(produce) => {
                BatchHeader::parse(&produce.records).map_or(NO_SEQUENCE, |header| header.base_sequence)
            }
            Write::Offsets(_) => NO_SEQUENCE,
        };
        verifying.stage = Stage::Lane;
        let (key, upcoming) = (verifying.key, verifying.transaction.upcoming(base_sequence));
        if !self.partitions.contains_key(&key) {
            return self.finish_verifying(now_ms, number, Err(ErrorCode::NotLeaderOrFollower), said);
        }
        self.submit(key, LaneInput::Verify { token: number, upcoming }, said);
    }

    pub(super) fn lane_says(&mut self, now_ms: i64, number: u64, outcome: Verified, said: &mut Vec<Said>) {
        let skips = self.mutation == Some(Mutation::SkipVerification);
        let verifies = self.transactions.as_ref().is_some_and(|transactions| transactions.verifies);
        let Some(key) = self.verifying(number).map(|verifying| verifying.key) else { return };
        let id = self.partitions.get(&key).map_or(TopicPartition::new("", key.1), |here| here.id.clone());
        let Some(verifying) = self.verifying(number) else { return };
        let verified = vec![(id, outcome)];
        let asked = verifying.transaction.unverified(&verified, verifies);
        if asked.is_empty() || skips {
            return self.verified(now_ms, number, verified, said);
        }
        let command = match verifying.transaction.question(asked.clone()) {
            Question::Add(add) => Command::AddPartitions(add),
            Question::Verify(verify) => Command::VerifyPartitions(verify),
        };
        verifying.stage = Stage::Coordinator(verified, asked);
        if let Err(reply) = self.ask_shard(now_ms, Caller::Verification(number), command, said) {
            self.coordinator_says(now_ms, number, reply, said);
        }
    }

    pub(super) fn coordinator_says(&mut self, now_ms: i64, number: u64, reply: Reply, said: &mut Vec<Said>) {
        let Some(verifying) = self.verifying(number) else { return };
        let Stage::Coordinator(verified, asked) = &mut verifying.stage else { return };
        let refused: Refused = match reply {
            Reply::PartitionsAdded(code) => refused_to_add(asked, code),
            Reply::PartitionsVerified(verified) => not_verified(verified),
            _ => refused(asked, ErrorCode::UnknownServerError),
        };
        let mut verified = std::mem::take(verified);
        verifying.transaction.refuse(&mut verified, &refused);
        self.verified(now_ms, number, verified, said);
    }

    // As the broker: a Produce is tried again for a while, offsets are not.
    fn verified(
        &mut self,
        now_ms: i64,
        number: u64,
        mut verified: Vec<(TopicPartition, Verified)>,
        said: &mut Vec<Said>,
    ) {
        let Some(transactions) = &mut self.transactions else { return };
        let (pause_max_ms, patience_ms) = transactions.backoff_ms;
        let Some(verifying) = transactions.verifying.get_mut(&number) else { return };
        let is_patient = now_ms < verifying.began_ms + patience_ms;
        let is_produce = matches!(verifying.write, Write::Records(_));
        if is_produce && is_patient && verifying.transaction.is_tried_again(&verified) {
            let pause_ms = verifying.pause_ms;
            verifying.pause_ms = (pause_ms * 2).min(pause_max_ms);
            let step = Step::VerifyAgain(number);
            return said.push(Said::Transact { step, waits: Waits::Ms(pause_ms) });
        }
        match verified.pop().map_or(Err(ErrorCode::UnknownServerError), |(_, outcome)| outcome) {
            Err(code) => self.finish_verifying(now_ms, number, Err(code), said),
            Ok(guard) => {
                verifying.stage = Stage::Granted(guard);
                said.push(Said::Transact { step: Step::Write(number), waits: Waits::ForATask });
            }
        }
    }

    /// The handler goes on.
    pub(super) fn write_verified(&mut self, now_ms: i64, number: u64, said: &mut Vec<Said>) {
        let Some(verifying) = self.verifying(number) else { return };
        let Stage::Granted(guard) = verifying.stage else { return };
        self.finish_verifying(now_ms, number, Ok(guard), said);
    }

    fn finish_verifying(&mut self, now_ms: i64, number: u64, outcome: Verified, said: &mut Vec<Said>) {
        let Some(transactions) = &mut self.transactions else { return };
        let Some(Verifying { ask, transaction, write, .. }) = transactions.verifying.remove(&number) else {
            return;
        };
        let guard = match outcome {
            Ok(guard) => guard,
            Err(code) => {
                mark_refusal(code);
                let code = match &write {
                    Write::Records(_) => for_producers(code, transaction.protocol).code,
                    Write::Offsets(_) => for_committers(code),
                };
                return said.push(refusal(ask, write, code));
            }
        };
        match write {
            Write::Records(produce) => self.produce(now_ms, ask, produce, guard, said),
            Write::Offsets(mut commit) => {
                let shown = self.mutation == Some(Mutation::CommitOffsetsAtOnce);
                let in_transaction = InTransaction { producer: transaction.producer, guard };
                commit.transaction = (!shown).then_some(in_transaction);
                self.ask_group(now_ms, ask, GroupCommand::CommitOffsets(*commit), said);
            }
        }
    }

    fn verifying(&mut self, number: u64) -> Option<&mut Verifying> {
        self.transactions.as_mut()?.verifying.get_mut(&number)
    }
}

fn refusal(ask: Ask, write: Write, code: ErrorCode) -> Said {
    match write {
        Write::Records(_) => Said::Produced { ask, outcome: Err(code) },
        Write::Offsets(commit) => {
            Said::Answered { ask, answer: Answer::Group(GroupCommand::CommitOffsets(*commit).refused(code)) }
        }
    }
}

fn mark_refusal(code: ErrorCode) {
    mark_if(code == ErrorCode::InvalidProducerEpoch, "a batch of a fenced producer was refused");
    mark_if(code == ErrorCode::TransactionAbortable, "a batch was refused that is part of no transaction");
    mark_if(
        code == ErrorCode::CoordinatorLoadInProgress,
        "a batch was verified while the coordinator loaded",
    );
}

/// Offsets have none.
const NO_SEQUENCE: i32 = -1;
