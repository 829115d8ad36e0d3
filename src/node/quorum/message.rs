//! What voters say to each other, as bytes and as what raft-rs takes. The encoding is our own and bounded by the bytes that
//! are there; protobuf never reads what a peer has sent (RUSTSEC-2024-0437).
//! It must never decide whether a message is to be believed: that is [`super::gate`]'s business.

use bytes::{Bytes, BytesMut};
use ottla_log::metadata::SnapshotId;
use ottla_model::NodeId;
use ottla_protocol::primitives::{Form, Problem, ReadError, Reader, Writer};
use ottla_protocol::{LeaderEpoch, Offset};

use super::voters::ReplicaKey;

/// The most bytes of one message. A leader sends about a mebibyte of batches at once, and one batch whatever its size.
pub const MESSAGE_BYTES_MAX: usize = 80 << 20;

/// A message from one replica to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub cluster_id: String,
    pub from: ReplicaKey,
    pub to: ReplicaKey,
    /// Raft index of the newest set of voters that the sender has in its log.
    pub voters_index: u64,
    /// Of the sender; of a pre-vote and its answer the term that is asked for.
    pub term: u64,
    pub body: Body,
}

/// Where a log is: an index, and the term of the batch there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub index: u64,
    pub term: u64,
}

/// A batch of the metadata log under its term, with its offsets as they are in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub term: u64,
    pub batch: Bytes,
}

/// Who wants to lead, and what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidacy {
    pub last: Position,
    pub commit: Position,
    /// The leader has asked it to take over: nobody waits for that leader's lease to end.
    pub transfer: bool,
}

/// An answer to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    pub granted: bool,
    pub commit: Position,
}

/// A file that a follower needs where the leader's log no longer begins early enough (KIP-630).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub id: SnapshotId,
    /// Raft index of the last batch that it holds.
    pub index: u64,
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    PreVote(Candidacy),
    PreVoteAnswer(Ballot),
    Vote(Candidacy),
    VoteAnswer(Ballot),
    Append {
        previous: Position,
        commit: u64,
        entries: Vec<LogEntry>,
    },
    /// Everything up to `index` is on the disk.
    Appended {
        index: u64,
        commit: u64,
    },
    /// What was appended at `index` did not follow; it may at `hint`.
    NotAppended {
        index: u64,
        hint: Position,
        commit: u64,
    },
    Heartbeat {
        commit: u64,
    },
    HeartbeatAnswer {
        commit: u64,
    },
    /// Instead of an append.
    Snapshot(Offer),
    FetchSnapshot {
        id: SnapshotId,
        position: u64,
    },
    SnapshotChunk {
        id: SnapshotId,
        position: u64,
        bytes: Bytes,
    },
    /// Lead now.
    TimeoutNow,
}

/// A field of the format's first version.
const VERSION: i16 = 0;
const FORM: Form = Form::Flexible;
/// Term, length and a batch's header.
const ENTRY_BYTES_MIN: usize = 4 + 1 + ottla_protocol::batch::HEADER_BYTES;

impl Message {
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        let mut w = Writer::new(&mut bytes);
        w.i16(VERSION);
        w.string(FORM, &self.cluster_id);
        key(&mut w, self.from);
        key(&mut w, self.to);
        number(&mut w, self.voters_index);
        term(&mut w, self.term);
        w.i8(self.body.kind());
        self.body.write(&mut w);
        bytes.freeze()
    }

    /// Never panics and never takes more memory than there are bytes; batches share theirs.
    pub fn decode(bytes: &Bytes) -> Result<Message, ReadError> {
        let mut r = Reader::over(bytes);
        let r = &mut r;
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(r.error(Problem::Value(bytes.len() as i64)));
        }
        expect(r, |r| r.i16().map(i64::from), |version| version == i64::from(VERSION))?;
        let message = Message {
            cluster_id: r.string(FORM)?.to_owned(),
            from: read_key(r)?,
            to: read_key(r)?,
            voters_index: read_number(r)?,
            term: read_term(r)?,
            body: {
                let kind = r.clone();
                Body::read(r.i8()?, r)?.ok_or_else(|| kind.error(Problem::Value(0)))?
            },
        };
        r.finish()?;
        Ok(message)
    }
}

