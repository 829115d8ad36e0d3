//! Which messages raft-rs may hear. It panics on several that no voter can have said, and believes everything else: so each
//! message is held here against what this node knows, before raft-rs sees it.
//! It must never change anything.

use ottla_protocol::Offset;
use ottla_protocol::batch::{BatchHeader, verify_crc};
use raft::{RawNode, StateRole};

use super::message::{Body, LogEntry, MESSAGE_BYTES_MAX, Message, Offer, Position};
use super::store::Store;
use super::voters::ReplicaKey;

/// Why a message was not heard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a message of cluster {0}")]
    OtherCluster(String),
    #[error("a message for {0}, which is another replica")]
    NotForMe(ReplicaKey),
    /// It is none, has been removed, or its disk was wiped and it is another replica now.
    #[error("a message from {0}, which is no voter")]
    NotAVoter(ReplicaKey),
    #[error("{0} asks for a vote that its directory of before has")]
    VotedForPredecessor(ReplicaKey),
    /// No voter that works can have said it.
    #[error("{from} says what cannot be: {what}")]
    Impossible { from: ReplicaKey, what: &'static str },
    #[error("cannot keep a snapshot: {0}")]
    Snapshot(String),
}

/// Kafka's epochs have 32 bits; the term that a pre-vote asks for is one more.
const TERM_MAX: u64 = i32::MAX as u64 - 1;
const INDEX_MAX: u64 = 1 << 62;
/// The largest snapshot that is taken from another voter. It is read into memory once it is there.
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

pub(super) fn check(raw: &RawNode<Store>, message: &Message) -> Result<(), Refused> {
    let voters = raw.store().voters();
    if message.cluster_id != voters.cluster_id {
        return Err(Refused::OtherCluster(message.cluster_id.clone()));
    }
    if !voters.me.matches(message.to) {
        return Err(Refused::NotForMe(message.to));
    }
    check_sender(raw, message)?;
    let from = message.from;
    let plausible = check_numbers(message).and_then(|()| check_body(raw, message));
    plausible.map_err(|what| Refused::Impossible { from, what })?;
    check_vote(raw, message)
}

// A voter, in the set that is in force or in the one that the log has last. Where the set can change, a voter that lags
// behind may not know its leader yet: whoever knows a set from behind what is agreed on here may be a voter by it. One that
// was removed knows no such set.
fn check_sender(raw: &RawNode<Store>, message: &Message) -> Result<(), Refused> {
    let (store, committed) = (raw.store(), raw.raft.raft_log.committed);
    let votes = |index: u64| store.voters_at(index).is_ok_and(|voters| voters.contains(message.from));
    let is_me = message.from.id == store.voters().me.id;
    let may_vote = !store.is_fixed() && message.voters_index > committed;
    match !is_me && (votes(committed) || votes(store.last()) || may_vote) {
        true => Ok(()),
        false => Err(Refused::NotAVoter(message.from)),
    }
}

// A node that comes back without its disk has its id still. What was given to its predecessor is not given twice.
fn check_vote(raw: &RawNode<Store>, message: &Message) -> Result<(), Refused> {
    let vote = raw.store().vote();
    let same_term = message.term == raw.raft.term && vote.term == message.term;
    let predecessor = |voted: ReplicaKey| voted.id == message.from.id && !voted.matches(message.from);
    if matches!(message.body, Body::Vote(_)) && same_term && vote.voted_for.is_some_and(predecessor) {
        return Err(Refused::VotedForPredecessor(message.from));
    }
    Ok(())
}

