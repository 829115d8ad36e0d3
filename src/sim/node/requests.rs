//! What clients ask of the node. Batches are checked here, outside the lanes, as the broker does. It must never answer
//! before an owner has.

use ottla_core::controller::{AllocateProducerIds, DeleteTopics, ProducerIdBlock, Reply};
use ottla_core::question::Question;
use ottla_core::txn::Command;
use ottla_log::check::{Origin, Rules, check};
use ottla_model::txn::TransactionalId;
use ottla_model::{TopicId, VerificationGuard};
use ottla_node::coordinator::Input as ShardInput;
use ottla_node::lane::{Answered, Append, Input};
use ottla_protocol::{ErrorCode, ProducerId};

use super::holding::Transactor;
use super::holding::{Caller, IdFor};
use super::said::{Answer, Produce};
use super::{Ask, Key, Node, Said, Waiter, Who};
use crate::mutation::Mutation;

impl Node {
    /// `guard` is that of the verification of a transaction's first batch.
    pub fn produce(
        &mut self,
        now_ms: i64,
        ask: Ask,
        produce: Produce,
        guard: Option<VerificationGuard>,
        said: &mut Vec<Said>,
    ) {
        match self.checked(now_ms, ask, &produce, guard) {
            Ok(append) => self.submit(produce.key, Input::Append(append), said),
            Err(code) => said.push(Said::Produced { ask, outcome: Err(code) }),
        }
    }

    fn checked(
        &self,
        now_ms: i64,
        ask: Ask,
        produce: &Produce,
        guard: Option<VerificationGuard>,
    ) -> Result<Append<Waiter>, ErrorCode> {
        let led = self.partitions.get(&produce.key).filter(|partition| !partition.resigned);
        let partition = led.ok_or_else(|| self.missing(produce.key))?;
        let rules = Rules {
            partition: &partition.id,
            topic: &partition.config,
            origin: Origin::Client,
            now_ms,
            produce_version: 12,
        };
        let mut batches = check(produce.records.clone(), &rules).map_err(|rejected| rejected.code)?;
        let mut batch = batches.pop().ok_or(ErrorCode::InvalidRecord)?;
        batch.guard = guard;
        let checked_against = partition.config.clone();
        let deadline_ms = now_ms + produce.timeout_ms;
        Ok(Append {
            token: Waiter::Client(ask),
            batch,
            acks: produce.acks,
            answered: Answered::WhenSafe,
            checked_against,
            deadline_ms,
        })
    }

    pub(super) fn missing(&self, (topic, index): Key) -> ErrorCode {
        let known = self.image.topic_by_id(topic).is_some_and(|t| t.partitions.contains_key(&index));
        if known { ErrorCode::NotLeaderOrFollower } else { ErrorCode::UnknownTopicOrPartition }
    }

    pub fn init_producer_id(&mut self, now_ms: i64, ask: Ask, said: &mut Vec<Said>) {
        if let Some(id) = self.next_id() {
            return said.push(Said::Answered { ask, answer: Answer::ProducerId(Ok(id)) });
        }
        self.await_id(now_ms, IdFor::Client(ask), said);
    }

    /// The same for a shard of the transaction coordinator.
    pub(super) fn id_for_shard(
        &mut self,
        now_ms: i64,
        shard: i32,
        id: TransactionalId,
        said: &mut Vec<Said>,
    ) {
        match self.next_id() {
            Some(producer_id) => self.allocated(shard, id, Ok(producer_id), said),
            None => self.await_id(now_ms, IdFor::Shard(shard, id), said),
        }
    }

    fn await_id(&mut self, now_ms: i64, who: IdFor, said: &mut Vec<Said>) {
        // Whoever comes meanwhile waits for that same block.
        self.waiting_for_ids.push(who);
        if !self.ids_asked {
            self.ids_asked = true;
            let allocate = AllocateProducerIds { broker: self.me, epoch: self.epoch };
            self.command(now_ms, Who::ProducerIds, allocate.command(), said);
        }
    }

    /// The controller has given out more ids, or has not.
    pub(super) fn hand_out_ids(&mut self, said: &mut Vec<Said>) {
        for who in std::mem::take(&mut self.waiting_for_ids) {
            let given = self.next_id().ok_or(ErrorCode::CoordinatorLoadInProgress);
            match who {
                IdFor::Client(ask) => {
                    said.push(Said::Answered { ask, answer: Answer::ProducerId(given) });
                }
                IdFor::Shard(shard, id) => self.allocated(shard, id, given, said),
            }
        }
    }

    fn allocated(
        &mut self,
        shard: i32,
        transactional_id: TransactionalId,
        result: Result<ProducerId, ErrorCode>,
        said: &mut Vec<Said>,
    ) {
        let command = Command::ProducerIdAllocated { transactional_id, result };
        // A shard that does not hear of it has begun anew, and whoever waited asks again.
        let sent = ShardInput::Ask { token: Caller::Nobody, command };
        let _ = self.tell_shard::<Transactor>(shard, sent, said);
    }

    pub(super) fn next_id(&mut self) -> Option<ProducerId> {
        if self.mutation == Some(Mutation::RecountProducerIds) && self.ids.is_none() {
            self.ids = Some(ProducerIdBlock { first: 0, len: 1_000 });
        }
        let block = self.ids.take().filter(|block| block.len > 0)?;
        self.ids = Some(ProducerIdBlock { first: block.first + 1, len: block.len - 1 });
        Some(ProducerId(block.first))
    }

    /// `None` if there is no such topic.
    pub fn delete_topic(&mut self, now_ms: i64, ask: Ask, id: TopicId, said: &mut Vec<Said>) {
        if self.mutation == Some(Mutation::ConfirmDeletionEarly) {
            let reply = Reply::TopicsDeleted(vec![(id, Ok(()))]);
            return said.push(Said::Answered { ask, answer: Answer::Controller(Ok(reply)) });
        }
        self.command(now_ms, Who::Client(ask), DeleteTopics { topics: vec![id] }.command(), said);
    }
}
