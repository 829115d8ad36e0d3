//! InitProducerId v0-5 for idempotent producers (KIP-98). A transactional id is refused with
//! TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client takes for final: there is no transaction coordinator yet.
//! [`super::find_coordinator`] has the reasons.

use bytes::Bytes;
use ottla_model::BrokerEpoch;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::context::{Begun, Context};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: InitProducerIdRequest = context.read(body)?;
    let permitted = match &request.transactional_id {
        Some(id) => context.check(Operation::Write, Resource::TransactionalId, id),
        None => context.check_cluster(Operation::IdempotentWrite),
    };
    // A producer that resumes says both who it was and in which epoch (KIP-360).
    let half = (request.producer_id.0 == -1) != (request.producer_epoch == -1);
    let refused = match &request.transactional_id {
        None => (version >= 3 && half).then_some(ErrorCode::InvalidRequest),
        Some(id) if id.is_empty() => Some(ErrorCode::InvalidRequest),
        Some(_) => Some(ErrorCode::TransactionalIdAuthorizationFailed),
    };
    if let Some(code) = permitted.err().or(refused) {
        return Ok(context.now(failed(code)));
    }
    let broker = broker.clone();
    Ok(context.later(async move {
        let epoch = broker.image.load().broker(broker.me).map_or(BrokerEpoch::NONE, |b| b.epoch);
        match broker.producer_ids.next(&broker.controller, broker.me, epoch).await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(id.0.into()).with_producer_epoch(0),
            Err(code) => failed(code),
        }
    }))
}

fn failed(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}
