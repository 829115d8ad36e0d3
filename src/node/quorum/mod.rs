//! The Raft driver: it feeds raft-rs with ticks, proposals and messages, puts what raft-rs decides on the disk, and
//! hands out what the quorum agreed on and what the other voters must hear. One Raft entry is one record batch of
//! `__cluster_metadata-0`, and the batch's leader epoch is the Raft term. A quorum of one is a quorum without messages.
//! It must never know what the records mean, or how messages travel.

mod agreed;
pub(crate) mod batches;
mod changing;
mod convert;
mod describing;
mod download;
mod entries;
mod error;
mod fetch;
mod followers;
mod following;
pub(crate) mod founding;
mod gate;
mod hearing;
mod message;
mod serving;
pub(crate) mod snapshot;
mod store;
mod unheard;
pub(crate) mod vote;
mod voters;
mod whereabouts;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::NodeId;
use ottla_model::image::Image;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::eraftpb::{self, Entry, MessageType};
use raft::{Config, RawNode, StateRole};

use describing::Heard;
use download::{Download, Offered};
use followers::Followers;
use unheard::Unheard;
use whereabouts::Whereabouts;

pub use agreed::{Agreed, Committed, Keep, Settled, Spend};
pub use changing::{ChangeRefused, VoterChange};
pub use describing::{QuorumState, VoterState};
pub use entries::metadata_batch;
pub use error::QuorumError;
pub use fetch::{
    Answer, Ends, Fetch, FetchAnswer, FetchSnapshot, Fetched, Leadership, Piece, PieceAnswer, Portions,
    Question, Served, WAIT_MS,
};
pub use followers::ObserverState;
pub use founding::Founder;
pub use gate::Refused;
pub use message::{Body, MESSAGE_BYTES_MAX, Message};
pub use snapshot::{Membership, Snapshot, SnapshotId};
pub(crate) use store::RESERVED_BYTES;
pub use store::Store;
pub use vote::Vote;
pub use voters::{ReplicaKey, VoterSet, Voters};

/// A leader speaks to each voter so often; the owner ticks every [`TICK_MS`].
const HEARTBEAT_TICKS: usize = 2;
/// A leader that was not heard of for so many ticks is looked for: a heartbeat is late.
const MISSING_TICKS: usize = HEARTBEAT_TICKS + 1;
/// Voters that find the leader gone wait for one to so many ticks more, so that not all of them want to lead at once.
const APART_TICKS: usize = 3;
/// How often [`Quorum::tick`] is to be called.
pub const TICK_MS: i64 = 100;
/// What may wait for the quorum at most, in bytes; a proposal beyond it is refused.
const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;
/// What a leader sends to one follower at once, beyond the first batch, and how many such messages ahead of its answers.
const APPEND_BYTES: u64 = 1 << 20;
const APPENDS_IN_FLIGHT: usize = 32;

/// Random numbers, the only ones in here: they decide how long a voter waits before it wants to lead.
pub type Chance = Box<dyn FnMut() -> u64 + Send>;

/// What makes raft-rs draw a new election timeout.
type Turn = (u64, StateRole);

/// This node's member of the quorum.
pub struct Quorum {
    raw: RawNode<Store>,
    /// The term in which this node leads and everything of earlier terms is agreed on.
    led: Option<LeaderEpoch>,
    chance: Chance,
    /// What the present election timeout was drawn for.
    drawn_for: Option<Turn>,
    election_ticks: usize,
    /// Who has given this candidate its vote.
    granted: BTreeSet<NodeId>,
    /// Index of the set of voters by which raft-rs counts.
    voters_in_force: u64,
    download: Option<Download>,
    offered: Offered,
    heard: Heard,
    /// The replica that spoke last as a leader.
    leader_spoke: Option<ReplicaKey>,
    /// What is to be said besides what raft-rs says.
    unsent: Vec<(ReplicaKey, Body)>,
    followers: Followers,
    unheard: Unheard,
    /// Where voters say that they are, while no leader can write it down.
    whereabouts: Whereabouts,
}

