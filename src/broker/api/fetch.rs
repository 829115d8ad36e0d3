//! Fetch v4-18 (KIP-98 isolation, KIP-227 sessions from v7, KIP-320 epochs from v9, KIP-516 topic ids from v13,
//! KIP-951 leader hints from v16; KIP-392 nearest replicas from v11, KIP-903 replica epochs from v15). Missing: quotas.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::session::{FetchKey, FetchTopic, Position, SessionRequest};
use ottla_log::FileRange;
use ottla_log::log::Isolation;
use ottla_model::NodeId;
use ottla_model::image::Image;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::fetch::{
    AbortedTransaction, CurrentLeader, EpochEndOffset, FetchPartitionResponse, FetchRequest, FetchResponse,
    FetchTopicResponse, IsolationLevel, Part as Piece, TopicRef,
};
use ottla_protocol::{ErrorCode, StrBytes};

use super::answers::THROTTLE_MS;
use super::context::{Begun, Context};
use super::leaders::Leaders;
use crate::broker::Broker;
use crate::request::{Answer, Overtakers, Part, Queued, Staged};
use crate::run::serve::fetch::{FetchCommand, Fetched, Fetching, PartitionRead, Reader, fetch};
use crate::run::serve::nearest::Nearest;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request = FetchRequest::read(version, body)?;
    let asker = Asker::of(context, request.replica_id);
    let listener = context.caller.listener.clone();
    let command = ask(broker, version, request, &listener);
    Ok(Staged::Queued(match fetch(broker, command, |topic| asker.check(topic)) {
        Fetching::Done(fetched) => Queued::Answered(reply(fetched, version, &broker.image.load(), &listener)),
        Fetching::Waiting(wait) => {
            let broker = broker.clone();
            let answer = async move {
                let fetched = wait.answer().await;
                reply(fetched, version, &broker.image.load(), &listener)
            };
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

fn ask(broker: &Broker, version: i16, request: FetchRequest, listener: &Arc<str>) -> FetchCommand {
    let reader = match request.replica_id {
        id @ 0.. => Reader::Replica { id: NodeId(id), broker_epoch: request.replica_epoch },
        // From this version on a consumer says where it is, and expects to be sent to a follower.
        _ if version >= 11 => {
            let (rack, listener) = (request.rack_id.to_string(), listener.clone());
            Reader::Consumer(Nearest { rack, listener })
        }
        _ => Reader::OfLeaders,
    };
    let most = match reader {
        Reader::Replica { .. } => i32::MAX,
        Reader::Consumer(_) | Reader::OfLeaders => broker.config().fetch_max_bytes,
    };
    let isolation = match (&reader, request.isolation_level) {
        (Reader::Replica { .. }, _) => Isolation::LogEnd,
        (_, IsolationLevel::ReadUncommitted) => Isolation::HighWatermark,
        (_, IsolationLevel::ReadCommitted) => Isolation::Committed,
    };
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
        reader,
        session: SessionRequest { id: request.session_id, epoch: request.session_epoch },
        by_id: version >= 13,
        forgotten: forgotten.collect(),
        named,
        isolation,
        max_wait: Duration::from_millis(request.max_wait_ms.max(0) as u64),
        min_bytes: request.min_bytes.max(0) as u64,
        max_bytes: request.max_bytes.clamp(0, most) as usize,
    }
}

fn key_of(topic: &TopicRef) -> FetchTopic {
    match topic {
        TopicRef::Id(id) => FetchTopic::Id(*id),
        TopicRef::Name(name) => FetchTopic::Name(Arc::from(name.as_str())),
    }
}

fn reply(fetched: Fetched, version: i16, image: &Image, listener: &str) -> Answer {
    let mut leaders = Leaders::new(image, listener);
    let mut topics: Vec<FetchTopicResponse<FileRange>> = Vec::new();
    let mut last: Option<FetchTopic> = None;
    for mut found in fetched.found {
        let topic = std::mem::replace(&mut found.key.topic, FetchTopic::Id(Default::default()));
        let away = matches!(found.error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        let leader = if away && version >= 16 { leaders.find(&topic, found.key.partition) } else { None };
        let partition = partition_reply(found, leader);
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
        node_endpoints: leaders.endpoints(),
    };
    let pieces = response.write(version, |range| range.len);
    let parts = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => Part::Bytes(bytes),
        Piece::Records(range) => Part::File(range),
    });
    Answer::Parts(parts.collect())
}

fn partition_reply(
    found: PartitionRead,
    current_leader: Option<CurrentLeader>,
) -> FetchPartitionResponse<FileRange> {
    let diverging = found.diverging;
    FetchPartitionResponse {
        index: found.key.partition,
        error: found.error,
        high_watermark: found.offsets.high_watermark,
        last_stable_offset: found.offsets.last_stable,
        log_start_offset: found.offsets.log_start,
        diverging_epoch: diverging.map(|d| EpochEndOffset { epoch: d.epoch, end_offset: d.end_offset }),
        current_leader,
        snapshot_id: None,
        aborted_transactions: found.aborted.map(|aborted| {
            aborted
                .into_iter()
                .map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset })
                .collect()
        }),
        preferred_read_replica: found.preferred.map_or(-1, |id| id.0),
        records: found.records,
    }
}
