//! Raft's storage over our own log: an entry is a batch of the metadata log, its term the batch's leader epoch, and its data
//! the batch's bytes. Everything that Raft was told to be on the disk is synced before it is told so.
//! It must never decide what an entry holds: the leader has.

mod raft_side;
mod replacing;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::log::{AppendError, Log};
use ottla_log::metadata::{Loaded, control_records};
use ottla_log::{CheckedBatch, Disk};
use ottla_model::config::TopicConfig;
use ottla_model::image::Image;
use ottla_protocol::batch::BatchHeader;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::eraftpb::{Entry, HardState};

use super::agreed::{Committed, Spend};
use super::batches::{self, read_batch};
use super::error::QuorumError;
use super::snapshot::{self, Membership, SnapshotId};
use super::vote::{self, Vote};
use super::voters::{History, ReplicaKey, VoterSet, Voters, node_of};

#[derive(Clone, Copy, Debug)]
struct Place {
    term: u64,
    base_offset: Offset,
    last_offset: Offset,
}

/// What comes before the first entry that Raft can ask for: nothing, or what a snapshot holds.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    index: u64,
    term: u64,
    /// Where the next entry begins.
    end: Offset,
}

/// A snapshot on the disk that a follower can be given.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: SnapshotId,
    index: u64,
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
    history: History,
    newest: Option<Kept>,
    hard_state: HardState,
    vote: Vote,
    /// What the snapshot says that this store began with.
    began_with: Option<Image>,
    /// What a directory was formatted with, before its log had anything.
    founded_with: Option<Image>,
    /// A snapshot that came from another voter and that Raft has not been told of yet.
    received: Option<Loaded>,
    last_timestamp_ms: i64,
    now_ms: i64,
    /// What is left of the room that was set aside.
    reserved_bytes: u64,
    /// The folder's own name is on the disk.
    folder_kept: bool,
}

