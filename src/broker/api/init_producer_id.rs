//! InitProducerId v0-5 (KIP-98; KIP-360 who resumes from v3, KIP-588 PRODUCER_FENCED from v4). With a transactional id the
//! transaction coordinator answers, without one this broker does.

use bytes::Bytes;
use ottla_core::coordinator::Producer;
use ottla_core::txn::{InitProducerId, for_clients_before_producer_fenced};
use ottla_model::BrokerEpoch;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId};

use super::context::{Begun, Context};
use super::groups::shared;
use crate::broker::Broker;

const PRODUCER_FENCED_SINCE: i16 = 4;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: InitProducerIdRequest = context.read(body)?;
    let permitted = match &request.transactional_id {
        Some(id) => context.check(Operation::Write, Resource::TransactionalId, id),
        None => context.check_cluster(Operation::IdempotentWrite),
    };
    let expected = expected(&request);
    let (expected, broker) = match permitted.and(expected) {
        Ok(expected) => (expected, broker.clone()),
        Err(code) => return Ok(context.now(response(Err(code), version))),
    };
    let Some(transactional_id) = request.transactional_id.as_ref().map(|id| shared(&id.0)) else {
        return Ok(context.later(async move { response(any_producer(&broker).await, version) }));
    };
    let init = InitProducerId {
        transactional_id,
        timeout_ms: request.transaction_timeout_ms,
        expected,
        enable_two_phase_commit: request.enable_2_pc,
        keep_prepared_transaction: request.keep_prepared_txn,
    };
    Ok(context.later(async move { response(broker.transactions.ask(init).await, version) }))
}

// A producer that resumes says both who it was and in which epoch.
fn expected(request: &InitProducerIdRequest) -> Result<Option<Producer>, ErrorCode> {
    match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => Ok(None),
        (-1, _) | (_, -1) => Err(ErrorCode::InvalidRequest),
        (id, epoch) => Ok(Some(Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch) })),
    }
}

async fn any_producer(broker: &Broker) -> Result<Producer, ErrorCode> {
    let epoch = broker.image.load().broker(broker.me).map_or(BrokerEpoch::NONE, |b| b.epoch);
    let id = broker.producer_ids.next(&broker.controller, broker.me, epoch).await?;
    Ok(Producer { id, epoch: ProducerEpoch(0) })
}

fn response(outcome: Result<Producer, ErrorCode>, version: i16) -> InitProducerIdResponse {
    let response = InitProducerIdResponse::default();
    match outcome {
        Ok(producer) => response.with_producer_id(producer.id.0.into()).with_producer_epoch(producer.epoch.0),
        Err(code) => {
            let code = match version {
                ..PRODUCER_FENCED_SINCE => for_clients_before_producer_fenced(code),
                _ => code,
            };
            response.with_error_code(code.code()).with_producer_id((-1).into()).with_producer_epoch(-1)
        }
    }
}
