//! Raft's storage over our own log: entries are batches of the metadata log, the vote is Kafka's `quorum-state` file.
//! Everything that Raft was told to be on the disk is synced before it is told so.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::log::{AppendError, Isolation, Log, LogError, ReadError};
use ottla_log::metadata::{Loaded, control_records};
use ottla_log::{CheckedBatch, Disk};
use ottla_model::config::TopicConfig;
use ottla_model::image::Image;
use ottla_protocol::batch::BatchHeader;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::snapshot;
use super::{Committed, Keep, Membership, SnapshotId, Spend, Voters, entries, raft_id};

/// The quorum cannot go on: its disk failed, or holds what it cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error("metadata log: {0}")]
    Log(#[from] LogError),
    #[error("metadata log: {0}")]
    Refused(String),
    #[error("{path}: {source}")]
    Vote { path: PathBuf, source: std::io::Error },
    #[error("metadata log: {0}")]
    Snapshot(std::io::Error),
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
}

/// What a voter must never forget: its term, and whom it voted for in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    pub term: u64,
    /// A Raft id, 0 for nobody.
    pub voted_for: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    term: u64,
    base_offset: Offset,
    last_offset: Offset,
}

/// What comes before the first entry that Raft can ask for: nothing, or what a snapshot holds. With one voter the
/// indices of Raft need not outlive the process.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    index: u64,
    term: u64,
}

/// The metadata log as Raft sees it. The entry of index `base.index + 1 + i` is `places[i]`.
pub struct Store {
    disk: Arc<dyn Disk>,
    log: Log,
    config: Arc<TopicConfig>,
    vote_path: PathBuf,
    voters: Voters,
    base: Base,
    places: Vec<Place>,
    hard_state: HardState,
    membership: Membership,
    /// What the snapshot says that this store began with.
    began_with: Option<Image>,
    last_timestamp_ms: i64,
    now_ms: i64,
    /// What is left of the room that was set aside.
    reserved_bytes: u64,
}

/// What may be appended to the metadata log when others have filled its disk: enough to delete topics and to change
/// what is retained, many times over.
const RESERVED_BYTES: u64 = 256 << 10;

impl Store {
    /// Reads the vote and finds the batches of a log that has been opened.
    pub fn open(
        disk: Arc<dyn Disk>,
        log: Log,
        config: Arc<TopicConfig>,
        voters: Voters,
    ) -> Result<Store, QuorumError> {
        let vote_path = log.dir().join("quorum-state");
        let snapshot = snapshot::newest(&*disk, log.dir()).map_err(QuorumError::Snapshot)?;
        let vote = read_vote(&*disk, &vote_path)?;
        let hard_state = HardState { term: vote.term, vote: vote.voted_for, ..HardState::default() };
        let (base, places, membership, began_with) = Default::default();
        let (last_timestamp_ms, now_ms) = (-1, 0);
        let mut store = Store {
            disk,
            log,
            config,
            vote_path,
            voters,
            base,
            places,
            hard_state,
            membership,
            began_with,
            last_timestamp_ms,
            now_ms,
            reserved_bytes: 0,
        };
        store.begin(snapshot)?;
        store.has_room(0, Spend::Reserve);
        // The vote file may be missing while the log is there; a term that is in the log has begun.
        let logged = store.places.last().map_or(store.base.term, |p| p.term);
        if store.hard_state.term < logged {
            store.hard_state.term = logged;
            store.hard_state.vote = 0;
        }
        store.hard_state.commit = store.base.index;
        Ok(store)
    }

    // Begins where the snapshot ends. A log that does not reach so far has lost what the snapshot holds, and begins anew.
    fn begin(&mut self, snapshot: Option<Loaded>) -> Result<(), QuorumError> {
        let mut from = self.log.log_start_offset();
        if let Some(Loaded { id, image, membership }) = snapshot {
            self.membership = membership;
            if id.end > 0 {
                if self.log.log_end_offset() < id.end {
                    self.log.truncate_fully(id.end, self.now_ms)?;
                }
                self.base = Base { index: 1, term: id.epoch.0.max(0) as u64 };
                self.began_with = Some(image);
                from = id.end;
            }
        }
        if from > 0 && self.began_with.is_none() {
            return Err(QuorumError::Refused(format!(
                "it begins at offset {from}, and there is no snapshot"
            )));
        }
        while from < self.log.log_end_offset() {
            let batch = read_batch(&self.log, from)?;
            from = self.place(&batch)?;
        }
        Ok(())
    }

    // Notes a batch that is in the log, and returns where the next one begins.
    fn place(&mut self, batch: &Bytes) -> Result<Offset, QuorumError> {
        let header = BatchHeader::parse(batch).map_err(|e| QuorumError::Refused(e.to_string()))?;
        let term = header.partition_leader_epoch.max(0) as u64;
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        self.places.push(Place { term, base_offset, last_offset });
        self.last_timestamp_ms = self.last_timestamp_ms.max(header.max_timestamp);
        if header.is_control() {
            control_records(batch).iter().for_each(|record| self.membership.notice(record));
        }
        Ok(header.next_offset())
    }

