//! What goes into a lane and what comes out of it. Tokens are opaque: they go in with a question and come out with its answer.
//! Each kind of question has a type of token of its own, so that nobody can be given the answer to another kind.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::partition::{
    Acks, Diverging, Fetched, Followership, IsrAnswer, Leadership, Proposal, Standing,
};
use ottla_log::CheckedBatch;
use ottla_log::log::{Appended, FlushTicket, Log, NotMoved, Refused, Relocation, Retired, Swap, WriteOut};
use ottla_model::NodeId;
use ottla_model::config::TopicConfig;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

/// Who waits for a lane: whatever finds the one who asked, by what was asked.
pub trait Waiters: Debug {
    /// Waits for an append: [`Output::Reply`].
    type Append: Debug;
    /// Waits for records to be deleted: [`Output::Deleted`].
    type Deletion: Debug;
    /// Waits for the output of a cleaning to be in its place: [`Output::Swapped`].
    type Swap: Debug;
    /// Waits for the log to be in another directory: [`Output::Relocated`].
    type Move: Debug;
    /// The fetch of another replica, which waits to count: [`Output::Noted`].
    type Fetch: Debug;
    /// This replica's own fetcher, which waits to fetch on: [`Output::Followed`].
    type Fetcher: Debug;
}

/// What can happen to a partition.
#[derive(Debug)]
pub enum Input<W: Waiters> {
    Append(Append<W>),
    /// The controller's word: this node leads, under that epoch.
    Lead(Leadership),
    /// The controller's word: another node leads, or none does. Whoever waits here for a leader is sent away.
    Follow(Followership),
    /// Nothing else is to be done: write down where this leadership begins, so that no producer waits for that.
    Settle,
    Configure(Arc<TopicConfig>),
    /// `producer.id.expiration.ms` has changed.
    ExpireProducersAfter(i64),
    /// A flush that this lane asked for is done.
    Flushed {
        up_to: Offset,
        result: std::io::Result<()>,
    },
    /// A cleaning of the log has finished an output, which is to take the place of what it was made from.
    SwapCleaned {
        token: W::Swap,
        swap: Box<Swap>,
    },
    /// A copy of the log in another directory has caught up, and is to take its place.
    Relocate {
        token: W::Move,
        copy: Box<Relocation>,
    },
    /// Records below an offset are to go; none is all up to the high watermark.
    DeleteRecords {
        token: W::Deletion,
        before: Option<Offset>,
    },
    /// Another replica has fetched, and was read to; answered by [`Output::Noted`].
    ReplicaFetched {
        token: W::Fetch,
        fetched: Fetched,
    },
    /// The image has news of another replica's broker.
    Stands {
        replica: NodeId,
        standing: Standing,
    },
    /// What the controller says to a proposal of this lane.
    IsrAnswered(IsrAnswer),
    /// What a fetch from the leader has brought; answered by [`Output::Followed`].
    Replicate {
        token: W::Fetcher,
        from_leader: FromLeader,
    },
    /// The log is not a beginning of the leader's, which said so; answered by [`Output::Followed`].
    Cut {
        token: W::Fetcher,
        fetched: FetchPosition,
        cut: Cut,
    },
    /// Time has passed: roll, retire, flush and expire what is due, let go of replicas that are late.
    Tick,
}

/// What a follower's fetch said of its log: the answer is about this log and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPosition {
    /// The leader epoch that it was made under.
    pub under: LeaderEpoch,
    /// Where the log ended, and the epoch of the last batch there.
    pub log_end: Offset,
    pub last_epoch: Option<LeaderEpoch>,
}

/// A leader's answer to a follower's fetch.
#[derive(Debug)]
pub struct FromLeader {
    pub fetched: FetchPosition,
    pub records: Bytes,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// How a follower gets back to where its leader's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its end goes, as far as the two logs differ.
    End(Diverging),
    /// All of it goes: the leader's log begins here, above what is there (OFFSET_OUT_OF_RANGE).
    All { start: Offset },
}

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Once it is as safe as its `acks` ask for.
    WhenSafe,
    /// Once it has its offsets: a coordinator goes on, and waits for the high watermark by itself.
    WhenAppended,
}

/// A producer's batch for this partition.
#[derive(Debug)]
pub struct Append<W: Waiters> {
    pub token: W::Append,
    pub batch: CheckedBatch,
    pub acks: Acks,
    pub answered: Answered,
    /// The config that the batch was checked against; the lane refuses one that was checked against another.
    pub checked_against: Arc<TopicConfig>,
    /// When the producer stops waiting for replication.
    pub deadline_ms: i64,
}

/// What the lane wants done.
#[derive(Debug)]
pub enum Output<W: Waiters> {
    Reply {
        token: W::Append,
        outcome: Result<Appended, Refused>,
    },
    /// The output is in its place, or why not: then the log is as it was.
    Swapped {
        token: W::Swap,
        outcome: Result<(), String>,
    },
    /// The log lives where its copy was, and has left this one behind, which is to be deleted; or why not.
    Relocated {
        token: W::Move,
        outcome: Result<Box<Log>, NotMoved>,
    },
    /// Records are deleted: the log starts there now.
    Deleted {
        token: W::Deletion,
        outcome: Result<Offset, Refused>,
    },
    /// Run the ticket, then bring its result back as [`Input::Flushed`].
    Flush(FlushTicket),
    /// Run it, soon, on a thread that may wait; or leave it, when there is too much of that already.
    WriteOut(WriteOut),
    /// The fetch of another replica counts, or why not: then it is to be answered so.
    Noted {
        token: W::Fetch,
        outcome: Result<(), ErrorCode>,
    },
    /// The controller is to change the in-sync set; its answer comes back as [`Input::IsrAnswered`]. The same proposal again
    /// is for later: the last try failed.
    Propose(Proposal),
    /// Where a follower's log ends now, and is safe; or why nothing was done.
    Followed {
        token: W::Fetcher,
        outcome: Result<Offset, Refused>,
    },
    /// The log end moved: fetches of other replicas may have something to read.
    Grown,
    /// The high watermark moved: fetches that wait here may have something to read.
    Advanced,
    /// Delete these files once `file.delete.delay.ms` has passed.
    Retire(Vec<Retired>),
    /// Nothing more is appended until the log is opened again; `disk` says that the disk failed, not what is on it.
    Offline {
        why: String,
        disk: bool,
    },
    /// No room to append: refused until there is. Said once each time.
    Full,
    /// There is room again.
    Roomy,
}
