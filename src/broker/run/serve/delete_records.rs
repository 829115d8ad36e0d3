//! Deleting records up to an offset (KIP-107). The new log start is in the checkpoint before the answer is sent, so
//! deleted records never come back after that.

use std::sync::Arc;

use ottla_log::dirs::Checkpoint;
use ottla_node::lane::Input;
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::run::owners::partition::Partition;

/// One partition, and the first offset to keep. `None`: the high watermark.
pub(crate) struct Deletion {
    pub partition: Result<Arc<Partition>, ErrorCode>,
    pub before: Option<Offset>,
}

/// Returns the new log start of each partition.
pub(crate) async fn delete(broker: Arc<Broker>, deletions: Vec<Deletion>) -> Vec<Result<Offset, ErrorCode>> {
    let asked = deletions.into_iter().map(|Deletion { partition, before }| {
        let partition = partition?;
        let (token, answer) = oneshot::channel();
        partition.submit(Input::DeleteRecords { token, before });
        Ok(answer)
    });
    let asked: Vec<Result<_, ErrorCode>> = asked.collect();
    let mut outcomes = Vec::with_capacity(asked.len());
    for answer in asked {
        outcomes.push(match answer {
            Ok(answer) => answer.await.unwrap_or(Err(ErrorCode::KafkaStorageError)),
            Err(code) => Err(code),
        });
    }
    if outcomes.iter().any(Result::is_ok) {
        let written = tokio::task::spawn_blocking(move || {
            broker.storage.checkpoint(Checkpoint::LogStart, &broker.partitions)
        });
        if !written.await.unwrap_or(false) {
            outcomes.iter_mut().filter(|o| o.is_ok()).for_each(|o| *o = Err(ErrorCode::KafkaStorageError));
        }
    }
    outcomes
}