    /// The image that the newest snapshot holds; to be taken once.
    pub fn take_image(&mut self) -> Option<Image> {
        self.began_with.take()
    }

    pub(super) fn base_index(&self) -> u64 {
        self.base.index
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) fn last_timestamp_ms(&self) -> i64 {
        self.last_timestamp_ms
    }

    // The snapshot that was written makes older ones useless, and what it holds of the log as far as there is too much.
    pub(super) fn clean(&mut self, id: SnapshotId, keep: &Keep, now_ms: i64) -> Result<(), QuorumError> {
        let dir = self.log.dir().to_owned();
        let older = snapshot::older(&*self.disk, &dir, id).map_err(QuorumError::Snapshot)?;
        let too_large = keep.bytes >= 0 && self.log.size() > keep.bytes as u64;
        let too_old = keep.ms >= 0 && now_ms.saturating_sub(self.last_timestamp_ms) > keep.ms;
        if too_large || too_old {
            // Agreed on, so below the high watermark; and if it is not, it stays for the next time.
            if self.log.advance_log_start(id.end).is_ok() {
                for retired in self.log.delete_old_segments(now_ms)? {
                    retired
                        .run()
                        .map_err(|source| LogError::Io { doing: "removing old segments", source })?;
                }
            }
        }
        older.iter().try_for_each(|path| self.disk.remove_file(path)).map_err(QuorumError::Snapshot)
    }

    /// Whether a batch can be written. Room is set aside first, so that nobody takes it in between.
    pub(super) fn has_room(&mut self, bytes: u64, spend: Spend) -> bool {
        match self.log.reserve(RESERVED_BYTES + bytes) {
            Ok(()) => {
                self.reserved_bytes = RESERVED_BYTES + bytes;
                true
            }
            Err(error) if error.is_full() && spend == Spend::Reserve => {
                bytes <= self.reserved_bytes || self.log.reserve(bytes).is_ok()
            }
            Err(error) if error.is_full() => false,
            // This file system makes no promises, and a disk that is broken will say so when it is written to.
            Err(_) => true,
        }
    }

