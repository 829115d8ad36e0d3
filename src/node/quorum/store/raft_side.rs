//! What raft-rs reads of the store.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::Store;
use crate::quorum::batches::read_batch;
use crate::quorum::convert;
use crate::quorum::error::QuorumError;

impl Store {
    fn entry(&self, index: u64) -> Result<Entry, QuorumError> {
        let place = self.places[self.at(index)];
        let batch: Bytes = read_batch(&self.log, place.base_offset)?;
        Ok(convert::entry(index, place.term, &batch))
    }
}

fn failed(error: QuorumError) -> raft::Error {
    raft::Error::Store(StorageError::Other(Box::new(error)))
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let voters = self.voters_at(self.hard_state.commit).map_err(failed)?.raft_ids();
        Ok(RaftState::new(self.hard_state.clone(), ConfState::from((voters, Vec::new()))))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let budget = max_size.into().unwrap_or(u64::MAX);
        let mut taken = 0;
        let mut found = Vec::new();
        for index in low..high {
            let entry = self.entry(index).map_err(failed)?;
            taken += entry.data.len() as u64;
            if !found.is_empty() && taken > budget {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.term_of(index).ok_or(raft::Error::Store(match index < self.base.index {
            true => StorageError::Compacted,
            false => StorageError::Unavailable,
        }))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let Some(kept) = self.newest.filter(|kept| kept.index >= request_index) else {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        };
        let voters = self.voters_at(kept.index).map_err(failed)?;
        Ok(convert::snapshot(kept.id, kept.index, voters.raft_ids()))
    }
}
