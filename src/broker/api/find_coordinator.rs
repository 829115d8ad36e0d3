//! FindCoordinator v0-6 (KIP-699 many keys from v4, KIP-932 share coordinators from v6). Groups are found by the
//! partition of `__consumer_offsets` that they fall to, which is created when it is first asked for.
//!
//! There are no transaction and share coordinators yet. A client repeats a retriable error such as
//! COORDINATOR_NOT_AVAILABLE until its own patience ends (60 s in Java, `init_transactions`'s argument in librdkafka), so
//! what is never going to come is refused with an error that ends the attempt at once:
//! - transaction: TRANSACTIONAL_ID_AUTHORIZATION_FAILED. Java, franz-go, sarama and kafka-python give up on any error
//!   that is not retriable, but librdkafka on this one alone (`rd_kafka_txn_handle_FindCoordinator`); it asks again
//!   every half second after any other, UNSUPPORTED_VERSION included. InitProducerId answers the same for the same reason.
//! - share: INVALID_REQUEST, Kafka's answer to a key that is none. Only brokers ask for share coordinators.

use bytes::Bytes;
use ottla_model::GROUP_METADATA_TOPIC;
use ottla_node::coordinator::groups::{offsets_topic, shard_of};
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::find_coordinator_response::Coordinator;
use ottla_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::answers::text;
use super::context::{Begun, Context};
use super::rights::Rights;
use super::topics::{Viewer, see};
use crate::run::serve::create::create_offsets_topic;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// What a producer with a transactional id reads in its error.
const NO_TRANSACTIONS: &str = "This broker has no transactions yet.";

/// Where a key's coordinator is.
struct CoordinatorAddress {
    node: i32,
    host: StrBytes,
    port: i32,
}

type Outcome = Result<CoordinatorAddress, (ErrorCode, String)>;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, caller, version, .. } = *context;
    let request: FindCoordinatorRequest = context.read(body)?;
    let image = broker.image.load();
    let one = std::slice::from_ref(&request.key);
    let keys = if version >= 4 { &request.coordinator_keys } else { one };
    let permitted = |key: &StrBytes| may_find(context.rights(), GROUP, key).is_ok();
    if request.key_type != GROUP || offsets_topic(&image).is_some() || !keys.iter().any(permitted) {
        let viewer = Viewer { broker, image: &image, listener: &caller.listener };
        return Ok(context.now(answer(&request, viewer, context.rights(), version, None)));
    }
    drop(image);
    let (broker, kept) = (broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        let failed = create_offsets_topic(&broker).await.err();
        if let Some(why) = &failed {
            broker.groups.say_once(why);
        }
        let listener = &kept.rights().caller.listener;
        let viewer = Viewer { broker: &broker, image: &broker.image.load(), listener };
        answer(&request, viewer, kept.rights(), version, failed.as_deref())
    }))
}

// `failed` is why the offsets topic could not be created.
fn answer(
    request: &FindCoordinatorRequest,
    viewer: Viewer<'_>,
    rights: Rights<'_>,
    version: i16,
    failed: Option<&str>,
) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    let find = |key: &StrBytes| {
        may_find(rights, request.key_type, key)?;
        find(viewer, request.key_type, key, failed)
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

fn may_find(rights: Rights<'_>, key_type: i8, key: &str) -> Result<(), (ErrorCode, String)> {
    let resource = match key_type {
        GROUP => Resource::Group,
        TRANSACTION => Resource::TransactionalId,
        _ => return Ok(()),
    };
    let checked = rights.check(Operation::Describe, resource, key);
    checked.map_err(|code| (code, code.message().to_owned()))
}

fn find(viewer: Viewer<'_>, key_type: i8, key: &str, failed: Option<&str>) -> Outcome {
    let Viewer { image, listener, .. } = viewer;
    let unavailable = |why: &str| Err((ErrorCode::CoordinatorNotAvailable, why.to_owned()));
    match key_type {
        GROUP => {}
        TRANSACTION => {
            return Err((ErrorCode::TransactionalIdAuthorizationFailed, NO_TRANSACTIONS.to_owned()));
        }
        other => {
            return Err((ErrorCode::InvalidRequest, format!("There are no coordinators of type {other}.")));
        }
    }
    let Some(topic) = offsets_topic(image) else {
        let why = failed.map(|why| format!(" ({why})")).unwrap_or_default();
        return unavailable(&format!("There is no topic {GROUP_METADATA_TOPIC} yet{why}."));
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
        None => unavailable(&format!("{GROUP_METADATA_TOPIC}-{shard} has no leader.")),
    }
}