impl Body {
    fn kind(&self) -> i8 {
        match self {
            Body::PreVote(_) => 1,
            Body::PreVoteAnswer(_) => 2,
            Body::Vote(_) => 3,
            Body::VoteAnswer(_) => 4,
            Body::Append { .. } => 5,
            Body::Appended { .. } => 6,
            Body::NotAppended { .. } => 7,
            Body::Heartbeat { .. } => 8,
            Body::HeartbeatAnswer { .. } => 9,
            Body::Snapshot(_) => 10,
            Body::FetchSnapshot { .. } => 11,
            Body::SnapshotChunk { .. } => 12,
            Body::TimeoutNow => 13,
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Body::PreVote(candidacy) | Body::Vote(candidacy) => {
                place(w, candidacy.last);
                place(w, candidacy.commit);
                w.bool(candidacy.transfer);
            }
            Body::PreVoteAnswer(ballot) | Body::VoteAnswer(ballot) => {
                w.bool(ballot.granted);
                place(w, ballot.commit);
            }
            Body::Append { previous, commit, entries } => {
                place(w, *previous);
                number(w, *commit);
                w.array_of(FORM, entries.iter(), |w, entry| {
                    term(w, entry.term);
                    w.bytes(FORM, &entry.batch);
                });
            }
            Body::Appended { index, commit } => {
                number(w, *index);
                number(w, *commit);
            }
            Body::NotAppended { index, hint, commit } => {
                number(w, *index);
                place(w, *hint);
                number(w, *commit);
            }
            Body::Heartbeat { commit } | Body::HeartbeatAnswer { commit } => number(w, *commit),
            Body::Snapshot(Offer { id, index, size }) => {
                snapshot_id(w, *id);
                number(w, *index);
                number(w, *size);
            }
            Body::FetchSnapshot { id, position } => {
                snapshot_id(w, *id);
                number(w, *position);
            }
            Body::SnapshotChunk { id, position, bytes } => {
                snapshot_id(w, *id);
                number(w, *position);
                w.bytes(FORM, bytes);
            }
            Body::TimeoutNow => {}
        }
    }

    // None for a kind that nobody knows.
    fn read(kind: i8, r: &mut Reader<'_>) -> Result<Option<Body>, ReadError> {
        Ok(Some(match kind {
            1 => Body::PreVote(read_candidacy(r)?),
            2 => Body::PreVoteAnswer(read_ballot(r)?),
            3 => Body::Vote(read_candidacy(r)?),
            4 => Body::VoteAnswer(read_ballot(r)?),
            5 => Body::Append {
                previous: read_place(r)?,
                commit: read_number(r)?,
                entries: r.array_of(FORM, ENTRY_BYTES_MIN, |r| {
                    Ok::<_, ReadError>(LogEntry { term: read_term(r)?, batch: r.bytes(FORM)? })
                })?,
            },
            6 => Body::Appended { index: read_number(r)?, commit: read_number(r)? },
            7 => Body::NotAppended { index: read_number(r)?, hint: read_place(r)?, commit: read_number(r)? },
            8 => Body::Heartbeat { commit: read_number(r)? },
            9 => Body::HeartbeatAnswer { commit: read_number(r)? },
            10 => Body::Snapshot(Offer {
                id: read_snapshot_id(r)?,
                index: read_number(r)?,
                size: read_number(r)?,
            }),
            11 => Body::FetchSnapshot { id: read_snapshot_id(r)?, position: read_number(r)? },
            12 => Body::SnapshotChunk {
                id: read_snapshot_id(r)?,
                position: read_number(r)?,
                bytes: r.bytes(FORM)?,
            },
            13 => Body::TimeoutNow,
            _ => return Ok(None),
        }))
    }
}

fn key(w: &mut Writer<'_>, key: ReplicaKey) {
    w.i32(key.id.0);
    w.uuid(key.directory_id);
}

fn read_key(r: &mut Reader<'_>) -> Result<ReplicaKey, ReadError> {
    let id = expect(r, |r| r.i32().map(i64::from), |id| (0..i64::from(i32::MAX)).contains(&id))?;
    Ok(ReplicaKey { id: NodeId(id as i32), directory_id: r.uuid()? })
}

// Indices and positions are far below 63 bits.
fn number(w: &mut Writer<'_>, value: u64) {
    w.i64(value as i64);
}

fn read_number(r: &mut Reader<'_>) -> Result<u64, ReadError> {
    expect(r, |r| r.i64(), |value| (0..=NUMBER_MAX).contains(&value)).map(|value| value as u64)
}

