//! DescribeTopicPartitions v0 (KIP-966): topics a page at a time, with eligible leader replicas, and
//! always with what the caller may do to them.

use bytes::Bytes;
use ottla_model::check_topic_name;
use ottla_model::image::{Image, Topic};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::answers::text;
use super::context::{Begun, Context};
use super::rights::Rights;
use super::topics::{Viewer, ids, is_internal, see};
use crate::request::Staged;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, caller, .. } = *context;
    let request: DescribeTopicPartitionsRequest = context.read(body)?;
    let image = broker.image.load();
    let from = request.cursor.as_ref().map(|c| (c.topic_name.to_string(), c.partition_index));
    if from.as_ref().is_some_and(|(_, index)| *index < 0) {
        // Kafka fails the whole request; it has no field for an error of its own.
        return Ok(Staged::Refused("a cursor with a negative partition index".into()));
    }
    let most = broker.config().max_request_partition_size_limit;
    let mut page = Page {
        viewer: Viewer { broker, image: &image, listener: &caller.listener },
        rights: context.rights(),
        room: request.response_partition_limit.clamp(1, most.max(1)) as usize,
        topics: Vec::new(),
        next: None,
    };
    let all = request.topics.is_empty();
    let shown = |name: &str| !all || context.rights().may(Operation::Describe, Resource::Topic, name);
    for name in wanted(&image, &request, from.as_ref().map(|(name, _)| name.as_str())) {
        if !shown(&name) {
            continue;
        }
        let first = from.as_ref().filter(|(at, _)| *at == name).map_or(0, |(_, index)| *index);
        if !page.add(&name, first) {
            break;
        }
    }
    let next = page.next.map(|(name, index)| {
        Cursor::default().with_topic_name(text(&name).into()).with_partition_index(index)
    });
    let response = DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(next);
    Ok(context.now(response))
}

// In the order of the names, from the cursor's on; nothing asked for is everything.
fn wanted(image: &Image, request: &DescribeTopicPartitionsRequest, from: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    names.sort();
    names.dedup();
    names.retain(|name| from.is_none_or(|from| name.as_str() >= from));
    names
}

struct Page<'a> {
    viewer: Viewer<'a>,
    rights: Rights<'a>,
    room: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<(String, i32)>,
}

impl Page<'_> {
    // False when the page is full.
    fn add(&mut self, name: &str, first: i32) -> bool {
        if self.room == 0 {
            self.next = Some((name.to_owned(), first));
            return false;
        }
        if let Err(code) = self.rights.check(Operation::Describe, Resource::Topic, name) {
            self.topics.push(refused(name, code));
            return true;
        }
        let Some(topic) = self.viewer.image.topic(name) else {
            let code = match check_topic_name(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            self.topics.push(self.empty(name).with_error_code(code.code()));
            return true;
        };
        let left = topic.partitions.range(first..);
        let partitions: Vec<_> = left.take(self.room).map(|(i, _)| self.partition(topic, *i)).collect();
        self.room -= partitions.len();
        let end = first + partitions.len() as i32;
        self.topics.push(
            self.empty(name)
                .with_topic_id(topic.id)
                .with_is_internal(is_internal(topic))
                .with_partitions(partitions),
        );
        if topic.partitions.contains_key(&end) {
            self.next = Some((name.to_owned(), end));
            return false;
        }
        true
    }

    fn empty(&self, name: &str) -> DescribeTopicPartitionsResponseTopic {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(text(name).into()))
            .with_topic_authorized_operations(self.rights.operations(Resource::Topic, name))
    }

    fn partition(&self, topic: &Topic, index: i32) -> DescribeTopicPartitionsResponsePartition {
        let partition = &topic.partitions[&index];
        let seen = see(self.viewer, topic, index, partition);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(seen.error.code())
            .with_partition_index(index)
            .with_leader_id(seen.leader.into())
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(ids(&partition.replicas))
            .with_isr_nodes(ids(&partition.isr))
            .with_eligible_leader_replicas(Some(ids(&partition.elr)))
            .with_last_known_elr(Some(ids(&partition.last_known_elr)))
            .with_offline_replicas(ids(&seen.offline))
    }
}

fn refused(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(text(name).into()))
        .with_error_code(code.code())
}
