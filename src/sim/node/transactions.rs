//! The node's transaction coordinator, on the shards of `shards`, and the errands of those shards. It must never decide:
//! `core::txn` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::coordinator::Producer;
use ottla_core::txn::{AddPartitions, Command, EndTxn, Errand, InitProducerId, Reply, Transactions};
use ottla_model::GROUP_METADATA_TOPIC;
use ottla_model::config::BrokerConfig;
use ottla_model::group::GroupId;
use ottla_model::image::{Image, Topic};
use ottla_model::txn::{Partitions, TransactionVersion, TransactionalId};
use ottla_node::coordinator::transactions::{new_state_topic, settings, state_topic, terms};
use ottla_node::coordinator::{Input, shard_of};
use ottla_node::lane::Input as LaneInput;
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::holding::{Caller, Shards, TransactionCoordinator, Transactor};
use super::said::{Service, Step, Waits};
use super::shards::{Errands, Served};
use super::{Answer, Ask, Node, Said};
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::plan::Transactional;

impl TransactionCoordinator {
    pub fn new(
        config: &BrokerConfig,
        plan: &Transactional,
        mutation: Option<Mutation>,
    ) -> TransactionCoordinator {
        let mut settings = settings(config);
        if mutation == Some(Mutation::NeverTimeOut) {
            settings.timeout_check_interval_ms = i64::MAX / 2;
        }
        let mut new_topic = new_state_topic(config);
        new_topic.configs.extend(plan.state_topic_settings());
        let (first, most) = (
            config.add_partitions_to_txn_retry_backoff_ms,
            config.add_partitions_to_txn_retry_backoff_max_ms,
        );
        TransactionCoordinator {
            settings: Arc::new(settings),
            shards: Shards::new(terms(config), plan.load_bytes, new_topic),
            backoff_ms: (first.into(), most.into()),
            verifies: config.transaction_partition_verification_enable,
            verifying: BTreeMap::new(),
            marking: BTreeMap::new(),
            begun: 0,
            given: BTreeMap::new(),
        }
    }
}

impl Served for Transactor {
    const SERVICE: Service = Service::Transactions;

    fn shards(node: &mut Node) -> Option<&mut Shards<Transactor>> {
        node.transactions.as_mut().map(|coordinator| &mut coordinator.shards)
    }

    fn topic(image: &Image) -> Option<&Arc<Topic>> {
        state_topic(image)
    }

    fn machines(node: &mut Node) -> Box<dyn Fn(LeaderEpoch) -> Transactor + Send> {
        let settings = node.transactions.as_ref().map(|c| c.settings.clone()).unwrap_or_default();
        Box::new(move |epoch| Transactions::new(settings.clone(), epoch.0))
    }

    fn told(node: &mut Node, now_ms: i64, caller: Caller, reply: Reply, said: &mut Vec<Said>) {
        match caller {
            Caller::Client(ask) => said.push(Said::Answered { ask, answer: Answer::Transaction(reply) }),
            Caller::Verification(number) => node.coordinator_says(now_ms, number, reply, said),
            Caller::Marker(..) | Caller::Nobody => {}
        }
    }

    fn errand(node: &mut Node, from: Errands, errand: Errand, said: &mut Vec<Said>) {
        if let Errand::WriteMarkers(markers) = &errand {
            let resumes = markers.prepared_at < from.loaded;
            mark_if(resumes, "a transaction was ended by another process than the one that had decided");
            if resumes && node.mutation == Some(Mutation::ForgetPrepared) {
                return;
            }
        }
        said.push(Said::Transact { step: Step::Errand(from.shard, errand), waits: Waits::ForATask });
    }
}

/// What clients ask.
impl Node {
    /// A client asks the shard of its transactional id.
    pub fn ask_transaction(&mut self, now_ms: i64, ask: Ask, command: Command, said: &mut Vec<Said>) {
        if self.transactions.is_none() {
            return;
        }
        if let Some(reply) = self.mistaken(&command) {
            said.push(Said::Answered { ask, answer: Answer::Transaction(reply) });
            if matches!(command, Command::EndTxn(_)) {
                let _ = self.ask_shard(now_ms, Caller::Nobody, command, said);
            }
            return;
        }
        if let Command::AddPartitions(add) = &command
            && let Some(code) = self.unknown(&add.partitions)
        {
            let answer = Answer::Transaction(command.refused(code));
            return said.push(Said::Answered { ask, answer });
        }
        if let Err(refused) = self.ask_shard(now_ms, Caller::Client(ask), command, said) {
            said.push(Said::Answered { ask, answer: Answer::Transaction(refused) });
        }
    }