impl Quorum {
    /// Joins with what the store has. A sole voter elects itself as soon as it settles.
    pub fn new(store: Store, voters: &Voters, chance: Chance) -> Result<Quorum, QuorumError> {
        let least = election_ticks(voters.election_timeout_ms);
        let config = Config {
            id: voters.me.raft_id(),
            election_tick: least,
            heartbeat_tick: HEARTBEAT_TICKS,
            // What raft-rs draws in this range is drawn anew from `chance` before anybody looks.
            min_election_tick: least,
            max_election_tick: 2 * least,
            pre_vote: true,
            check_quorum: true,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_size_per_msg: APPEND_BYTES,
            max_inflight_msgs: APPENDS_IN_FLIGHT,
            applied: store.base_index(),
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, store, &logger)?;
        let voters_in_force = raw.raft.raft_log.committed;
        let mut quorum = Quorum {
            raw,
            led: None,
            chance,
            drawn_for: None,
            election_ticks: least,
            granted: BTreeSet::new(),
            voters_in_force,
            download: None,
            offered: Offered::default(),
            heard: Heard::default(),
            leader_spoke: None,
            unsent: Vec::new(),
            followers: Followers::default(),
            unheard: Unheard::default(),
            whereabouts: Whereabouts::default(),
        };
        quorum.unheard = Unheard::at_start(quorum.votes(), least);
        quorum.draw_timeout();
        Ok(quorum)
    }

    pub fn me(&self) -> NodeId {
        self.raw.store().voters().me.id
    }

    /// Whether this node leads and everything of earlier terms is agreed on.
    pub fn leads(&self) -> bool {
        self.led.is_some()
    }

