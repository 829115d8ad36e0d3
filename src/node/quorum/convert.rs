//! Between our messages and raft-rs's. What raft-rs could say and we never let it (forwarded proposals, read indices,
//! priorities) has no spelling among ours.

use bytes::Bytes;
use ottla_log::metadata::{SnapshotId, control_records};
use ottla_protocol::batch::BatchHeader;
use ottla_protocol::batch::control::ControlRecord;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::eraftpb::{self, Entry, EntryType, MessageType, Snapshot};

use super::message::{Ballot, Body, Candidacy, LogEntry, Position};

/// What raft-rs calls a candidacy that the leader has asked for.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// An entry as raft-rs has it. Its data is the batch, as it is in the log.
pub(super) fn entry(index: u64, term: u64, batch: &Bytes) -> Entry {
    Entry { index, term, entry_type: entry_type(batch), data: batch.clone(), ..Entry::default() }
}

// raft-rs wants to know which entries change the set of voters: nobody becomes a candidate before such an entry is applied.
fn entry_type(batch: &Bytes) -> EntryType {
    let is_control = BatchHeader::parse(batch).is_ok_and(|header| header.is_control());
    let names_voters = |record: &ControlRecord| matches!(record, ControlRecord::KRaftVoters(_));
    match is_control && control_records(batch).iter().any(names_voters) {
        true => EntryType::EntryConfChangeV2,
        false => EntryType::EntryNormal,
    }
}

/// The snapshot that raft-rs is to offer: what raft-rs calls its data is only the offset at which it ends.
pub(super) fn snapshot(id: SnapshotId, index: u64, voters: Vec<u64>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = index;
    metadata.term = id.epoch.0.max(0) as u64;
    metadata.mut_conf_state().set_voters(voters);
    snapshot.data = Bytes::copy_from_slice(&id.end.to_be_bytes());
    snapshot
}

/// The name of a snapshot that [`snapshot`] made.
pub(super) fn snapshot_id(snapshot: &Snapshot) -> Option<SnapshotId> {
    let end = Offset::from_be_bytes(snapshot.data.as_ref().try_into().ok()?);
    Some(SnapshotId { end, epoch: LeaderEpoch(snapshot.get_metadata().term as i32) })
}

/// What raft-rs wants said. None: it is nothing that we say. A snapshot is not among it, since its size is looked up.
pub(super) fn from_raft(message: &mut eraftpb::Message) -> Option<Body> {
    let commit = message.commit;
    let committed = Position { index: commit, term: message.commit_term };
    let place = Position { index: message.index, term: message.log_term };
    let candidacy = |message: &eraftpb::Message| Candidacy {
        last: place,
        commit: committed,
        transfer: message.context == TRANSFER,
    };
    Some(match message.get_msg_type() {
        MessageType::MsgRequestPreVote => Body::PreVote(candidacy(message)),
        MessageType::MsgRequestVote => Body::Vote(candidacy(message)),
        MessageType::MsgRequestPreVoteResponse => {
            Body::PreVoteAnswer(Ballot { granted: !message.reject, commit: committed })
        }
        MessageType::MsgRequestVoteResponse => {
            Body::VoteAnswer(Ballot { granted: !message.reject, commit: committed })
        }
        MessageType::MsgAppend => {
            let entries = message.take_entries().into_iter();
            let entries = entries.map(|entry| LogEntry { term: entry.term, batch: entry.data });
            Body::Append { previous: place, commit, entries: entries.collect() }
        }
        MessageType::MsgAppendResponse if message.reject => {
            let hint = Position { index: message.reject_hint, term: message.log_term };
            Body::NotAppended { index: message.index, hint, commit }
        }
        MessageType::MsgAppendResponse => Body::Appended { index: message.index, commit },
        MessageType::MsgHeartbeat => Body::Heartbeat { commit },
        MessageType::MsgHeartbeatResponse => Body::HeartbeatAnswer { commit },
        MessageType::MsgTimeoutNow => Body::TimeoutNow,
        _ => return None,
    })
}

/// What raft-rs takes from `from`. None: it is not for raft-rs.
pub(super) fn to_raft(from: u64, to: u64, term: u64, body: Body) -> Option<eraftpb::Message> {
    let mut message = eraftpb::Message { from, to, term, ..eraftpb::Message::default() };
    match body {
        Body::PreVote(candidacy) => ask(&mut message, MessageType::MsgRequestPreVote, candidacy),
        Body::Vote(candidacy) => ask(&mut message, MessageType::MsgRequestVote, candidacy),
        Body::PreVoteAnswer(ballot) => answer(&mut message, MessageType::MsgRequestPreVoteResponse, ballot),
        Body::VoteAnswer(ballot) => answer(&mut message, MessageType::MsgRequestVoteResponse, ballot),
        Body::Append { previous, commit, entries } => {
            message.set_msg_type(MessageType::MsgAppend);
            (message.index, message.log_term, message.commit) = (previous.index, previous.term, commit);
            let entries = entries.iter().zip(previous.index + 1..);
            let entries: Vec<Entry> =
                entries.map(|(each, index)| entry(index, each.term, &each.batch)).collect();
            message.set_entries(entries.into());
        }
        Body::Appended { index, commit } => {
            message.set_msg_type(MessageType::MsgAppendResponse);
            (message.index, message.commit) = (index, commit);
        }
        Body::NotAppended { index, hint, commit } => {
            message.set_msg_type(MessageType::MsgAppendResponse);
            (message.index, message.commit, message.reject) = (index, commit, true);
            (message.reject_hint, message.log_term) = (hint.index, hint.term);
        }
        Body::Heartbeat { commit } => {
            message.set_msg_type(MessageType::MsgHeartbeat);
            message.commit = commit;
        }
        Body::HeartbeatAnswer { commit } => {
            message.set_msg_type(MessageType::MsgHeartbeatResponse);
            message.commit = commit;
        }
        Body::TimeoutNow => message.set_msg_type(MessageType::MsgTimeoutNow),
        Body::Snapshot(_) | Body::FetchSnapshot { .. } | Body::SnapshotChunk { .. } => return None,
    }
    Some(message)
}

fn ask(message: &mut eraftpb::Message, kind: MessageType, candidacy: Candidacy) {
    message.set_msg_type(kind);
    (message.index, message.log_term) = (candidacy.last.index, candidacy.last.term);
    (message.commit, message.commit_term) = (candidacy.commit.index, candidacy.commit.term);
    if candidacy.transfer {
        message.context = Bytes::from_static(TRANSFER);
    }
}

fn answer(message: &mut eraftpb::Message, kind: MessageType, ballot: Ballot) {
    message.set_msg_type(kind);
    message.reject = !ballot.granted;
    (message.commit, message.commit_term) = (ballot.commit.index, ballot.commit.term);
}
