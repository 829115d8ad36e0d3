//! Raft's storage over our own log: entries are batches of the metadata log, the vote is Kafka's `quorum-state` file.
//! Everything that Raft was told to be on the disk is synced before it is told so.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::log::{AppendError, Isolation, Log, LogError, ReadError};
use ottla_log::{CheckedBatch, Disk};
use ottla_model::config::TopicConfig;
use ottla_protocol::batch::BatchHeader;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::{Committed, Voters, entries, raft_id};

/// The quorum cannot go on: its disk failed, or holds what it cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error("metadata log: {0}")]
    Log(#[from] LogError),
    #[error("metadata log: {0}")]
    Refused(String),
    #[error("{path}: {source}")]
    Vote { path: PathBuf, source: std::io::Error },
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

/// The metadata log as Raft sees it. The entry of index `i` is `places[i - 1]`.
pub struct Store {
    disk: Arc<dyn Disk>,
    log: Log,
    config: Arc<TopicConfig>,
    vote_path: PathBuf,
    voters: Voters,
    places: Vec<Place>,
    hard_state: HardState,
    now_ms: i64,
}

impl Store {
    /// Reads the vote and finds the batches of a log that has been opened.
    pub fn open(
        disk: Arc<dyn Disk>,
        log: Log,
        config: Arc<TopicConfig>,
        voters: Voters,
    ) -> Result<Store, QuorumError> {
        let vote_path = log.dir().join("quorum-state");
        let places = find_batches(&log)?;
        let vote = read_vote(&*disk, &vote_path)?;
        let mut hard_state = HardState { term: vote.term, vote: vote.voted_for, ..HardState::default() };
        // The vote file may be missing while the log is there; a term that is in the log has begun.
        let logged = places.last().map_or(0, |p| p.term);
        if hard_state.term < logged {
            hard_state.term = logged;
            hard_state.vote = 0;
        }
        Ok(Store { disk, log, config, vote_path, voters, places, hard_state, now_ms: 0 })
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
        let first = new[0].index as usize;
        if first <= self.places.len() {
            let from = self.places[first - 1].base_offset;
            self.log.truncate_to(from, self.now_ms)?;
            self.places.truncate(first - 1);
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
            entries::leader_change(self.voters.me, &self.voters.all, self.now_ms)
        } else {
            Bytes::copy_from_slice(&entry.data)
        };
        let base_offset = self.log.log_end_offset();
        let placed = entries::at(&batch, base_offset, epoch)
            .ok_or_else(|| QuorumError::Refused(format!("entry {} is no record batch", entry.index)))?;
        let checked = self.checked(placed)?;
        let outcomes = self.log.append(&[checked], epoch, self.now_ms).map_err(|e| match e {
            AppendError::Io(e) => QuorumError::Log(e),
            full @ AppendError::DiskFull { .. } => QuorumError::Refused(full.to_string()),
        })?;
        for outcome in outcomes {
            let appended = outcome.map_err(|r| QuorumError::Refused(r.code.name().to_owned()))?;
            let place = Place { term: entry.term, base_offset, last_offset: appended.last_offset };
            self.places.push(place);
        }
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
        let place = self.places[index as usize - 1];
        let batch = read_batch(&self.log, place.base_offset)?;
        let epoch = LeaderEpoch(place.term as i32);
        Ok(Committed { base_offset: place.base_offset, last_offset: place.last_offset, epoch, batch })
    }

    fn entry(&self, index: u64) -> Result<Entry, QuorumError> {
        let committed = self.committed(index)?;
        let header = BatchHeader::parse(&committed.batch).map_err(|e| QuorumError::Refused(e.to_string()))?;
        let data = if header.is_control() { Bytes::new() } else { committed.batch };
        let term = self.places[index as usize - 1].term;
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
            0 => Ok(0),
            i => match self.places.get(i as usize - 1) {
                Some(place) => Ok(place.term),
                None => Err(raft::Error::Store(StorageError::Unavailable)),
            },
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.places.len() as u64)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // Nothing is ever cut off the front of this log yet, so no follower can need one.
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

fn find_batches(log: &Log) -> Result<Vec<Place>, QuorumError> {
    let mut places = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let batch = read_batch(log, offset)?;
        let header = BatchHeader::parse(&batch).map_err(|e| QuorumError::Refused(e.to_string()))?;
        let term = header.partition_leader_epoch.max(0) as u64;
        places.push(Place { term, base_offset: header.base_offset, last_offset: header.last_offset() });
        offset = header.next_offset();
    }
    Ok(places)
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
        digits.parse::<i64>().ok()
    };
    let (Some(term), Some(voted)) = (number("leaderEpoch"), number("votedId")) else {
        return Err(failed(std::io::Error::other(
            "not a quorum-state file: leaderEpoch or votedId is missing",
        )));
    };
    Ok(Vote { term: term.max(0) as u64, voted_for: (voted + 1).max(0) as u64 })
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
