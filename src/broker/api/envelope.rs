//! Envelope v0 (KIP-590): a broker sends on what a client has asked of it. The answer also says up to where the metadata was, in
//! a tagged field that Kafka's brokers pass over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{ApiRow, Forwarding, Operation, api};
use ottla_protocol::header::{read_request_header, write_response_header};
use ottla_protocol::messages::{EnvelopeRequest, EnvelopeResponse};

use super::context::{AtNode, Begun};
use super::controller;
use crate::request::{Answer, Caller, METADATA_OFFSET_TAG, Part};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: EnvelopeRequest = context.read(body)?;
    let refused = |code: ErrorCode| EnvelopeResponse::default().with_error_code(code.code());
    if context.check_cluster(Operation::ClusterAction).is_err() {
        return Ok(context.now(refused(ErrorCode::ClusterAuthorizationFailed)));
    }
    if !context.node.controller.leads_here() {
        return Ok(context.now(refused(ErrorCode::NotController)));
    }
    let mut inner = request.request_data;
    let header = read_request_header(&mut inner)?;
    let row = api(header.api_key).filter(|row| row.serves(header.api_version));
    let Some(row) = row.filter(|row| row.forwarding != Forwarding::Never) else {
        return Ok(context.now(refused(ErrorCode::InvalidRequest)));
    };
    let Some(peer) = address(&request.client_host_address) else {
        return Ok(context.now(refused(ErrorCode::InvalidRequest)));
    };
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let caller =
        Caller { peer: SocketAddr::new(peer, 0), client_id: header.client_id, ..context.caller.clone() };
    let missed = Arc::new(AtomicBool::new(false));
    let enclosed = AtNode { caller: &caller, api: row, version, missed: Some(&missed), ..*context };
    let staged = controller::begin(&enclosed, inner)?;
    let node = context.node.clone();
    Ok(context.later(async move {
        let answer = staged.answer().await;
        if missed.load(Ordering::Relaxed) {
            return refused(ErrorCode::NotController);
        }
        let Some(data) = enclosed_answer(row, version, correlation_id, answer) else {
            return refused(ErrorCode::InvalidRequest);
        };
        let mut response = EnvelopeResponse::default().with_response_data(Some(data));
        let offset = Bytes::copy_from_slice(&node.image.load().offset.to_be_bytes());
        response.unknown_tagged_fields.insert(METADATA_OFFSET_TAG, offset);
        response
    }))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4.or_else(|_| v6()).ok()
}

// Header and body. None where there is no answer, or one of records.
fn enclosed_answer(row: &ApiRow, version: i16, correlation_id: i32, answer: Answer) -> Option<Bytes> {
    let Answer::Parts(parts) = answer else { return None };
    let mut data = BytesMut::new();
    write_response_header(&mut data, row, version, correlation_id);
    for part in parts {
        match part {
            Part::Bytes(bytes) => data.extend_from_slice(&bytes),
            Part::File(_) => return None,
        }
    }
    Some(data.freeze())
}
