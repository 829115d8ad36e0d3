//! Epochs fence: once a producer was told under which epoch it starts, nothing is appended under an earlier one, and no two
//! starts have the same.

use std::collections::BTreeMap;

use ottla_core::coordinator::Producer;
use ottla_log::log::{Isolation, LogReader};
use ottla_model::txn::TransactionalId;
use ottla_model::{TRANSACTION_STATE_TOPIC, TopicPartition};
use ottla_protocol::Offset;
use ottla_protocol::batch::batches;

use crate::node::Key;
use crate::verdict::{Verdict, Violation};

/// What producers were told, and how far the logs were looked at.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    /// By producer id: the epoch that was given out last.
    epochs: BTreeMap<i64, i16>,
    given: BTreeMap<TransactionalId, Producer>,
    looked: BTreeMap<Key, Offset>,
}

impl Fences {
    /// Whoever starts is told who it is. One that goes on (KIP-360) may have asked before, and is told the same again.
    pub fn initialized(&mut self, id: &TransactionalId, producer: Producer, goes_on: bool) -> Verdict {
        if let Some(before) = self.given.insert(id.clone(), producer)
            && before.id == producer.id
            && (before.epoch > producer.epoch || before.epoch == producer.epoch && !goes_on)
        {
            return Err(Violation::new(NAME, format!("{id} starts as {producer:?} after {before:?}")));
        }
        self.epochs.insert(producer.id.0, producer.epoch.0);
        Ok(())
    }

    /// Looks at what was appended since.
    pub fn watch(&mut self, key: Key, id: &TopicPartition, reader: &LogReader) -> Verdict {
        if *id.topic == *TRANSACTION_STATE_TOPIC {
            return Ok(());
        }
        let offsets = reader.offsets();
        let looked = self.looked.entry(key).or_insert(0);
        // A process that was killed inside a write may have left a shorter log.
        *looked = (*looked).min(offsets.log_end).max(offsets.log_start);
        while *looked < offsets.log_end {
            let broken = |what: String| Violation::new("a log reads back", format!("{id}: {what}"));
            let slice = reader.read(*looked, READ_BYTES, Isolation::LogEnd, true);
            let range = slice.map_err(|e| broken(e.to_string()))?.range;
            let Some(range) = range else { return Ok(()) };
            let bytes = range.read().map_err(|e| broken(e.to_string()))?.into();
            for batch in batches(&bytes) {
                let (header, _) = batch.map_err(|e| broken(e.to_string()))?;
                let fence = self.epochs.get(&header.producer_id).copied().unwrap_or(i16::MIN);
                if header.producer_epoch < fence && !header.is_control() && header.base_offset >= *looked {
                    let what = format!(
                        "{id}: producer {} wrote under epoch {} at offset {}, after {fence} was given out",
                        header.producer_id, header.producer_epoch, header.base_offset
                    );
                    return Err(Violation::new(NAME, what));
                }
                *looked = (*looked).max(header.next_offset());
            }
        }
        Ok(())
    }
}

const READ_BYTES: usize = 64 << 10;
const NAME: &str = "epochs fence";