fn check_numbers(message: &Message) -> Result<(), &'static str> {
    // Raft takes term 0 for a message to itself.
    if !(1..=TERM_MAX).contains(&message.term) {
        return Err("an impossible term");
    }
    let positions: [Position; 2] = match &message.body {
        Body::PreVote(candidacy) | Body::Vote(candidacy) => [candidacy.last, candidacy.commit],
        Body::PreVoteAnswer(ballot) | Body::VoteAnswer(ballot) => [ballot.commit, ballot.commit],
        Body::Append { previous, commit, .. } => [*previous, Position { index: *commit, term: 0 }],
        Body::NotAppended { index, hint, .. } => [*hint, Position { index: *index, term: 0 }],
        Body::Appended { index, commit } => {
            [Position { index: *index, term: 0 }, Position { index: *commit, term: 0 }]
        }
        Body::Heartbeat { commit } | Body::HeartbeatAnswer { commit } => {
            [Position { index: *commit, term: 0 }; 2]
        }
        Body::Snapshot(offer) => [Position { index: offer.index, term: 0 }; 2],
        Body::FetchSnapshot { .. } | Body::SnapshotChunk { .. } | Body::TimeoutNow => return Ok(()),
    };
    if positions.iter().any(|position| position.index > INDEX_MAX) {
        return Err("an impossible index");
    }
    if positions.iter().any(|position| position.term > message.term) {
        return Err("a log of a term that has not begun");
    }
    Ok(())
}

fn check_body(raw: &RawNode<Store>, message: &Message) -> Result<(), &'static str> {
    let raft = &raw.raft;
    let store = raw.store();
    let of_this_term = message.term == raft.term;
    match &message.body {
        Body::Append { previous, entries, .. } => {
            check_leader(raw, message)?;
            check_entries(store, message.term, *previous, entries)
        }
        Body::Heartbeat { commit } => {
            check_leader(raw, message)?;
            // A leader says no more than this node has once confirmed to have. Raft-rs would end the process.
            match message.term >= raft.term && *commit > store.last() {
                true => Err("more is agreed on than was ever here"),
                false => Ok(()),
            }
        }
        Body::Snapshot(Offer { id, index, size }) => {
            check_leader(raw, message)?;
            let sane = id.end > 0
                && (1..=id.end as u64).contains(index)
                && (1..=message.term).contains(&(id.epoch.0.max(0) as u64))
                && *size <= SNAPSHOT_BYTES_MAX;
            sane.then_some(()).ok_or("an impossible snapshot")
        }
        Body::Appended { index, .. } if of_this_term && raft.state == StateRole::Leader => {
            (*index <= store.last()).then_some(()).ok_or("it has what was never sent")
        }
        Body::TimeoutNow => check_leader(raw, message),
        _ => Ok(()),
    }
}

// One leader in each term.
fn check_leader(raw: &RawNode<Store>, message: &Message) -> Result<(), &'static str> {
    let raft = &raw.raft;
    let other = raft.leader_id != 0 && raft.leader_id != message.from.raft_id();
    match message.term == raft.term && other {
        true => Err("somebody else leads in this term"),
        false => Ok(()),
    }
}

// Whole batches, one behind the other, each under the term and at the offset at which this log would have it.
fn check_entries(
    store: &Store,
    term: u64,
    previous: Position,
    entries: &[LogEntry],
) -> Result<(), &'static str> {
    // For raft-rs every entry that it does not have is of term 0.
    if (previous.term == 0) != (previous.index == 0) {
        return Err("an entry without a term");
    }
    let known = store.term_of(previous.index) == Some(previous.term);
    let mut next: Option<Offset> = known.then(|| store.end_of(previous.index)).flatten();
    let mut last_term = previous.term;
    let bytes: usize = entries.iter().map(|entry| entry.batch.len()).sum();
    if bytes > MESSAGE_BYTES_MAX {
        return Err("too much at once");
    }
    for entry in entries {
        if !(last_term.max(1)..=term).contains(&entry.term) {
            return Err("terms that go back");
        }
        last_term = entry.term;
        let header = BatchHeader::parse(&entry.batch).map_err(|_| "an entry that is no batch")?;
        if !verify_crc(&entry.batch) {
            return Err("a damaged batch");
        }
        if header.partition_leader_epoch as u64 != entry.term || header.base_offset < 0 {
            return Err("a batch of another term than its entry's");
        }
        if header.last_offset_delta < 0 || next.is_some_and(|next| next != header.base_offset) {
            return Err("a batch at another offset than here");
        }
        next = Some(header.next_offset());
    }
    Ok(())
}