// Kafka's epochs have 32 bits.
fn term(w: &mut Writer<'_>, term: u64) {
    w.i32(term as i32);
}

fn read_term(r: &mut Reader<'_>) -> Result<u64, ReadError> {
    expect(r, |r| r.i32().map(i64::from), |term| term >= 0).map(|term| term as u64)
}

fn place(w: &mut Writer<'_>, position: Position) {
    number(w, position.index);
    term(w, position.term);
}

fn read_place(r: &mut Reader<'_>) -> Result<Position, ReadError> {
    Ok(Position { index: read_number(r)?, term: read_term(r)? })
}

fn snapshot_id(w: &mut Writer<'_>, id: SnapshotId) {
    w.i64(id.end);
    w.i32(id.epoch.0);
}

fn read_snapshot_id(r: &mut Reader<'_>) -> Result<SnapshotId, ReadError> {
    let end: Offset = expect(r, |r| r.i64(), |end| (1..=NUMBER_MAX).contains(&end))?;
    let epoch = expect(r, |r| r.i32().map(i64::from), |epoch| epoch >= 0)?;
    Ok(SnapshotId { end, epoch: LeaderEpoch(epoch as i32) })
}

fn read_candidacy(r: &mut Reader<'_>) -> Result<Candidacy, ReadError> {
    Ok(Candidacy { last: read_place(r)?, commit: read_place(r)?, transfer: r.bool()? })
}

fn read_ballot(r: &mut Reader<'_>) -> Result<Ballot, ReadError> {
    Ok(Ballot { granted: r.bool()?, commit: read_place(r)? })
}

fn expect(
    r: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<i64, ReadError>,
    allowed: impl FnOnce(i64) -> bool,
) -> Result<i64, ReadError> {
    let at = r.clone();
    let value = read(r)?;
    if allowed(value) { Ok(value) } else { Err(at.error(Problem::Value(value))) }
}

/// What is added to such a number stays a number.
const NUMBER_MAX: i64 = 1 << 62;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn all() -> Vec<Message> {
        let (last, commit) = (Position { index: 9, term: 3 }, Position { index: 8, term: 2 });
        let id = SnapshotId { end: 77, epoch: LeaderEpoch(2) };
        let candidacy = Candidacy { last, commit, transfer: true };
        let ballot = Ballot { granted: true, commit };
        let entry = LogEntry { term: 3, batch: vec![7; 80].into() };
        let bodies = [
            Body::PreVote(candidacy),
            Body::PreVoteAnswer(ballot),
            Body::Vote(candidacy),
            Body::VoteAnswer(ballot),
            Body::Append { previous: last, commit: 4, entries: vec![entry.clone(), entry] },
            Body::Appended { index: 5, commit: 4 },
            Body::NotAppended { index: 5, hint: commit, commit: 4 },
            Body::Heartbeat { commit: 4 },
            Body::HeartbeatAnswer { commit: 4 },
            Body::Snapshot(Offer { id, index: 12, size: 1_000 }),
            Body::FetchSnapshot { id, position: 500 },
            Body::SnapshotChunk { id, position: 500, bytes: vec![1; 50].into() },
            Body::TimeoutNow,
        ];
        let replica = |id: i32| ReplicaKey { id: NodeId(id), directory_id: Uuid::from_u128(id as u128) };
        let message = |body| Message {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
            from: replica(1),
            to: replica(2),
            voters_index: 6,
            term: 4,
            body,
        };
        bodies.into_iter().map(message).collect()
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for message in all() {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn what_is_cut_off_or_has_too_much_is_refused() {
        for message in all() {
            let bytes = message.encode();
            for cut in 0..bytes.len() {
                assert!(Message::decode(&bytes.slice(..cut)).is_err(), "{message:?} cut at {cut}");
            }
            let longer = Bytes::from([&bytes[..], &[0]].concat());
            assert!(Message::decode(&longer).is_err(), "{message:?}");
        }
    }

    #[test]
    fn flipped_bits_never_panic() {
        for message in all() {
            let bytes = message.encode();
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                // It may be another message, and is one that can be said again.
                if let Ok(read) = Message::decode(&damaged.into()) {
                    assert_eq!(Message::decode(&read.encode()), Ok(read));
                }
            }
        }
    }
}
