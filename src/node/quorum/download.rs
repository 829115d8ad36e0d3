//! Snapshots between voters (KIP-630): a follower that the leader's log can no longer serve is offered a snapshot, fetches it
//! piece by piece into a file, and tells raft-rs only when it is whole and on the disk.
//! Neither side ever holds more than one piece in memory, until the whole is read as at a start.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use ottla_log::Disk;
use ottla_log::disk::OpenHow;
use ottla_log::metadata::{Loaded, SnapshotId};

use super::message::{Body, Offer};
use super::snapshot::Partial;
use super::store::Store;
use super::voters::ReplicaKey;

/// One piece.
const CHUNK_BYTES: usize = 256 << 10;
/// After so many ticks without a piece it is asked for again.
const ASK_AGAIN_TICKS: u32 = 5;
/// After so many a download is given up, and an offer taken for unheard.
const GIVE_UP_TICKS: u32 = 30;

/// A snapshot that is on its way here.
pub(super) struct Download {
    pub from: ReplicaKey,
    pub offer: Offer,
    partial: Partial,
    idle_ticks: u32,
}

impl Download {
    pub fn begin(store: &Store, from: ReplicaKey, offer: Offer) -> io::Result<Download> {
        let partial = Partial::begin(&**store.disk(), store.log().dir(), offer.id)?;
        Ok(Download { from, offer, partial, idle_ticks: 0 })
    }

    pub fn next_request(&self) -> Body {
        Body::FetchSnapshot { id: self.offer.id, position: self.partial.written() }
    }

    /// Whether the piece was the one that was waited for. It may have come twice, or be of another snapshot.
    pub fn take(
        &mut self,
        from: ReplicaKey,
        id: SnapshotId,
        position: u64,
        bytes: &Bytes,
    ) -> io::Result<bool> {
        let expected = from == self.from && id == self.offer.id && position == self.partial.written();
        let fits = !bytes.is_empty() && position.saturating_add(bytes.len() as u64) <= self.offer.size;
        if !expected || !fits {
            return Ok(false);
        }
        self.partial.append(bytes)?;
        self.idle_ticks = 0;
        Ok(true)
    }

    pub fn is_whole(&self) -> bool {
        self.partial.written() == self.offer.size
    }

    /// The file is on the disk under its own name when this returns, and holds what was offered.
    pub fn finish(self, disk: &dyn Disk) -> io::Result<Loaded> {
        let index = self.offer.index;
        self.partial.finish(disk, |loaded| loaded.raft_index == Some(index))
    }

    /// What is left of it is worth nothing; what cannot be removed goes at the next start.
    pub fn abandon(self, disk: &dyn Disk) {
        self.partial.abandon(disk);
    }

    /// Time passes. What to say again, or that it is of no use to wait any longer.
    pub fn tick(&mut self) -> Waiting {
        self.idle_ticks += 1;
        match self.idle_ticks {
            ticks if ticks >= GIVE_UP_TICKS => Waiting::GivenUp,
            ticks if ticks.is_multiple_of(ASK_AGAIN_TICKS) => Waiting::AskAgain,
            _ => Waiting::Goes,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Goes,
    AskAgain,
    GivenUp,
}

/// The piece of a snapshot that begins at `position`. None: there is no such snapshot any more, or it is not so long.
pub(super) fn chunk(store: &Store, id: SnapshotId, position: u64) -> Option<Body> {
    let bytes = piece(store, id, position, CHUNK_BYTES)?;
    Some(Body::SnapshotChunk { id, position, bytes })
}

/// As [`chunk`]; at most so many bytes.
pub(super) fn piece(store: &Store, id: SnapshotId, position: u64, bytes_max: usize) -> Option<Bytes> {
    let file = store.disk().open(&store.log().dir().join(id.file_name()), OpenHow::Read).ok()?;
    let left = file.len().ok()?.checked_sub(position)?;
    let mut bytes = vec![0; left.min(bytes_max as u64) as usize];
    file.read_exact_at(&mut bytes, position).ok()?;
    (!bytes.is_empty()).then(|| bytes.into())
}

/// How long a snapshot is. None: it is not there.
pub(super) fn size(store: &Store, id: SnapshotId) -> Option<u64> {
    let file = store.disk().open(&store.log().dir().join(id.file_name()), OpenHow::Read).ok()?;
    file.len().ok()
}

/// Followers that have been offered a snapshot, and for how many ticks they have been silent. raft-rs sends them nothing until
/// they have it, or until it is told that they will not.
#[derive(Debug, Default)]
pub(super) struct Offered(BTreeMap<u64, u32>);

impl Offered {
    pub fn heard(&mut self, raft_id: u64) {
        self.0.entry(raft_id).and_modify(|idle_ticks| *idle_ticks = 0);
    }

    /// Time passes for those who wait for a snapshot. Those that are returned have not been heard of for too long.
    pub fn tick(&mut self, waiting: &[u64]) -> Vec<u64> {
        self.0.retain(|raft_id, _| waiting.contains(raft_id));
        for raft_id in waiting {
            *self.0.entry(*raft_id).or_default() += 1;
        }
        let lost = self.0.iter().filter(|(_, idle_ticks)| **idle_ticks >= GIVE_UP_TICKS);
        let lost: Vec<u64> = lost.map(|(raft_id, _)| *raft_id).collect();
        self.0.retain(|_, idle_ticks| *idle_ticks < GIVE_UP_TICKS);
        lost
    }
}
