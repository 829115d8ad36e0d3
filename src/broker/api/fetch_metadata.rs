//! Fetch v4-18 at a controller (KIP-595, KIP-1166): observers follow the metadata log. Of everything that is served, this is the
//! only partition.

use bytes::Bytes;
use ottla_node::quorum::{FetchAnswer, Leadership};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::fetch::{FetchRequest, Part as Piece};

use super::context::{AtNode, Begun};
use crate::request::{Answer, Overtakers, Part, Queued, Staged};
use crate::travels::metadata_fetch;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let version = context.version;
    let request = FetchRequest::read(version, body)?;
    let refused = |code| Ok(Staged::Queued(Queued::Answered(reply(failed(code), version))));
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return refused(code);
    }
    let (asked, max_wait_ms) = match metadata_fetch::of_request(&request) {
        Ok(asked) => asked,
        Err(code) => return refused(code),
    };
    let Some(here) = context.node.controller.here.clone() else {
        return refused(ErrorCode::NotLeaderOrFollower);
    };
    let answer = async move {
        let answer = here.fetch(asked, max_wait_ms).await;
        reply(answer.unwrap_or_else(|_| failed(ErrorCode::BrokerNotAvailable)), version)
    };
    Ok(Staged::Queued(Queued::Answering(Overtakers::Any, Box::pin(answer))))
}

fn failed(code: ErrorCode) -> FetchAnswer {
    let leadership = Leadership::unsaid();
    FetchAnswer { leadership, fetched: Err(code), high_watermark: None, log_start: -1 }
}

fn reply(answer: FetchAnswer, version: i16) -> Answer {
    let pieces = metadata_fetch::response(answer, version).write(version, |records| records.len());
    let parts = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) | Piece::Records(bytes) => Part::Bytes(bytes),
    });
    Answer::Parts(parts.collect())
}
