//! Which batches belong to aborted transactions, and whether a transaction's marker still ends any batch. It reads a log
//! batch by batch from the log's start. It must never know which records are kept: it counts every batch that was there.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{BatchHeader, records};

use crate::log::marker::CONTROL_BYTES_MAX;
use crate::log::txn_index::AbortedTxn;

#[derive(Debug)]
pub(super) struct Transactions {
    /// Aborted transactions that have not begun yet, by first offset.
    ahead: VecDeque<AbortedTxn>,
    /// Aborted transactions in progress, by producer, and whether a batch of the transaction was there.
    aborted: HashMap<i64, (AbortedTxn, bool)>,
    /// Producers of which a batch was there that belongs to a transaction which will be committed.
    committed: HashSet<i64>,
}

/// What a batch's transaction means for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Discard {
    /// The batch's records are aborted, or it is a marker of a transaction without any batches left.
    pub can_discard: bool,
    /// The transaction that this marker aborts, if it has batches left: it goes into the new transaction index.
    pub aborted: Option<AbortedTxn>,
}

impl Transactions {
    pub fn new(aborted: Vec<AbortedTxn>) -> Transactions {
        let mut seen = BTreeSet::new();
        let mut ahead = aborted;
        ahead.retain(|txn| seen.insert((txn.first_offset, txn.last_offset, txn.producer_id)));
        ahead.sort_by_key(|txn| txn.first_offset);
        Transactions { ahead: ahead.into(), aborted: HashMap::new(), committed: HashSet::new() }
    }

    pub fn read(&mut self, header: &BatchHeader, bytes: &[u8]) -> Discard {
        while let Some(txn) = self.ahead.pop_front_if(|txn| txn.first_offset <= header.last_offset()) {
            self.aborted.entry(txn.producer_id).or_insert((txn, false));
        }
        match header.is_control() {
            true => self.read_control(header, bytes),
            false => Discard { can_discard: self.read_data(header), aborted: None },
        }
    }

    fn read_data(&mut self, header: &BatchHeader) -> bool {
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, seen)) => {
                *seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    fn read_control(&mut self, header: &BatchHeader, bytes: &[u8]) -> Discard {
        let discard = |can_discard| Discard { can_discard, aborted: None };
        // An empty batch is kept only for its producer's epoch.
        if header.record_count == 0 {
            return discard(true);
        }
        match result(bytes) {
            Some(TransactionResult::Abort) => match self.aborted.remove(&header.producer_id) {
                Some((txn, true)) => Discard { can_discard: false, aborted: Some(txn) },
                _ => discard(true),
            },
            Some(TransactionResult::Commit) => discard(!self.committed.remove(&header.producer_id)),
            None => discard(false),
        }
    }
}

fn result(bytes: &[u8]) -> Option<TransactionResult> {
    let record = records(&Bytes::copy_from_slice(bytes), CONTROL_BYTES_MAX).ok()?.next()?.ok()?;
    match ControlRecord::decode(record.key.as_deref()?, record.value.as_deref()?).ok()? {
        ControlRecord::EndTxn(end) => Some(end.result),
        _ => None,
    }
}
