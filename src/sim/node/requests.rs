//! What clients ask of the node. Batches are checked here, outside the lanes, as the broker does. It must never answer
//! before an owner has.

use ottla_core::controller::{AllocateProducerIds, DeleteTopics, ProducerIdBlock, Reply};
use ottla_core::question::Question;
use ottla_log::check::{Origin, Rules, check};
use ottla_model::TopicId;
use ottla_node::lane::{Answered, Append, Input};
use ottla_protocol::{ErrorCode, ProducerId};

use super::said::{Answer, Produce};
use super::{Ask, Key, Node, Said, Waiter, Who};
use crate::mutation::Mutation;

impl Node {
    pub fn produce(&mut self, now_ms: i64, ask: Ask, produce: Produce, said: &mut Vec<Said>) {
        match self.checked(now_ms, ask, &produce) {
            Ok(append) => self.submit(produce.key, Input::Append(append), said),
            Err(code) => said.push(Said::Produced { ask, outcome: Err(code) }),
        }
    }

    fn checked(&self, now_ms: i64, ask: Ask, produce: &Produce) -> Result<Append<Waiter>, ErrorCode> {
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
        let batch = batches.pop().ok_or(ErrorCode::InvalidRecord)?;
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

    fn missing(&self, (topic, index): Key) -> ErrorCode {
        let known = self.image.topic_by_id(topic).is_some_and(|t| t.partitions.contains_key(&index));
        if known { ErrorCode::NotLeaderOrFollower } else { ErrorCode::UnknownTopicOrPartition }
    }

    pub fn init_producer_id(&mut self, now_ms: i64, ask: Ask, said: &mut Vec<Said>) {
        if let Some(id) = self.next_id() {
            return said.push(Said::Answered { ask, answer: Answer::ProducerId(Ok(id)) });
        }
        // Whoever comes meanwhile waits for that same block.
        self.waiting_for_ids.push(ask);
        if !self.ids_asked {
            self.ids_asked = true;
            let allocate = AllocateProducerIds { broker: self.me, epoch: self.epoch };
            self.command(now_ms, Who::ProducerIds, allocate.command(), said);
        }
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
