//! Fetch v4-18 (KIP-98 isolation, KIP-227 sessions from v7, KIP-320 epochs from v9, KIP-516 topic ids from v13,
//! KIP-951 leader hints from v16). Missing: replicas as fetchers, reading from the nearest replica (KIP-392),
//! quotas.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::session::{FetchKey, FetchTopic, Position, SessionRequest};
use ottla_log::FileRange;
use ottla_log::log::Isolation;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::fetch::{
    AbortedTransaction, CurrentLeader, FetchPartitionResponse, FetchRequest, FetchResponse,
    FetchTopicResponse, IsolationLevel, Part as Piece, TopicRef,
};
use ottla_protocol::{ErrorCode, StrBytes};

use super::answers::THROTTLE_MS;
use super::context::{Begun, Context};
use crate::broker::Broker;
use crate::request::{Answer, Overtakers, Part, Queued, Staged};
use crate::run::serve::fetch::{FetchCommand, Fetched, Fetching, PartitionRead, fetch};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request = FetchRequest::read(version, body)?;
    let asker = Asker::of(context, request.replica_id);
    let command = ask(broker, version, request);
    let me = broker.me.0;
    Ok(Staged::Queued(match fetch(broker, command, |topic| asker.check(topic)) {
        Fetching::Done(fetched) => Queued::Answered(reply(fetched, version, me)),
        Fetching::Waiting(wait) => {
            let answer = async move { reply(wait.answer().await, version, me) };
            Queued::Answering(Overtakers::Any, Box::pin(answer))
        }
    }))
}

/// Who fetches: a consumer, or a replica that has proved to be one.
enum Asker<'a> {
    Consumer(&'a Context<'a>),
    Replica(Result<(), ErrorCode>),
}

impl<'a> Asker<'a> {
    fn of(context: &'a Context<'a>, replica_id: i32) -> Asker<'a> {
        if replica_id < 0 {
            return Asker::Consumer(context);
        }
        // Kafka says it of each topic, too.
        let checked = context.check_cluster(Operation::ClusterAction);
        Asker::Replica(checked.map_err(|_| Resource::Topic.refusal()))
    }

    fn check(&self, topic: &FetchTopic) -> Result<(), ErrorCode> {
        let context = match self {
            Asker::Consumer(context) => context,
            Asker::Replica(checked) => return *checked,
        };
        match topic {
            FetchTopic::Name(name) => context.check(Operation::Read, Resource::Topic, name),
            FetchTopic::Id(id) => match context.broker.image.load().topic_by_id(*id) {
                Some(topic) => context.check(Operation::Read, Resource::Topic, &topic.name),
                // It is refused as unknown.
                None => Ok(()),
            },
        }
    }
}

fn ask(broker: &Broker, version: i16, request: FetchRequest) -> FetchCommand {
    let mut named = Vec::new();
    for topic in &request.topics {
        let topic_key = key_of(&topic.topic);
        named.extend(topic.partitions.iter().map(|p| {
            let key = FetchKey { topic: topic_key.clone(), partition: p.index };
            let position = Position {
                fetch_offset: p.fetch_offset,
                max_bytes: p.max_bytes,
                current_leader_epoch: p.current_leader_epoch,
                last_fetched_epoch: p.last_fetched_epoch,
                log_start_offset: p.log_start_offset,
            };
            (key, position)
        }));
    }
    let forgotten = request.forgotten_topics.iter().flat_map(|topic| {
        let topic_key = key_of(&topic.topic);
        topic.partitions.iter().map(move |index| FetchKey { topic: topic_key.clone(), partition: *index })
    });
    FetchCommand {
        session: SessionRequest { id: request.session_id, epoch: request.session_epoch },
        by_id: version >= 13,
        forgotten: forgotten.collect(),
        named,
        isolation: match request.isolation_level {
            IsolationLevel::ReadUncommitted => Isolation::HighWatermark,
            IsolationLevel::ReadCommitted => Isolation::Committed,
        },
        max_wait: Duration::from_millis(request.max_wait_ms.max(0) as u64),
        min_bytes: request.min_bytes.max(0) as u64,
        max_bytes: request.max_bytes.clamp(0, broker.config().fetch_max_bytes) as usize,
    }
}

fn key_of(topic: &TopicRef) -> FetchTopic {
    match topic {
        TopicRef::Id(id) => FetchTopic::Id(*id),
        TopicRef::Name(name) => FetchTopic::Name(Arc::from(name.as_str())),
    }
}

fn reply(fetched: Fetched, version: i16, me: i32) -> Answer {
    let mut topics: Vec<FetchTopicResponse<FileRange>> = Vec::new();
    let mut last: Option<FetchTopic> = None;
    for mut found in fetched.found {
        let topic = std::mem::replace(&mut found.key.topic, FetchTopic::Id(Default::default()));
        let partition = partition_reply(found, me);
        if let (Some(known), true) = (topics.last_mut(), last.as_ref() == Some(&topic)) {
            known.partitions.push(partition);
            continue;
        }
        let name = match &topic {
            FetchTopic::Id(id) => TopicRef::Id(*id),
            FetchTopic::Name(name) => TopicRef::Name(StrBytes::from_string(name.to_string())),
        };
        topics.push(FetchTopicResponse { topic: name, partitions: vec![partition] });
        last = Some(topic);
    }
    let response = FetchResponse {
        throttle_time_ms: THROTTLE_MS,
        error: fetched.error,
        session_id: fetched.session_id,
        topics,
        node_endpoints: Vec::new(),
    };
    let pieces = response.write(version, |range| range.len);
    let parts = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => Part::Bytes(bytes),
        Piece::Records(range) => Part::File(range),
    });
    Answer::Parts(parts.collect())
}

fn partition_reply(found: PartitionRead, me: i32) -> FetchPartitionResponse<FileRange> {
    let redirect = matches!(found.error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
    let current_leader = (redirect && found.current_epoch.is_some())
        .then_some(CurrentLeader { leader_id: me, leader_epoch: found.current_epoch });
    FetchPartitionResponse {
        index: found.key.partition,
        error: found.error,
        high_watermark: found.offsets.high_watermark,
        last_stable_offset: found.offsets.last_stable,
        log_start_offset: found.offsets.log_start,
        diverging_epoch: None,
        current_leader,
        snapshot_id: None,
        aborted_transactions: found.aborted.map(|aborted| {
            aborted
                .into_iter()
                .map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset })
                .collect()
        }),
        preferred_read_replica: -1,
        records: found.records,
    }
}
