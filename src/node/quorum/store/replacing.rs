//! Snapshots and the store: what one of our own allows to leave the log, and how one of another voter's takes the place of
//! a log that lags too far behind.

use ottla_log::metadata::Loaded;
use ottla_model::image::Image;
use ottla_protocol::Offset;

use super::{Base, Kept, Store};
use crate::quorum::agreed::Keep;
use crate::quorum::error::QuorumError;
use crate::quorum::snapshot::{self, Membership, SnapshotId};
use crate::quorum::voters::{History, VoterSet};

impl Store {
    /// What a snapshot that ends at this offset has to say of the quorum: the Raft index of its last batch, if that is
    /// known, and who votes as of there.
    pub(in crate::quorum) fn as_of(&self, end: Offset) -> (Option<u64>, Membership) {
        let index = self.index_ending_at(end).filter(|index| *index > 0);
        let membership = index.map_or_else(|| self.history.latest(), |index| self.history.at(index));
        (index, membership.clone())
    }

    /// The snapshot that was written makes older ones useless, and what it holds of the log as far as there is too much.
    pub(in crate::quorum) fn clean(
        &mut self,
        id: SnapshotId,
        keep: &Keep,
        now_ms: i64,
    ) -> Result<(), QuorumError> {
        let Some(index) = self.index_ending_at(id.end) else { return Ok(()) };
        if self.newest.is_some_and(|newest| newest.id > id) {
            return Ok(());
        }
        self.newest = Some(Kept { id, index });
        let age_ms = now_ms.saturating_sub(self.last_timestamp_ms);
        if snapshot::replace_older(&*self.disk, &mut self.log, id, keep, age_ms, now_ms)? {
            self.forget_up_to(index, id.end);
        }
        Ok(())
    }

    // Raft may ask no more for what has left the log.
    fn forget_up_to(&mut self, index: u64, end: Offset) {
        let Some(term) = self.term_of(index) else { return };
        self.places.drain(..(index - self.base.index) as usize);
        self.history.compact(index);
        self.base = Base { index, term, end };
    }

    /// A snapshot of another voter is on the disk. It takes the log's place when Raft says so. None: nobody could make a
    /// quorum of the voters that it names.
    pub(in crate::quorum) fn receive(&mut self, loaded: Loaded) -> Option<VoterSet> {
        let voters = self.voter_set(&loaded.membership).ok()?;
        self.received = Some(loaded);
        Some(voters)
    }

    /// Whether the snapshot that Raft is to be told of has been received.
    pub(in crate::quorum) fn has_received(&self, id: SnapshotId) -> Option<VoterSet> {
        let loaded = self.received.as_ref().filter(|loaded| loaded.id == id)?;
        self.voter_set(&loaded.membership).ok()
    }

    /// Raft has taken the snapshot: everything here is of before it, or of a leader that nobody followed.
    pub(in crate::quorum) fn install(&mut self, index: u64, term: u64) -> Result<Image, QuorumError> {
        let received = self.received.take().filter(|loaded| loaded.raft_index == Some(index));
        let Some(Loaded { id, image, membership, .. }) = received else {
            return Err(QuorumError::Refused(format!("there is no snapshot up to entry {index}")));
        };
        self.log.truncate_fully(id.end, self.now_ms)?;
        self.base = Base { index, term, end: id.end };
        self.places.clear();
        self.history = History::beginning_with(membership);
        self.newest = Some(Kept { id, index });
        Ok(image)
    }
}
