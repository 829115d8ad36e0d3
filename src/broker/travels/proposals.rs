//! AlterPartition v2-3 (KIP-497, KIP-841; KIP-903 broker epochs of members from v3).

use std::collections::BTreeMap;

use ottla_core::controller::{AlterPartition, Altered, IsrProposal, NotController, Refusal};
use ottla_core::partition::{InSyncMember, Proposal};
use ottla_model::record::{LEADER_RECOVERED, LEADER_RECOVERING};
use ottla_model::{BrokerEpoch, NodeId, TopicId};
use ottla_protocol::messages::{
    AlterPartitionRequest, AlterPartitionResponse, alter_partition_request as asked,
    alter_partition_response as answered,
};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::{ResponseOf, Travels, whole};

fn recovery(recovering: bool) -> i8 {
    if recovering { LEADER_RECOVERING } else { LEADER_RECOVERED }
}

fn by_topic<T>(all: impl Iterator<Item = (TopicId, T)>) -> BTreeMap<TopicId, Vec<T>> {
    let mut sorted: BTreeMap<TopicId, Vec<T>> = BTreeMap::new();
    all.for_each(|(topic, one)| sorted.entry(topic).or_default().push(one));
    sorted
}

fn asked_of(one: &IsrProposal) -> asked::PartitionData {
    let members = one.proposal.isr.iter().map(|member| {
        asked::BrokerState::default()
            .with_broker_id(member.replica.0.into())
            .with_broker_epoch(member.broker_epoch.unwrap_or(BrokerEpoch::NONE.0))
    });
    asked::PartitionData::default()
        .with_partition_index(one.partition)
        .with_leader_epoch(one.proposal.leader_epoch.0)
        .with_partition_epoch(one.proposal.partition_epoch)
        .with_leader_recovery_state(recovery(one.recovering))
        .with_new_isr_with_epochs(members.collect())
}

fn proposed(topic: TopicId, asked: &asked::PartitionData) -> IsrProposal {
    let with_epochs = asked.new_isr_with_epochs.iter().map(|member| InSyncMember {
        replica: NodeId(member.broker_id.0),
        broker_epoch: (member.broker_epoch != BrokerEpoch::NONE.0).then_some(member.broker_epoch),
    });
    let without = asked.new_isr.iter();
    let without = without.map(|id| InSyncMember { replica: NodeId(id.0), broker_epoch: None });
    let proposal = Proposal {
        leader_epoch: LeaderEpoch(asked.leader_epoch),
        partition_epoch: asked.partition_epoch,
        isr: with_epochs.chain(without).collect(),
    };
    let recovering = asked.leader_recovery_state == LEADER_RECOVERING;
    IsrProposal { topic, partition: asked.partition_index, proposal, recovering }
}

fn answered_of(partition: i32, outcome: Result<Altered, ErrorCode>) -> answered::PartitionData {
    let data = answered::PartitionData::default().with_partition_index(partition);
    match outcome {
        Ok(altered) => data
            .with_leader_id(altered.leader.map_or(-1, |leader| leader.0).into())
            .with_leader_epoch(altered.leader_epoch.0)
            .with_partition_epoch(altered.partition_epoch)
            .with_leader_recovery_state(recovery(altered.recovering))
            .with_isr(altered.isr.iter().map(|id| id.0.into()).collect()),
        Err(code) => data.with_error_code(code.code()),
    }
}

fn altered(answered: &answered::PartitionData) -> Result<Altered, ErrorCode> {
    match ErrorCode::from_code(answered.error_code) {
        ErrorCode::None => Ok(Altered {
            leader: (answered.leader_id.0 >= 0).then_some(NodeId(answered.leader_id.0)),
            leader_epoch: LeaderEpoch(answered.leader_epoch),
            partition_epoch: answered.partition_epoch,
            isr: answered.isr.iter().map(|id| NodeId(id.0)).collect(),
            recovering: answered.leader_recovery_state == LEADER_RECOVERING,
        }),
        code => Err(code),
    }
}

impl Travels for AlterPartition {
    type Request = AlterPartitionRequest;

    fn request(&self) -> AlterPartitionRequest {
        let topics = by_topic(self.proposals.iter().map(|one| (one.topic, asked_of(one))));
        let topics = topics.into_iter().map(|(topic, partitions)| {
            asked::TopicData::default().with_topic_id(topic).with_partitions(partitions)
        });
        AlterPartitionRequest::default()
            .with_broker_id(self.broker.0.into())
            .with_broker_epoch(self.epoch.0)
            .with_topics(topics.collect())
    }

    fn of_request(request: AlterPartitionRequest) -> Result<AlterPartition, ErrorCode> {
        let proposals = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| proposed(topic.topic_id, partition)));
        let (broker, epoch) = (NodeId(request.broker_id.0), BrokerEpoch(request.broker_epoch));
        Ok(AlterPartition { broker, epoch, proposals: proposals.collect() })
    }

    fn response(asked: &AlterPartitionRequest, answer: Self::Answer) -> ResponseOf<Self> {
        let outcomes = match answer {
            Ok(outcomes) => outcomes,
            Err(refusal) => return Self::refused(refusal.code),
        };
        let names = asked.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.topic_id, partition.partition_index))
        });
        let each = names.zip(outcomes).map(|((topic, index), outcome)| (topic, answered_of(index, outcome)));
        let topics = by_topic(each).into_iter().map(|(topic, partitions)| {
            answered::TopicData::default().with_topic_id(topic).with_partitions(partitions)
        });
        AlterPartitionResponse::default().with_topics(topics.collect())
    }

    fn refused(code: ErrorCode) -> AlterPartitionResponse {
        AlterPartitionResponse::default().with_error_code(code.code())
    }

    fn of_response(&self, response: AlterPartitionResponse) -> Result<Self::Answer, NotController> {
        if let Err(code) = whole(response.error_code)? {
            return Ok(Err(Refusal::from(code)));
        }
        let mut found: BTreeMap<(TopicId, i32), Result<Altered, ErrorCode>> = BTreeMap::new();
        for topic in &response.topics {
            let each = topic.partitions.iter();
            found.extend(each.map(|one| ((topic.topic_id, one.partition_index), altered(one))));
        }
        let missing = || Err(ErrorCode::UnknownServerError);
        let outcomes = self.proposals.iter();
        let outcomes =
            outcomes.map(|one| found.get(&(one.topic, one.partition)).cloned().unwrap_or_else(missing));
        Ok(Ok(outcomes.collect()))
    }
}
