//! What a member remembers to which no leader speaks, and what it has fetched of the leader's log by itself.
//! It must never know whom it asks.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::Disk;
use ottla_log::metadata::{Loaded, SnapshotId};

use super::fetch::Piece;
use super::gate::SNAPSHOT_BYTES_MAX;
use super::snapshot::Partial;

/// A voter hears its leader five times a second, and an election takes little more than its timeout: after several of them without
/// a word, the leader may not know where this voter is, or that it still takes itself for one.
const VOTERS_PATIENCE: u32 = 5;
/// Nobody speaks to a member that does not vote, but the leader of whose voters it has just become one, or was one until now.
const OTHERS_PATIENCE: u32 = 2;

#[derive(Default)]
pub(super) struct Unheard {
    /// Since a leader has spoken to this member.
    silent_ticks: u32,
    /// After so many ticks an election may begin.
    election_ticks: u32,
    /// Raft index behind which the leader's log is fetched. `None`: the last one here. The logs may part before that.
    pub from: Option<u64>,
    /// The leader's snapshot, as far as it is here.
    partial: Option<Partial>,
}

impl Unheard {
    /// Whoever does not vote when it starts waits for nobody.
    pub fn at_start(votes: bool, election_ticks: usize) -> Unheard {
        let election_ticks = u32::try_from(election_ticks).unwrap_or(u32::MAX);
        let silent_ticks = if votes { 0 } else { election_ticks.saturating_mul(OTHERS_PATIENCE) };
        Unheard { silent_ticks, election_ticks, ..Unheard::default() }
    }

    pub fn tick(&mut self) {
        self.silent_ticks = self.silent_ticks.saturating_add(1);
    }

    pub fn spoken_to(&mut self) {
        (self.silent_ticks, self.from) = (0, None);
    }

    pub fn is_long(&self, votes: impl FnOnce() -> bool) -> bool {
        let is_over = |patience| self.silent_ticks >= self.election_ticks.saturating_mul(patience);
        is_over(VOTERS_PATIENCE) || (is_over(OTHERS_PATIENCE) && !votes())
    }

    /// The snapshot that is on its way, and how much of it is here.
    pub fn partial(&self) -> Option<(SnapshotId, u64)> {
        self.partial.as_ref().map(|partial| (partial.id(), partial.written()))
    }

    pub fn begin(&mut self, disk: &Arc<dyn Disk>, dir: PathBuf, id: SnapshotId) -> Result<(), String> {
        if self.partial.as_ref().is_none_or(|partial| partial.id() != id) {
            self.abandon(&**disk);
            self.partial = Some(Partial::begin(&**disk, &dir, id).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    pub fn abandon(&mut self, disk: &dyn Disk) {
        if let Some(partial) = self.partial.take() {
            partial.abandon(disk);
        }
    }

    /// Keeps a piece. The snapshot, once it is whole, and its size.
    pub fn keep(&mut self, disk: &dyn Disk, piece: &Piece) -> Result<Option<(Loaded, u64)>, String> {
        let Some(mut partial) = self.partial.take() else { return Ok(None) };
        let end = piece.position.saturating_add(piece.bytes.len() as u64);
        let fits = fits(&partial, piece.id, piece.position, &piece.bytes) && end <= piece.size;
        let kept = match fits && piece.size <= SNAPSHOT_BYTES_MAX {
            true => partial.append(&piece.bytes).map_err(|error| error.to_string()),
            false => Err(format!("a piece that does not fit of the snapshot {}", piece.id.file_name())),
        };
        if let Err(why) = kept {
            partial.abandon(disk);
            return Err(why);
        }
        if end < piece.size {
            self.partial = Some(partial);
            return Ok(None);
        }
        // Kafka's say nothing of Raft's indices, and its controllers are no voters of ours.
        let loaded = partial.finish(disk, |loaded| loaded.raft_index.is_some());
        loaded.map(|loaded| Some((loaded, piece.size))).map_err(|error| error.to_string())
    }
}

fn fits(partial: &Partial, id: SnapshotId, position: u64, bytes: &Bytes) -> bool {
    id == partial.id() && position == partial.written() && !bytes.is_empty()
}