    pub fn next_offset(&self) -> Offset {
        self.log.log_end_offset()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn stamp(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub(super) fn append(&mut self, new: &[Entry]) -> Result<(), QuorumError> {
        let first = self.at(new[0].index);
        if let Some(replaced) = self.places.get(first) {
            self.log.truncate_to(replaced.base_offset, self.now_ms)?;
            self.places.truncate(first);
        }
        for entry in new {
            self.append_one(entry)?;
        }
        let ticket = self.log.flush_begin()?;
        let up_to = ticket.up_to;
        ticket.run().map_err(|source| LogError::Io { doing: "flush", source })?;
        self.log.flush_end(up_to);
        self.log.advance_high_watermark(up_to);
        Ok(())
    }

    fn append_one(&mut self, entry: &Entry) -> Result<(), QuorumError> {
        let epoch = LeaderEpoch(entry.term as i32);
        let batch = if entry.data.is_empty() {
            let known = self.membership != Membership::default();
            // The first term's batch says who votes, for whoever has no other way to know (KIP-853).
            let first = (!known && self.log.log_end_offset() == 0).then_some(&self.voters.founders);
            let founders = first.map(Membership::records).into_iter().flatten();
            entries::leader_change(self.voters.me, &self.voters.all, founders, self.now_ms)
        } else {
            Bytes::copy_from_slice(&entry.data)
        };
        let base_offset = self.log.log_end_offset();
        let placed = entries::at(&batch, base_offset, epoch)
            .ok_or_else(|| QuorumError::Refused(format!("entry {} is no record batch", entry.index)))?;
        let checked = self.checked(placed.clone())?;
        let outcomes = self.log.append(&[checked], epoch, self.now_ms).map_err(|e| match e {
            AppendError::Io(e) => QuorumError::Log(e),
            full @ AppendError::DiskFull { .. } => QuorumError::Refused(full.to_string()),
        })?;
        for outcome in outcomes {
            outcome.map_err(|r| QuorumError::Refused(r.code.name().to_owned()))?;
        }
        self.reserved_bytes = self.reserved_bytes.saturating_sub(placed.len() as u64);
        self.place(&placed)?;
        Ok(())
    }

    fn checked(&self, batch: Bytes) -> Result<CheckedBatch, QuorumError> {
        let rules = Rules {
            partition: self.log.partition(),
            topic: &self.config,
            origin: Origin::Coordinator,
            now_ms: self.now_ms,
            produce_version: 0,
        };
        let mut batches = check(batch, &rules).map_err(|r| QuorumError::Refused(r.message))?;
        batches.pop().ok_or_else(|| QuorumError::Refused("an entry without a batch".into()))
    }

    pub(super) fn vote_differs(&self, new: &HardState) -> bool {
        new.term != self.hard_state.term || new.vote != self.hard_state.vote
    }

    // The commit index need not survive: it is found again by agreement.
    pub(super) fn set_hard_state(&mut self, new: HardState, write: bool) -> Result<(), QuorumError> {
        if write {
            let text = vote_text(&new, &self.voters);
            let failed = |source| QuorumError::Vote { path: self.vote_path.clone(), source };
            self.disk.replace(&self.vote_path, text.as_bytes()).map_err(failed)?;
        }
        self.hard_state = new;
        Ok(())
    }

    pub(super) fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
    }

    pub(super) fn committed(&self, index: u64) -> Result<Committed, QuorumError> {
        let place = self.places[self.at(index)];
        let batch = read_batch(&self.log, place.base_offset)?;
        let epoch = LeaderEpoch(place.term as i32);
        Ok(Committed { base_offset: place.base_offset, last_offset: place.last_offset, epoch, batch })
    }

    // Raft never asks for what its first index excludes.
    fn at(&self, index: u64) -> usize {
        (index - self.base.index) as usize - 1
    }

    fn entry(&self, index: u64) -> Result<Entry, QuorumError> {
        let committed = self.committed(index)?;
        let header = BatchHeader::parse(&committed.batch).map_err(|e| QuorumError::Refused(e.to_string()))?;
        let data = if header.is_control() { Bytes::new() } else { committed.batch };
        let term = self.places[self.at(index)].term;
        Ok(Entry { index, term, data: data.to_vec().into(), ..Entry::default() })
    }
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let voters: Vec<u64> = self.voters.all.iter().map(|id| raft_id(*id)).collect();
        Ok(RaftState::new(self.hard_state.clone(), ConfState::from((voters, Vec::new()))))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let budget = max_size.into().unwrap_or(u64::MAX);
        let mut taken = 0;
        let mut found = Vec::new();
        for index in low..high {
            let entry =
                self.entry(index).map_err(|e| raft::Error::Store(StorageError::Other(Box::new(e))))?;
            taken += entry.data.len() as u64;
            if !found.is_empty() && taken > budget {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match index {
            i if i == self.base.index => Ok(self.base.term),
            i if i < self.base.index => Err(raft::Error::Store(StorageError::Compacted)),
            i => match self.places.get(self.at(i)) {
                Some(place) => Ok(place.term),
                None => Err(raft::Error::Store(StorageError::Unavailable)),
            },
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + self.places.len() as u64)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // There is no follower yet that could need one.
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

fn read_batch(log: &Log, offset: Offset) -> Result<Bytes, QuorumError> {
    let slice = log.reader().read(offset, 1, Isolation::LogEnd, true).map_err(|e| match e {
        ReadError::Io(e) => QuorumError::Log(e),
        ReadError::OutOfRange(_) => QuorumError::Refused(format!("nothing at offset {offset}")),
    })?;
    let range = slice.range.ok_or_else(|| QuorumError::Refused(format!("nothing at offset {offset}")))?;
    let bytes = range.read().map_err(|e| QuorumError::Refused(e.to_string()))?;
    Ok(bytes.into())
}

fn read_vote(disk: &dyn Disk, path: &std::path::Path) -> Result<Vote, QuorumError> {
    if !disk.exists(path) {
        return Ok(Vote::default());
    }
    let failed = |source| QuorumError::Vote { path: path.to_owned(), source };
    let text = String::from_utf8(disk.read_to_vec(path).map_err(failed)?)
        .map_err(|e| failed(std::io::Error::other(e)))?;
    let number = |key: &str| {
        let after = text.split_once(&format!("\"{key}\":"))?.1;
        let digits: String =
            after.trim_start().chars().take_while(|c| *c == '-' || c.is_ascii_digit()).collect();
        // Both are 32 bits wide in Kafka's schema.
        digits.parse::<i32>().ok()
    };
    let (Some(term), Some(voted)) = (number("leaderEpoch"), number("votedId")) else {
        return Err(failed(std::io::Error::other(
            "not a quorum-state file: leaderEpoch or votedId is missing or no number of 32 bits",
        )));
    };
    Ok(Vote { term: term.max(0) as u64, voted_for: (i64::from(voted) + 1).max(0) as u64 })
}

// Kafka's QuorumStateData, version 1.
fn vote_text(state: &HardState, voters: &Voters) -> String {
    let voted = state.vote as i64 - 1;
    let leader = if state.vote == raft_id(voters.me) { i64::from(voters.me.0) } else { -1 };
    format!(
        "{{\"leaderId\":{leader},\"leaderEpoch\":{},\"votedId\":{voted},\"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}}",
        state.term
    )
}
