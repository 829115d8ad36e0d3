//! DeleteTopics v1-6 (KIP-4, KIP-516 by id from v6). `delete.topic.enable=false` refuses with TOPIC_DELETION_DISABLED.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::{DeleteTopics, NotController, Refusal};
use ottla_model::{TopicId, TopicName};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::delete_topics_response::DeletableTopicResult;
use ottla_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use super::answers::text;
use super::context::{AtNode, Begun, Context};

/// A topic as it was named, and what it is.
struct Named {
    name: Option<TopicName>,
    id: TopicId,
    outcome: Result<(), Refusal>,
}

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let Context { node, version, .. } = *context;
    let request: DeleteTopicsRequest = context.read(body)?;
    if !node.config().delete_topic_enable {
        let code = if version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
        let all = name_all(context, request).into_iter();
        let refused = all.map(|named| Named { outcome: Err(code.into()), ..named });
        return Ok(context.now(reply(refused.collect(), version)));
    }
    let mut named = name_all(context, request);
    let controller = context.controller();
    Ok(context.later(async move {
        let topics = named.iter().filter(|n| n.outcome.is_ok()).map(|n| n.id).collect();
        let outcomes = controller.ask(DeleteTopics { topics }).await.unwrap_or_default();
        for one in named.iter_mut().filter(|n| n.outcome.is_ok()) {
            let found = outcomes.iter().find(|(id, _)| *id == one.id);
            one.outcome = found.map_or(Err(NotController.into()), |(_, outcome)| outcome.clone());
        }
        reply(named, version)
    }))
}

fn name_all(context: &AtNode<'_>, request: DeleteTopicsRequest) -> Vec<Named> {
    let image = context.node.image.load();
    let check = |operation, name: &TopicName| context.check(operation, Resource::Topic, name);
    let refused = |id, name, code: ErrorCode| Named { id, name, outcome: Err(code.into()) };
    let find = |name: &TopicName| {
        let deletable = check(Operation::Delete, name);
        check(Operation::Describe, name)?;
        let topic = image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        deletable.map(|()| topic.id)
    };
    let by_name = |name: TopicName| match find(&name) {
        Ok(id) => Named { id, name: Some(name), outcome: Ok(()) },
        Err(code) => refused(Uuid::nil(), Some(name), code),
    };
    let by_id = |id: TopicId| {
        let Some(topic) = image.topic_by_id(id) else { return refused(id, None, ErrorCode::UnknownTopicId) };
        let name = topic.name.clone();
        match check(Operation::Delete, &name) {
            Ok(()) => Named { id, name: Some(name), outcome: Ok(()) },
            Err(code) => refused(id, check(Operation::Describe, &name).ok().map(|()| name), code),
        }
    };
    let mut all: Vec<Named> = if context.version >= 6 {
        let topics = request.topics.into_iter();
        let named = topics.map(|topic| match (topic.name, topic.topic_id.is_nil()) {
            (Some(name), true) => by_name(Arc::from(name.as_str())),
            (None, false) => by_id(topic.topic_id),
            (name, _) => {
                let why = "Topic name and topic id can not both be specified, nor both be missing.";
                Named {
                    name: name.map(|n| Arc::from(n.as_str())),
                    id: topic.topic_id,
                    outcome: Err(Refusal::new(ErrorCode::InvalidRequest, why)),
                }
            }
        });
        named.collect()
    } else {
        request.topic_names.into_iter().map(|name| by_name(Arc::from(name.as_str()))).collect()
    };
    refuse_repeated(&mut all);
    all
}

// The same topic twice, by whatever name: once is refused, the rest is left out.
fn refuse_repeated(all: &mut Vec<Named>) {
    let mut seen: Vec<TopicId> = Vec::new();
    let mut repeated = Vec::new();
    all.retain(|named| {
        if named.id.is_nil() || !seen.contains(&named.id) {
            seen.push(named.id);
            return true;
        }
        repeated.push(named.id);
        false
    });
    for named in all.iter_mut().filter(|named| repeated.contains(&named.id)) {
        named.outcome = Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic."));
    }
}

fn reply(all: Vec<Named>, version: i16) -> DeleteTopicsResponse {
    let results = all.into_iter().map(|named| {
        let (code, message) = match named.outcome {
            Ok(()) => (ErrorCode::None, None),
            Err(refusal) => (refusal.code, Some(text(&refusal.message))),
        };
        let result = DeletableTopicResult::default()
            .with_name(named.name.as_deref().map(|name| text(name).into()))
            .with_error_code(code.code());
        let result = if version >= 5 { result.with_error_message(message) } else { result };
        if version >= 6 { result.with_topic_id(named.id) } else { result }
    });
    DeleteTopicsResponse::default().with_responses(results.collect())
}
