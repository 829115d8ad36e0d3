//! What an observer asks of the metadata log's leader and what it is told: Fetch (KIP-595) and FetchSnapshot (KIP-630) without
//! their encoding. No more than names for it.

use bytes::Bytes;
use ottla_log::metadata::SnapshotId;
use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::voters::ReplicaKey;

/// A request for what comes behind the end of an observer's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// `None`: whoever asks does not say.
    pub cluster_id: Option<String>,
    /// `None`: whoever asks is no node of the cluster.
    pub replica: Option<ReplicaKey>,
    /// The newest epoch that the observer has heard of.
    pub epoch: LeaderEpoch,
    /// Where the observer's log ends.
    pub offset: Offset,
    /// The epoch of the last batch in the observer's log, 0 if it has none.
    pub last_epoch: LeaderEpoch,
    /// The high watermark that the observer knows, -1 if it knows none. `None`: it does not say (before version 18), and is
    /// not told at once of a high watermark that has moved (KIP-1166).
    pub high_watermark: Option<Offset>,
    pub max_bytes: usize,
}

/// Who leads, as far as the sender of an answer knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// `NONE`: the answer does not say, since the request was refused as a whole.
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    /// Where the leader listens, if the answer says so: host and port.
    pub endpoint: Option<(String, u16)>,
}

impl Leadership {
    /// That of an answer to a request that was refused as a whole.
    pub fn unsaid() -> Leadership {
        Leadership { epoch: LeaderEpoch::NONE, leader: None, endpoint: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    pub leadership: Leadership,
    pub fetched: Result<Fetched, ErrorCode>,
    /// `None`: the leader does not know it yet.
    pub high_watermark: Option<Offset>,
    pub log_start: Offset,
}

/// What an observer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Batches from the fetch offset on. A last one may be cut off; there may be none.
    Records(Bytes),
    /// The two logs part: the leader's largest epoch that is not above the observer's last one, and where that epoch ends
    /// in the leader's log.
    Diverging { epoch: LeaderEpoch, end: Offset },
    /// The leader's log no longer goes back so far: this snapshot is to be fetched.
    Snapshot(SnapshotId),
}

/// What comes of a fetch at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    Answer(FetchAnswer),
    /// There is nothing new for the observer. The answer may wait until the log's [`Ends`] move, or as long as the observer
    /// wants to wait; [`crate::waiting::Fetches`] does so.
    NothingNew(FetchAnswer),
}

/// What fetches wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub log_end: Offset,
    pub high_watermark: Option<Offset>,
    pub epoch: LeaderEpoch,
    /// Whether this node leads in that epoch.
    pub leads: bool,
}

/// A request for a piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSnapshot {
    pub cluster_id: Option<String>,
    pub replica: Option<ReplicaKey>,
    pub epoch: LeaderEpoch,
    pub id: SnapshotId,
    /// Where in the file the piece begins.
    pub position: i64,
    pub max_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceAnswer {
    pub leadership: Leadership,
    pub piece: Result<Piece, ErrorCode>,
}

/// A piece of a snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: SnapshotId,
    /// Of the whole file, in bytes.
    pub size: u64,
    pub position: u64,
    pub bytes: Bytes,
}

/// What is asked of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// To be answered after [`WAIT_MS`] at the latest.
    Fetch(Fetch),
    FetchSnapshot(FetchSnapshot),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Fetched(FetchAnswer),
    Piece(PieceAnswer),
}

impl Answer {
    pub fn leadership(&self) -> &Leadership {
        match self {
            Answer::Fetched(answer) => &answer.leadership,
            Answer::Piece(answer) => &answer.leadership,
        }
    }

    /// The error, if it is one.
    pub fn error(&self) -> Option<ErrorCode> {
        match self {
            Answer::Fetched(answer) => answer.fetched.as_ref().err().copied(),
            Answer::Piece(answer) => answer.piece.as_ref().err().copied(),
        }
    }
}

/// How long the leader may wait for something new before it answers a fetch, as Kafka's observers have it.
pub const WAIT_MS: i64 = 500;

/// How much is asked for at once.
#[derive(Clone, Copy, Debug)]
pub struct Portions {
    /// `controller.quorum.fetch.max.bytes`
    pub fetch_bytes: usize,
    /// `controller.quorum.fetch.snapshot.max.bytes`
    pub snapshot_bytes: usize,
}
