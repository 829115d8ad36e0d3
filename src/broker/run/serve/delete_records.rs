//! Deleting records up to an offset (KIP-107). The new log start is in the checkpoint before the answer is sent, so
//! deleted records never come back after that.

use std::sync::Arc;
use std::time::Duration;

use ottla_log::dirs::Checkpoint;
use ottla_node::lane::Input;
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::broker::Broker;
use crate::clock::now_ms;
use crate::run::owners::partition::Partition;

/// One partition, and the first offset to keep. `None`: the high watermark.
pub(crate) struct Deletion {
    pub partition: Result<Arc<Partition>, ErrorCode>,
    pub before: Option<Offset>,
}

/// Returns the lowest log start of each partition's replicas, once all that are alive have deleted the records.
pub(crate) async fn delete(
    broker: Arc<Broker>,
    deletions: Vec<Deletion>,
    timeout_ms: i32,
) -> Vec<Result<Offset, ErrorCode>> {
    let deadline_ms = now_ms() + i64::from(timeout_ms.max(0));
    let asked = deletions.into_iter().map(|Deletion { partition, before }| {
        let partition = partition?;
        let (token, answer) = oneshot::channel();
        partition.submit(Input::DeleteRecords { token, before, deadline_ms });
        Ok((partition, answer))
    });
    let asked: Vec<Result<_, ErrorCode>> = asked.collect();
    let mut outcomes = Vec::with_capacity(asked.len());
    for answer in asked {
        outcomes.push(match answer {
            Ok((partition, mut answer)) => {
                let left_ms = deadline_ms.saturating_sub(now_ms()).max(0) as u64;
                let in_time = timeout(Duration::from_millis(left_ms), &mut answer).await;
                let answered = match in_time {
                    Ok(answered) => answered,
                    Err(_) => {
                        partition.submit(Input::Expire);
                        answer.await
                    }
                };
                answered.unwrap_or(Err(ErrorCode::KafkaStorageError))
            }
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