/// What may be appended to the metadata log when others have filled its disk: enough to delete topics, to change what is
/// retained, and to have others lead what is led there, many times over.
pub(crate) const RESERVED_BYTES: u64 = 1 << 20;

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
        let vote = vote::read(&*disk, &vote_path)?;
        let hard_state = HardState { term: vote.term, vote: vote.raft_id(), ..HardState::default() };
        let (base, places, history, newest, began_with, founded_with, received) = Default::default();
        let (last_timestamp_ms, now_ms) = (-1, 0);
        let mut store = Store {
            disk,
            log,
            config,
            vote_path,
            voters,
            base,
            places,
            history,
            newest,
            hard_state,
            vote,
            began_with,
            founded_with,
            received,
            last_timestamp_ms,
            now_ms,
            reserved_bytes: 0,
            folder_kept: false,
        };
        store.begin(snapshot)?;
        store.keep_what_was_found()?;
        store.has_room(0, Spend::Reserve);
        // The vote file may be missing while the log is there; a term that is in the log has begun.
        let logged = store.places.last().map_or(store.base.term, |p| p.term);
        if store.hard_state.term < logged {
            (store.hard_state.term, store.hard_state.vote) = (logged, 0);
            store.vote = Vote { term: logged, voted_for: None, ..store.vote };
        }
        // A log without a term would make raft-rs refuse a candidate under term 0, which it takes for a message to itself.
        if store.last() > 0 {
            store.hard_state.term = store.hard_state.term.max(1);
        }
        let agreed = store.history.agreed().max(store.vote.voters_agreed.min(store.last()));
        let commit = store.base.index.max(agreed);
        store.voters_at(commit)?;
        store.set_commit(commit);
        Ok(store)
    }

    // What a process that was killed has written is here, but it may not be on the disk. This replica may say that it has it
    // without appending anything, and the leader counts it then. A sole voter flushes all of it with the batch that begins
    // its term, before anything is agreed on.
    fn keep_what_was_found(&mut self) -> Result<(), QuorumError> {
        let alone = self.voters_at(self.last())?.is_only(self.voters.me.id);
        if alone || self.places.is_empty() {
            return Ok(());
        }
        batches::flush(&mut self.log)
    }

    // Begins where the snapshot ends. A log that is not the one that the snapshot is of begins anew there.
    fn begin(&mut self, snapshot: Option<Loaded>) -> Result<(), QuorumError> {
        let mut from = self.log.log_start_offset();
        if let Some(Loaded { id, image, membership, raft_index }) = snapshot {
            self.history = History::beginning_with(membership);
            if id.end > 0 {
                if !snapshot::is_in(&self.log, id)? {
                    self.log.truncate_fully(id.end, self.now_ms)?;
                }
                let index = self.index_of_snapshot(id, raft_index)?;
                self.base = Base { index, term: id.epoch.0.max(0) as u64, end: id.end };
                self.newest = Some(Kept { id, index });
                self.began_with = Some(image);
                from = id.end;
            } else {
                self.founded_with = Some(image);
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

    // With one voter, as every directory from before had, indices need not be the same as anybody else's.
    fn index_of_snapshot(&self, id: SnapshotId, written: Option<u64>) -> Result<u64, QuorumError> {
        let me = self.voters.me.id;
        match written {
            Some(index) => Ok(index),
            None if self.voter_set(self.history.latest())?.is_only(me) => Ok(1),
            None => Err(QuorumError::Refused(format!(
                "the snapshot {} does not say how many batches it holds, and several nodes vote",
                id.file_name()
            ))),
        }
    }

    // Notes a batch that is in the log, and returns where the next one begins.
    fn place(&mut self, batch: &Bytes) -> Result<Offset, QuorumError> {
        let header = BatchHeader::parse(batch).map_err(|e| QuorumError::Refused(e.to_string()))?;
        let term = header.partition_leader_epoch.max(0) as u64;
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        self.places.push(Place { term, base_offset, last_offset });
        self.last_timestamp_ms = self.last_timestamp_ms.max(header.max_timestamp);
        if header.is_control() {
            let mut membership = self.history.latest().clone();
            control_records(batch).iter().for_each(|record| membership.notice(record));
            if membership != *self.history.latest() {
                self.history.push(self.last(), membership);
            }
        }
        Ok(header.next_offset())
    }

    /// The image that the newest snapshot holds; to be taken once.
    pub fn take_image(&mut self) -> Option<Image> {
        self.began_with.take()
    }

    /// What the storage tool has put into the snapshot that an empty log begins with. `None`: nothing, or the log has a
    /// snapshot of its own since.
    pub(super) fn founded_with(&self) -> Option<&Image> {
        self.founded_with.as_ref()
    }

    pub fn next_offset(&self) -> Offset {
        self.log.log_end_offset()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The newest snapshot on the disk, besides the one at offset 0.
    pub(super) fn newest_snapshot(&self) -> Option<SnapshotId> {
        self.newest.map(|kept| kept.id)
    }

    /// The largest epoch in the log that is not above this one, and where it ends.
    pub(super) fn epoch_end(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        match self.log.epoch_end_offset(epoch) {
            (LeaderEpoch::NONE, _) => {
                let latest = self.term_of(self.last()).unwrap_or_default();
                (LeaderEpoch(latest as i32), self.log.log_end_offset())
            }
            known => known,
        }
    }

    /// The epoch of the batch that ends at this offset. `None`: it is not known (any more).
    pub(super) fn epoch_before(&self, end: Offset) -> Option<LeaderEpoch> {
        if let Some(kept) = self.newest.filter(|kept| kept.id.end == end) {
            return Some(kept.id.epoch);
        }
        let term = self.term_of(self.index_ending_at(end)?)?;
        Some(LeaderEpoch(term as i32))
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn voters(&self) -> &Voters {
        &self.voters
    }

    pub(super) fn base_index(&self) -> u64 {
        self.base.index
    }

    pub(super) fn last(&self) -> u64 {
        self.base.index + self.places.len() as u64
    }

    /// What the log says of who votes, agreed on or not.
    pub(super) fn membership(&self) -> &Membership {
        self.history.latest()
    }

    /// The index as of which this node knows who votes.
    pub(super) fn voters_index(&self) -> u64 {
        self.history.changed().max(self.base.index)
    }

    pub(super) fn changed_at(&self, index: u64) -> bool {
        self.history.changes_at(index)
    }

    /// Whether the voters are those of the configuration for good.
    pub(super) fn is_fixed(&self) -> bool {
        let named = self.membership().voters.is_some() || self.voters.founders != Membership::default();
        !named && self.voters.all != VoterSet::default()
    }

    /// Who votes according to the log up to this index.
    pub(super) fn voters_at(&self, index: u64) -> Result<VoterSet, QuorumError> {
        self.voter_set(self.membership_at(index))
    }

    /// What the log says of voters up to this index.
    pub(super) fn membership_at(&self, index: u64) -> &Membership {
        self.history.at(index)
    }

    // What the log says of voters counts more than what was configured. Where it says that voters can change and not who they
    // are, others have founded the quorum (`--no-initial-controllers`): this node votes once they have added it.
    fn voter_set(&self, membership: &Membership) -> Result<VoterSet, QuorumError> {
        let dynamic = membership.kraft_version() > 0;
        match &membership.voters {
            Some(record) if !record.voters.is_empty() => VoterSet::of_record(record)
                .ok_or_else(|| QuorumError::Refused("it names voters of which there is no quorum".into())),
            _ if dynamic => Ok(VoterSet::default()),
            _ => Ok(self.voters.all.clone()),
        }
    }

    pub(super) fn last_timestamp_ms(&self) -> i64 {
        self.last_timestamp_ms
    }

    pub(super) fn vote(&self) -> Vote {
        self.vote
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

    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub(super) fn stamp(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub(super) fn append(&mut self, new: &[Entry]) -> Result<(), QuorumError> {
        let first = self.at(new[0].index);
        if let Some(replaced) = self.places.get(first) {
            // KAFKA-12460: raft-rs never asks for this, and what is agreed on is not to be lost to a mistake.
            if replaced.base_offset < self.log.high_watermark() {
                return Err(QuorumError::Refused(format!("entry {} is agreed on already", new[0].index)));
            }
            self.log.truncate_to(replaced.base_offset, self.now_ms)?;
            // What is behind the end of a file goes with what is cut off.
            self.reserved_bytes = 0;
            self.places.truncate(first);
            self.history.truncate(new[0].index);
        }
        for entry in new {
            self.append_one(entry)?;
        }
        batches::flush(&mut self.log)
    }

    // The bytes are the leader's, offsets and epoch included: a copy that differs in anything is no copy.
    fn append_one(&mut self, entry: &Entry) -> Result<(), QuorumError> {
        let epoch = LeaderEpoch(entry.term as i32);
        let header = BatchHeader::parse(&entry.data);
        let follows = header.as_ref().is_ok_and(|header| {
            header.base_offset == self.log.log_end_offset() && header.partition_leader_epoch == epoch.0
        });
        if !follows {
            let end = self.log.log_end_offset();
            let what = format!("entry {} of term {epoch} is no batch at offset {end}", entry.index);
            return Err(QuorumError::Refused(what));
        }
        let checked = self.checked(entry.data.clone())?;
        let outcomes = self.log.append(&[checked], epoch, self.now_ms).map_err(|e| match e {
            AppendError::Io(e) => QuorumError::Log(e),
            full @ AppendError::DiskFull { .. } => QuorumError::Refused(full.to_string()),
        })?;
        for outcome in outcomes {
            outcome.map_err(|r| QuorumError::Refused(r.code.name().to_owned()))?;
        }
        self.reserved_bytes = self.reserved_bytes.saturating_sub(entry.data.len() as u64);
        // Who follows a leader appends what it is sent, whatever that is for.
        if self.reserved_bytes < RESERVED_BYTES / 2 {
            self.has_room(0, Spend::Reserve);
        }
        self.place(&entry.data)?;
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

    fn keep(&mut self, vote: Vote) -> Result<(), QuorumError> {
        vote::write(&*self.disk, &self.vote_path, vote, self.voters.me.id)?;
        self.keep_folder()?;
        self.vote = vote;
        Ok(())
    }

    /// Votes are counted by the set of this index from now on, after a restart too. By the set before, voters that are gone
    /// might be missed for ever, or win an election beside the present ones.
    pub(super) fn keep_voters_agreed(&mut self, index: u64) -> Result<(), QuorumError> {
        self.keep(Vote { voters_agreed: index, ..self.vote })
    }

    /// Term and vote are on the disk when this returns. The commit index need not survive: it is found again by agreement.
    pub(super) fn set_hard_state(&mut self, new: HardState) -> Result<(), QuorumError> {
        if new.term != self.hard_state.term || new.vote != self.hard_state.vote {
            let voted_for = node_of(new.vote).map(|id| self.replica(id));
            self.keep(Vote { term: new.term, voted_for, ..self.vote })?;
        }
        let commit = new.commit;
        self.hard_state = new;
        self.set_commit(commit);
        Ok(())
    }

    // The vote is in a folder that may be new, and a voter may vote long before its log is flushed for the first time. A sole
    // voter's vote means nothing without the log that its flush keeps.
    fn keep_folder(&mut self) -> Result<(), QuorumError> {
        let alone = self.voters_at(self.last())?.is_only(self.voters.me.id);
        if self.folder_kept || alone {
            return Ok(());
        }
        if let Some(parent) = self.log.dir().parent() {
            let failed = |source| QuorumError::Vote { path: parent.to_owned(), source };
            self.disk.sync_dir(parent).map_err(failed)?;
        }
        self.folder_kept = true;
        Ok(())
    }

    /// The replica that a node is as far as the newest set of voters says.
    pub(super) fn replica(&self, id: ottla_model::NodeId) -> ReplicaKey {
        if id == self.voters.me.id {
            return self.voters.me;
        }
        let voters = self.voters_at(self.last()).ok();
        voters.and_then(|voters| voters.get(id)).unwrap_or(ReplicaKey::of(id))
    }

    /// The quorum has agreed on everything up to here: that, and not what this node has flushed, is the high watermark.
    pub(super) fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
        if let Some(end) = self.end_of(commit) {
            self.log.advance_high_watermark(end);
        }
    }

    /// The offset behind an entry. None: it is not known here (any more, or yet).
    pub(super) fn end_of(&self, index: u64) -> Option<Offset> {
        if index == self.base.index {
            return Some(self.base.end);
        }
        let at = index.checked_sub(self.base.index + 1)?;
        Some(self.places.get(at as usize)?.last_offset + 1)
    }

    /// The term of an entry. None: as above.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let at = index.checked_sub(self.base.index + 1)?;
        Some(self.places.get(at as usize)?.term)
    }

    // The index of the entry that ends at this offset.
    pub(super) fn index_ending_at(&self, end: Offset) -> Option<u64> {
        if end == self.base.end {
            return Some(self.base.index);
        }
        let at = self.places.binary_search_by_key(&(end - 1), |place| place.last_offset).ok()?;
        Some(self.base.index + 1 + at as u64)
    }

    pub(super) fn committed(&self, entry: Entry) -> Committed {
        let place = self.places[self.at(entry.index)];
        let epoch = LeaderEpoch(place.term as i32);
        Committed { base_offset: place.base_offset, last_offset: place.last_offset, epoch, batch: entry.data }
    }

    // Raft never asks for what its first index excludes.
    fn at(&self, index: u64) -> usize {
        (index - self.base.index) as usize - 1
    }
}
