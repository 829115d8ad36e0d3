//! FindCoordinator v0-6 (KIP-699 many keys from v4, KIP-932 share coordinators from v6). Groups are found by the
//! partition of `__consumer_offsets` that they fall to, transactional ids by that of `__transaction_state`; either topic
//! is created when it is first asked for. There are no share coordinators yet: INVALID_REQUEST, Kafka's answer to a key that
//! is none. Only brokers ask for them.

use bytes::Bytes;
use ottla_model::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};
use ottla_node::coordinator::groups::new_offsets_topic;
use ottla_node::coordinator::shard_of;
use ottla_node::coordinator::transactions::new_state_topic;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::find_coordinator_response::Coordinator;
use ottla_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::answers::text;
use super::context::{Begun, Context};
use super::rights::Rights;
use super::topics::{Viewer, see};
use crate::broker::Broker;
use crate::run::serve::create::create_internal;

/// What a key names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Group,
    TransactionalId,
}

/// Where a key's coordinator is.
struct CoordinatorAddress {
    node: i32,
    host: StrBytes,
    port: i32,
}

type Outcome = Result<CoordinatorAddress, (ErrorCode, String)>;

impl Kind {
    fn of(key_type: i8) -> Result<Kind, (ErrorCode, String)> {
        match key_type {
            0 => Ok(Kind::Group),
            1 => Ok(Kind::TransactionalId),
            other => Err((ErrorCode::InvalidRequest, format!("There are no coordinators of type {other}."))),
        }
    }

    fn resource(self) -> Resource {
        match self {
            Kind::Group => Resource::Group,
            Kind::TransactionalId => Resource::TransactionalId,
        }
    }

    fn topic(self) -> &'static str {
        match self {
            Kind::Group => GROUP_METADATA_TOPIC,
            Kind::TransactionalId => TRANSACTION_STATE_TOPIC,
        }
    }

    // Why the topic could not be created.
    async fn create_topic(self, broker: &Broker) -> Option<String> {
        let new = match self {
            Kind::Group => new_offsets_topic(&broker.config()),
            Kind::TransactionalId => new_state_topic(&broker.config()),
        };
        let outcome = create_internal(broker, new).await;
        match (self, &outcome) {
            (Kind::Group, Ok(())) => broker.groups.wake_all(),
            (Kind::Group, Err(why)) => broker.groups.say_once(why),
            (Kind::TransactionalId, Ok(())) => broker.transactions.wake_all(),
            (Kind::TransactionalId, Err(why)) => broker.transactions.say_once(why),
        }
        outcome.err()
    }
}

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, caller, version, .. } = *context;
    let request: FindCoordinatorRequest = context.read(body)?;
    let image = broker.image.load();
    let one = std::slice::from_ref(&request.key);
    let keys = if version >= 4 { &request.coordinator_keys } else { one };
    let missing = Kind::of(request.key_type).ok().filter(|kind| {
        let permitted = |key: &StrBytes| may_find(context.rights(), *kind, key).is_ok();
        image.topic(kind.topic()).is_none() && keys.iter().any(permitted)
    });
    let Some(kind) = missing else {
        let viewer = Viewer { broker, image: &image, listener: &caller.listener };
        return Ok(context.now(answer(&request, viewer, context.rights(), version, None)));
    };
    drop(image);
    let (broker, kept) = (broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        let failed = kind.create_topic(&broker).await;
        let listener = &kept.rights().caller.listener;
        let viewer = Viewer { broker: &broker, image: &broker.image.load(), listener };
        answer(&request, viewer, kept.rights(), version, failed.as_deref())
    }))
}

// `failed` is why the topic could not be created.
fn answer(
    request: &FindCoordinatorRequest,
    viewer: Viewer<'_>,
    rights: Rights<'_>,
    version: i16,
    failed: Option<&str>,
) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    let find = |key: &StrBytes| {
        let kind = Kind::of(request.key_type)?;
        may_find(rights, kind, key)?;
        find(viewer, kind, key, failed)
    };
    if version >= 4 {
        let each = request.coordinator_keys.iter().map(|key| {
            let coordinator = Coordinator::default().with_key(key.clone());
            match find(key) {
                Ok(found) => {
                    coordinator.with_node_id(found.node.into()).with_host(found.host).with_port(found.port)
                }
                Err((code, why)) => coordinator
                    .with_node_id((-1).into())
                    .with_port(-1)
                    .with_error_code(code.code())
                    .with_error_message(Some(StrBytes::from_string(why))),
            }
        });
        return response.with_coordinators(each.collect());
    }
    let (response, message) = match find(&request.key) {
        Ok(found) => {
            let said = (version >= 1).then(|| text(ErrorCode::None.name()));
            (response.with_node_id(found.node.into()).with_host(found.host).with_port(found.port), said)
        }
        Err((code, why)) => {
            let said = (version >= 1).then(|| StrBytes::from_string(why));
            (response.with_error_code(code.code()).with_node_id((-1).into()).with_port(-1), said)
        }
    };
    response.with_error_message(message)
}

fn may_find(rights: Rights<'_>, kind: Kind, key: &str) -> Result<(), (ErrorCode, String)> {
    let checked = rights.check(Operation::Describe, kind.resource(), key);
    checked.map_err(|code| (code, code.message().to_owned()))
}

fn find(viewer: Viewer<'_>, kind: Kind, key: &str, failed: Option<&str>) -> Outcome {
    let Viewer { image, listener, .. } = viewer;
    let unavailable = |why: &str| Err((ErrorCode::CoordinatorNotAvailable, why.to_owned()));
    let name = kind.topic();
    let Some(topic) = image.topic(name) else {
        let why = failed.map(|why| format!(" ({why})")).unwrap_or_default();
        return unavailable(&format!("There is no topic {name} yet{why}."));
    };
    let shard = shard_of(key, topic.partitions.len());
    let leader = topic.partitions.get(&shard).and_then(|partition| {
        let seen = see(viewer, topic, shard, partition);
        image.broker(ottla_model::NodeId(seen.leader))
    });
    match leader.and_then(|broker| Some((broker.id, broker.endpoint(listener)?))) {
        Some((id, endpoint)) => {
            Ok(CoordinatorAddress { node: id.0, host: text(&endpoint.host), port: i32::from(endpoint.port) })
        }
        None => unavailable(&format!("{name}-{shard} has no leader.")),
    }
}
