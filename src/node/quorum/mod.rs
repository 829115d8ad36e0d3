//! The Raft driver: it feeds raft-rs with ticks, proposals and messages, puts what raft-rs decides on the disk, and
//! hands out what the quorum agreed on. One Raft entry is one record batch of `__cluster_metadata-0`, and the
//! batch's leader epoch is the Raft term.
//! It must never know what the records mean.

mod entries;
mod founding;
mod snapshot;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::NodeId;
use ottla_model::image::Image;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::{Config, RawNode, StateRole};

pub use entries::metadata_batch;
pub use snapshot::{Membership, Snapshot, SnapshotId};
pub use store::{QuorumError, Store, Vote};

/// An election takes this many ticks at least; the owner ticks every [`TICK_MS`].
const ELECTION_TICKS: usize = 10;
const HEARTBEAT_TICKS: usize = 2;
/// How often [`Quorum::tick`] is to be called.
pub const TICK_MS: i64 = 100;
/// What may wait for the quorum at most, in bytes; a proposal beyond it is refused.
const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;

/// Who votes. Raft ids are node ids + 1, because 0 is not a Raft id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters {
    pub me: NodeId,
    pub all: Vec<NodeId>,
    /// What a new log says of its quorum. Nothing where `controller.quorum.voters` says it to everybody.
    pub founders: Membership,
}

impl Voters {
    /// A quorum of one.
    pub fn only(me: NodeId) -> Voters {
        Voters { me, all: vec![me], founders: Membership::default() }
    }
}

/// How much of the log stays once a snapshot holds it.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// `metadata.max.retention.bytes`; negative is all.
    pub bytes: i64,
    /// `metadata.max.retention.ms`; negative is all.
    pub ms: i64,
}

/// What may be taken from a disk that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    Nothing,
    /// The room that was set aside.
    Reserve,
}

/// A batch that the quorum has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub epoch: LeaderEpoch,
    /// The batch as it is in the log; a control batch carries nothing for the image.
    pub batch: Bytes,
}

/// This node's member of the quorum.
pub struct Quorum {
    raw: RawNode<Store>,
    /// Offset of the first batch of the present term, once this node leads.
    term_began: Option<Offset>,
}

impl Quorum {
    /// Joins with what the store has. A sole voter elects itself at once.
    pub fn new(store: Store, voters: &Voters) -> Result<Quorum, QuorumError> {
        let config = Config {
            id: raft_id(voters.me),
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            // The only chance in raft-rs is the election timeout: a range of one makes it none.
            min_election_tick: ELECTION_TICKS,
            max_election_tick: ELECTION_TICKS + 1,
            pre_vote: true,
            check_quorum: true,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_size_per_msg: 1 << 20,
            applied: store.base_index(),
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut raw = RawNode::new(&config, store, &logger)?;
        if voters.all == [voters.me] {
            raw.campaign()?;
        }
        Ok(Quorum { raw, term_began: None })
    }

    /// Whether this node leads and everything of earlier terms is agreed on.
    pub fn leads(&self) -> bool {
        self.term_began.is_some()
    }

    pub fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.raw.raft.term as i32)
    }

    /// The offset that the next proposal's first record will have.
    pub fn next_offset(&self) -> Offset {
        self.raw.store().next_offset()
    }

    pub fn store(&self) -> &Store {
        self.raw.store()
    }

    /// The image that this quorum's log begins with, if that is not empty; to be taken once.
    pub fn take_image(&mut self) -> Option<Image> {
        self.raw.mut_store().take_image()
    }

    /// What the log says of who votes.
    pub fn membership(&self) -> &Membership {
        self.raw.store().membership()
    }

    /// A snapshot of an image that this quorum has agreed on.
    pub fn snapshot(&self, image: Arc<Image>) -> Snapshot {
        let store = self.raw.store();
        let timestamp_ms = store.last_timestamp_ms();
        Snapshot::new(image, store.membership().clone(), store.log().dir().to_owned(), timestamp_ms)
    }

    /// A snapshot is on the disk: what it holds may leave the log, as far as `metadata.max.retention.*` ask for it.
    pub fn snapshotted(&mut self, id: SnapshotId, keep: &Keep, now_ms: i64) -> Result<(), QuorumError> {
        self.raw.mut_store().clean(id, keep, now_ms)
    }

    /// To be called every [`TICK_MS`].
    pub fn tick(&mut self) {
        self.raw.tick();
    }

    /// Whether this node's disk has room for a batch. To be asked before it is proposed: what has been proposed and
    /// cannot be written is the end of this member.
    pub fn has_room(&mut self, batch: &Bytes, spend: Spend) -> bool {
        self.raw.mut_store().has_room(batch.len() as u64, spend)
    }

    /// Offers a batch, built at offset 0, for agreement. `false` when this node does not lead, or too much waits.
    pub fn propose(&mut self, batch: &Bytes) -> bool {
        self.leads() && self.raw.propose(Vec::new(), batch.to_vec()).is_ok()
    }

    /// Puts on the disk what Raft wants there, and returns what is agreed on since the last call, in order.
    pub fn settle(&mut self, now_ms: i64) -> Result<Vec<Committed>, QuorumError> {
        let mut committed = Vec::new();
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            self.raw.mut_store().stamp(now_ms);
            let mut agreed = ready.take_committed_entries();
            let vote_changed = ready.hs().is_some_and(|hs| self.raw.store().vote_differs(hs));
            let entries = ready.take_entries();
            if !entries.is_empty() {
                self.raw.mut_store().append(&entries)?;
            }
            if let Some(hard_state) = ready.hs() {
                let hard_state = hard_state.clone();
                self.raw.mut_store().set_hard_state(hard_state, vote_changed)?;
            }
            let mut light = self.raw.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.raw.mut_store().set_commit(commit);
            }
            agreed.append(&mut light.take_committed_entries());
            for entry in &agreed {
                committed.push(self.raw.store().committed(entry.index)?);
            }
            self.raw.advance_apply();
            self.notice_leadership(&committed);
        }
        Ok(committed)
    }

    // Leading begins when a batch of the own term is agreed on: only then is every earlier one.
    fn notice_leadership(&mut self, committed: &[Committed]) {
        if self.raw.raft.state != StateRole::Leader {
            self.term_began = None;
        } else if self.term_began.is_none() {
            let epoch = self.epoch();
            self.term_began = committed.iter().find(|c| c.epoch == epoch).map(|c| c.base_offset);
        }
    }
}

fn raft_id(node: NodeId) -> u64 {
    node.0 as u64 + 1
}