    /// AddOffsetsToTxn.
    pub fn add_offsets(
        &mut self,
        now_ms: i64,
        ask: Ask,
        (transactional_id, producer, group): (TransactionalId, Producer, GroupId),
        said: &mut Vec<Said>,
    ) {
        let of_topic = self.image.topic(GROUP_METADATA_TOPIC).map(|topic| topic.partitions.len());
        let shard = shard_of(&group, of_topic.unwrap_or(self.config.offsets_topic_num_partitions as usize));
        let partitions = Partitions::from([(GROUP_METADATA_TOPIC.into(), [shard].into())]);
        let client_version = TransactionVersion::ORIGINAL;
        let add = AddPartitions { transactional_id, producer, partitions, client_version };
        self.ask_transaction(now_ms, ask, Command::AddPartitions(add), said);
    }

    /// Sends a question to the shard of its transactional id, or refuses it.
    pub(super) fn ask_shard(
        &mut self,
        now_ms: i64,
        caller: Caller,
        command: Command,
        said: &mut Vec<Said>,
    ) -> Result<(), Reply> {
        let Some(topic) = state_topic(&self.image).cloned() else {
            // Its client looks for the coordinator, and the first who does has the topic created.
            self.create_topic_of::<Transactor>(now_ms, said);
            return Err(command.refused(ErrorCode::NotCoordinator));
        };
        let id = command.transactional_id().cloned().unwrap_or_else(|| "".into());
        let shard = shard_of(&id, topic.partitions.len());
        match self.tell_shard::<Transactor>(shard, Input::Ask { token: caller, command }, said) {
            Err(Input::Ask { command, .. }) => Err(command.refused(ErrorCode::NotCoordinator)),
            _ => Ok(()),
        }
    }

    fn unknown(&self, partitions: &Partitions) -> Option<ErrorCode> {
        let each = partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |i| (topic, *i)));
        let unknown = |(topic, index): (&ottla_model::TopicName, i32)| {
            **topic != *GROUP_METADATA_TOPIC && self.image.partition(topic, index).is_none()
        };
        each.into_iter().any(unknown).then_some(ErrorCode::UnknownTopicOrPartition)
    }

    // The answer of a coordinator that has one of the mistakes.
    fn mistaken(&mut self, command: &Command) -> Option<Reply> {
        match (self.mutation?, command) {
            // One that bumps epochs would go on as somebody whom the coordinator does not know.
            (Mutation::EndBeforeDecided, Command::EndTxn(EndTxn { client_version, .. }))
                if !client_version.bumps_epoch() =>
            {
                Some(Reply::TransactionEnds(Ok(None)))
            }
            (
                Mutation::KeepEpoch,
                Command::InitProducerId(InitProducerId { transactional_id, expected: None, .. }),
            ) => {
                let given = self.transactions.as_ref()?.given.get(transactional_id)?;
                Some(Reply::ProducerInitialized(Ok(*given)))
            }
            _ => None,
        }
    }

    /// For [`Mutation::KeepEpoch`].
    pub fn note_given(&mut self, id: &TransactionalId, producer: Producer) {
        if let Some(transactions) = &mut self.transactions {
            transactions.given.insert(id.clone(), producer);
        }
    }
}

/// What is to be done for transactions, each when its task gets the processor.
impl Node {
    pub fn transact(&mut self, now_ms: i64, step: Step, said: &mut Vec<Said>) {
        match step {
            Step::Errand(shard, Errand::AllocateProducerId { transactional_id }) => {
                self.id_for_shard(now_ms, shard, transactional_id, said);
            }
            Step::Errand(shard, Errand::WriteMarkers(markers)) => {
                mark_if(
                    markers.result == TransactionResult::Abort && markers.partitions.len() > 1,
                    "a transaction of several topics was aborted",
                );
                self.write_markers(now_ms, shard, markers, said);
            }
            Step::Marked(share) => self.tell_marked(share, said),
            Step::AppendAgain(key, append) => self.submit(key, LaneInput::Append(*append), said),
            Step::Write(number) => self.write_verified(now_ms, number, said),
            Step::VerifyAgain(number) => {
                mark("a Produce waited for the end of the transaction before");
                self.begin_to_verify(now_ms, number, said);
            }
        }
    }
}
