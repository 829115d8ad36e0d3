//! WriteTxnMarkers v1-2 (KIP-98; KIP-1228 the transaction version of a marker from v2). A coordinator of transactions, or an
//! operator who ends a hanging transaction (KIP-664), has markers written into partitions that this broker leads.

use bytes::Bytes;
use ottla_core::coordinator::Producer;
use ottla_model::txn::TransactionVersion;
use ottla_node::coordinator::Ending;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::txn_markers::{
    TxnMarker, TxnMarkerResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use super::context::{Begun, Context};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let request = WriteTxnMarkersRequest::read(context.version, &body)?;
    if let Err(code) = context.check_cluster(Operation::Alter) {
        let refused = request.markers.iter().map(|marker| refused(marker, code)).collect();
        return Ok(context.now(WriteTxnMarkersResponse { markers: refused }));
    }
    let markers = context.broker.markers.clone();
    // All are queued before the first is waited for, in the order of the request.
    let mut begun = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        let ending = ending(&marker);
        let topics = marker.topics.into_iter().map(|(name, indexes)| {
            let write = |index| (index, markers.write_here(ending, &name, index));
            let partitions: Vec<_> = indexes.into_iter().map(write).collect();
            (name, partitions)
        });
        begun.push((marker.producer_id, topics.collect::<Vec<_>>()));
    }
    Ok(context.later(async move {
        let mut results = Vec::with_capacity(begun.len());
        for (producer_id, topics) in begun {
            let mut written = Vec::with_capacity(topics.len());
            for (name, partitions) in topics {
                let mut codes = Vec::with_capacity(partitions.len());
                for (index, outcome) in partitions {
                    codes.push((index, outcome.await.code()));
                }
                written.push((name, codes));
            }
            results.push(TxnMarkerResult { producer_id, topics: written });
        }
        WriteTxnMarkersResponse { markers: results }
    }))
}

fn ending(marker: &TxnMarker) -> Ending {
    Ending {
        producer: Producer { id: marker.producer_id, epoch: marker.producer_epoch },
        result: if marker.committed { TransactionResult::Commit } else { TransactionResult::Abort },
        coordinator_epoch: marker.coordinator_epoch,
        version: TransactionVersion(marker.transaction_version.into()),
    }
}

fn refused(marker: &TxnMarker, code: ErrorCode) -> TxnMarkerResult {
    let topics = marker.topics.iter().map(|(name, indexes)| {
        let partitions = indexes.iter().map(|index| (*index, code.code())).collect();
        (name.clone(), partitions)
    });
    TxnMarkerResult { producer_id: marker.producer_id, topics: topics.collect() }
}