    pub fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.raw.raft.term as i32)
    }

    /// Who leads, as far as this node has heard.
    pub fn leader(&self) -> Option<NodeId> {
        voters::node_of(self.raw.raft.leader_id)
    }

    /// The offset that the next proposal's first record will have.
    pub fn next_offset(&self) -> Offset {
        self.raw.store().next_offset()
    }

    /// Everything below is agreed on.
    pub fn high_watermark(&self) -> Offset {
        self.raw.store().log().high_watermark()
    }

    pub fn store(&self) -> &Store {
        self.raw.store()
    }

    /// The image that this quorum's log begins with, if that is not empty; to be taken once.
    pub fn take_image(&mut self) -> Option<Image> {
        self.raw.mut_store().take_image()
    }

    /// What the storage tool wants a new log to begin with. `None`: nothing in particular.
    pub fn founded_with(&self) -> Option<&Image> {
        self.raw.store().founded_with()
    }

    /// What the log says of who votes.
    pub fn membership(&self) -> &Membership {
        self.raw.store().membership()
    }

    /// Who votes, as far as is agreed on.
    pub fn voters(&self) -> VoterSet {
        let committed = self.raw.raft.raft_log.committed;
        // Each set was looked at when it was written.
        self.raw.store().voters_at(committed).unwrap_or_default()
    }

    /// A snapshot of an image that this quorum has agreed on.
    pub fn snapshot(&self, image: Arc<Image>) -> Snapshot {
        let store = self.raw.store();
        let (index, membership) = store.as_of(image.offset + 1);
        let timestamp_ms = store.last_timestamp_ms();
        Snapshot::new(image, index, membership, store.log().dir().to_owned(), timestamp_ms)
    }

    /// A snapshot is on the disk: what it holds may leave the log, as far as `metadata.max.retention.*` ask for it.
    pub fn snapshotted(&mut self, id: SnapshotId, keep: &Keep, now_ms: i64) -> Result<(), QuorumError> {
        self.raw.mut_store().clean(id, keep, now_ms)
    }

    /// Whether this node's disk has room for a batch. To be asked before it is proposed: what has been proposed and
    /// cannot be written is the end of this member.
    pub fn has_room(&mut self, batch: &Bytes, spend: Spend) -> bool {
        self.raw.mut_store().has_room(batch.len() as u64, spend)
    }

    /// Offers a batch for agreement. `false` when this node does not lead, or too much waits. To be followed by
    /// [`Quorum::settle`].
    pub fn propose(&mut self, batch: &Bytes) -> bool {
        let placed = entries::at(batch, self.next_offset(), self.epoch());
        let Some(placed) = placed.filter(|_| self.leads()) else { return false };
        self.raw.propose(Vec::new(), placed.to_vec()).is_ok()
    }

    /// Puts on the disk what Raft wants there, and returns what is agreed on and to be sent since the last call, in order.
    pub fn settle(&mut self, now_ms: i64) -> Result<Settled, QuorumError> {
        let mut out = Settled::default();
        self.raw.mut_store().stamp(now_ms);
        self.work_off(now_ms, &mut out)?;
        if self.is_alone_without_leader() {
            self.raw.campaign()?;
            self.work_off(now_ms, &mut out)?;
        }
        self.say_the_rest(&mut out);
        Ok(out)
    }

    fn work_off(&mut self, now_ms: i64, out: &mut Settled) -> Result<(), QuorumError> {
        self.turned(now_ms);
        while self.raw.has_ready() {
            self.ready(out)?;
            self.turned(now_ms);
        }
        Ok(())
    }

    // A sole voter has nobody to wait for. For raft-rs it is whoever has its node id, though it may have lost its disk since.
    fn is_alone_without_leader(&self) -> bool {
        let raft = &self.raw.raft;
        let voters = raft.prs().conf().voters().ids();
        raft.promotable() && raft.state != StateRole::Leader && voters.len() == 1 && self.votes()
    }

    // One round of raft-rs's. It allows a leader's messages to leave before its own disk has what they carry; they leave with
    // everything else once the step is done.
    fn ready(&mut self, out: &mut Settled) -> Result<(), QuorumError> {
        let mut ready = self.raw.ready();
        self.say(ready.take_messages(), out);
        if !ready.snapshot().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            let (index, term) = (metadata.index, metadata.term);
            let image = self.raw.mut_store().install(index, term)?;
            self.voters_in_force = index;
            out.agreed.push(Agreed::Snapshot(Box::new(image)));
        }
        self.agree(ready.take_committed_entries(), out)?;
        let entries = ready.take_entries();
        if !entries.is_empty() {
            self.raw.mut_store().append(&entries)?;
        }
        if let Some(hard_state) = ready.hs() {
            let hard_state = hard_state.clone();
            self.raw.mut_store().set_hard_state(hard_state)?;
        }
        self.say(ready.take_persisted_messages(), out);
        let mut light = self.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().set_commit(commit);
        }
        self.say(light.take_messages(), out);
        self.agree(light.take_committed_entries(), out)?;
        self.raw.advance_apply();
        Ok(())
    }

    fn agree(&mut self, entries: Vec<Entry>, out: &mut Settled) -> Result<(), QuorumError> {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader;
        let term = raft.term;
        for entry in entries {
            let index = entry.index;
            // Leading begins when a batch of the own term is agreed on: only then is every earlier one.
            if leads && entry.term == term {
                self.led = Some(LeaderEpoch(term as i32));
            }
            out.agreed.push(Agreed::Batch(self.raw.store().committed(entry)));
            self.apply_voters(index)?;
        }
        Ok(())
    }

    // After everything that may have changed this node's part: what raft-rs leaves to chance and what it leaves empty is
    // filled in before anybody sees it.
    fn turned(&mut self, now_ms: i64) {
        self.step_down_if_removed();
        let raft = &self.raw.raft;
        let leads_still = raft.state == StateRole::Leader && self.led == Some(self.epoch());
        if raft.state != StateRole::Leader {
            self.followers.clear();
            self.heard.clear();
        }
        if !leads_still {
            self.led = None;
        }
        self.draw_timeout();
        self.begin_term(now_ms);
    }

    fn draw_timeout(&mut self) {
        let turn = (self.raw.raft.term, self.raw.raft.state);
        if self.drawn_for != Some(turn) {
            self.drawn_for = Some(turn);
            if turn.1 == StateRole::Candidate {
                self.granted.clear();
            }
            let least = self.raw.raft.election_timeout();
            self.election_ticks = least + ((self.chance)() % least as u64) as usize;
        }
        self.raw.raft.set_randomized_election_timeout(self.election_ticks);
    }

    // raft-rs begins a term with an entry that holds nothing. What stands in the log there is decided here, once, by the
    // leader: the followers copy it.
    fn begin_term(&mut self, now_ms: i64) {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return;
        }
        let mut next = self.raw.store().next_offset();
        let mut empty = None;
        for entry in raft.raft_log.unstable_entries() {
            match entries::record_count(&entry.data) {
                Some(records) => next += records,
                None => empty = Some(entry.index),
            }
        }
        let Some(index) = empty else { return };
        let batch = self.leader_change(now_ms);
        if let Some(batch) = entries::at(&batch, next, self.epoch()) {
            self.write_entry(index, batch);
        }
    }

    fn leader_change(&self, now_ms: i64) -> Bytes {
        let store = self.raw.store();
        let me = store.voters().me.id;
        let voters: Vec<NodeId> = store
            .voters_at(self.raw.raft.raft_log.committed)
            .map(|voters| voters.iter().map(|key| key.id).collect())
            .unwrap_or_default();
        let granting: Vec<NodeId> =
            voters.iter().copied().filter(|id| *id == me || self.granted.contains(id)).collect();
        // The first term's batch says who votes, for whoever has no other way to know (KIP-853): nobody fetches the snapshot
        // of the storage tool, as it is not above the log's start.
        let formatted = Some(store.membership()).filter(|membership| **membership != Membership::default());
        let founders = formatted.unwrap_or(&store.voters().founders);
        let founders = (store.next_offset() == 0).then(|| founders.records());
        entries::leader_change(me, &voters, &granting, founders.into_iter().flatten(), now_ms)
    }

    // Both where it waits for the disk and where it is on its way to a follower.
    fn write_entry(&mut self, index: u64, batch: Bytes) {
        let filled = |entry: &mut Entry| {
            let term = entry.term;
            *entry = convert::entry(index, term, &batch);
        };
        let raft = &mut self.raw.raft;
        let unstable = &mut raft.r.raft_log.unstable.entries;
        unstable.iter_mut().filter(|entry| entry.index == index).for_each(filled);
        let appends = raft.msgs.iter_mut().filter(|m| m.get_msg_type() == MessageType::MsgAppend);
        let carried = appends.flat_map(|message| message.mut_entries().iter_mut());
        carried.filter(|entry| entry.index == index).for_each(filled);
    }

    fn say(&mut self, messages: Vec<eraftpb::Message>, out: &mut Settled) {
        for mut message in messages {
            let Some(to) = voters::node_of(message.to) else { continue };
            let body = match message.get_msg_type() {
                MessageType::MsgSnapshot => self.offer(message.get_snapshot()),
                _ => convert::from_raft(&mut message),
            };
            if let Some(body) = body {
                let to = self.addressee(to);
                out.messages.push(self.message(to, message.term, body));
            }
        }
    }

    fn say_the_rest(&mut self, out: &mut Settled) {
        let term = self.raw.raft.term.max(1);
        for (to, body) in std::mem::take(&mut self.unsent) {
            out.messages.push(self.message(to, term, body));
        }
    }

    // A leader that lost its disk once is another replica than a follower knows that lags behind its coming: such a follower's
    // answers must reach it, or it could never tell the follower.
    fn addressee(&self, id: NodeId) -> ReplicaKey {
        let leads = self.raw.raft.leader_id == voters::raft_id(id);
        let spoke = self.leader_spoke.filter(|leader| leads && leader.id == id);
        spoke.unwrap_or_else(|| self.raw.store().replica(id))
    }

    fn message(&self, to: ReplicaKey, term: u64, body: Body) -> Message {
        let store = self.raw.store();
        let Voters { cluster_id, me, .. } = store.voters();
        let voters_index = store.voters_index();
        Message { cluster_id: cluster_id.clone(), from: *me, to, voters_index, term, body }
    }
}

// An election begins after so many ticks at least, and after fewer than twice as many: after the timeout, more or less, so that voters
// do not begin together. A heartbeat of the leader may be late.
fn election_ticks(timeout_ms: i64) -> usize {
    let least_ms = timeout_ms.max(0) / 5 * 3;
    usize::try_from(least_ms / TICK_MS).unwrap_or(0).max(MISSING_TICKS + 1)
}

#[cfg(test)]
mod stories;
