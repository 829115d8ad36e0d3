//! FetchSnapshot v0-1 (KIP-630, KIP-853): a piece of a snapshot of the metadata.

use bytes::Bytes;
use ottla_node::quorum::{Leadership, PieceAnswer};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::FetchSnapshotRequest;

use super::context::{AtNode, Begun};
use crate::travels::metadata_snapshot;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let version = context.version;
    let request: FetchSnapshotRequest = context.read(body)?;
    let refused = |code| Ok(context.now(metadata_snapshot::response(failed(code), version)));
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return refused(code);
    }
    let asked = match metadata_snapshot::of_request(&request) {
        Ok(asked) => asked,
        Err(code) => return refused(code),
    };
    let Some(here) = context.node.controller.here.clone() else {
        return refused(ErrorCode::NotLeaderOrFollower);
    };
    Ok(context.later(async move {
        let answer = here.fetch_snapshot(asked).await;
        metadata_snapshot::response(answer.unwrap_or_else(|_| failed(ErrorCode::BrokerNotAvailable)), version)
    }))
}

fn failed(code: ErrorCode) -> PieceAnswer {
    PieceAnswer { leadership: Leadership::unsaid(), piece: Err(code) }
}
