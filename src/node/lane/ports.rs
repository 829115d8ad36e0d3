//! The inputs and outputs of a lane. Tokens are opaque: a token goes in with a request and comes out with its answer.
//! Each kind of request has a token type of its own, so that no waiter can get the answer to another kind.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::coordinator::Producer;
use ottla_core::partition::{
    Acks, Diverging, Fetched, Followership, IsrAnswer, Leadership, Proposal, Standing,
};
use ottla_log::CheckedBatch;
use ottla_log::log::{
    Appended, FlushTicket, LogError, NotMoved, Refused, Relocation, Retired, Swap, WriteOut,
};
use ottla_model::config::TopicConfig;
use ottla_model::{NodeId, VerificationGuard};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};
use uuid::Uuid;

/// The waiters of a lane: for each kind of request, the type of the token that identifies the caller.
pub trait Waiters: Debug {
    /// Waits for an append: [`Output::Reply`].
    type Append: Debug;
    /// Waits for records to be deleted: [`Output::Deleted`].
    type Deletion: Debug;
    /// Waits for a cleaning's output to be swapped in: [`Output::Swapped`].
    type Swap: Debug;
    /// Waits for the log to move to another directory: [`Output::Relocated`].
    type Move: Debug;
    /// The fetch of another replica, which waits to be noted: [`Output::Noted`].
    type Fetch: Debug;
    /// Waits for the verification of a transaction to begin: [`Output::Verifying`].
    type Verification: Debug;
    /// This replica's own fetcher, which waits for its next fetch: [`Output::Followed`].
    type Fetcher: Debug;
}

/// What can happen to a partition.
#[derive(Debug)]
pub enum Input<W: Waiters> {
    Append(Append<W>),
    /// A transactional batch is about to be appended: is its transaction open here, or has it to be verified with its
    /// coordinator? Answered by [`Output::Verifying`].
    Verify {
        token: W::Verification,
        upcoming: Upcoming,
    },
    /// The controller says that this node leads, in that epoch.
    Lead(Leadership),
    /// The controller says that another node leads, or none. Clients that wait here for a leader are sent away.
    Follow(Followership),
    /// Write the start of this leadership to disk, so that no producer has to wait for that. Nothing else is to be done.
    Settle,
    Configure(Arc<TopicConfig>),
    /// `producer.id.expiration.ms` has changed.
    ExpireProducersAfter(i64),
    /// A flush that this lane has asked for is done.
    Flushed {
        up_to: Offset,
        result: std::io::Result<()>,
    },
    /// A cleaning has finished an output, which is to replace the segments that it was made from.
    SwapCleaned {
        token: W::Swap,
        swap: Box<Swap>,
    },
    /// A copy of the log in another directory has caught up, and is to replace the log.
    Relocate {
        token: W::Move,
        copy: Box<Relocation>,
        /// For the name of the folder that is left behind.
        unique: Uuid,
    },
    /// Delete the records below an offset. `None`: up to the high watermark. Answered once every replica whose broker is
    /// alive has deleted them.
    DeleteRecords {
        token: W::Deletion,
        before: Option<Offset>,
        /// When the client stops waiting for the other replicas.
        deadline_ms: i64,
    },
    /// Another replica has fetched, and the records were read for it. Answered by [`Output::Noted`].
    ReplicaFetched {
        token: W::Fetch,
        fetched: Fetched,
    },
    /// The image has changed for the broker of another replica.
    Stands {
        replica: NodeId,
        standing: Standing,
    },
    /// The controller's answer to a proposal of this lane.
    IsrAnswered(IsrAnswer),
    /// The result of a fetch from the leader. Answered by [`Output::Followed`].
    Replicate {
        token: W::Fetcher,
        from_leader: FromLeader,
    },
    /// The leader says that the logs have diverged. Answered by [`Output::Followed`].
    Cut {
        token: W::Fetcher,
        fetched: FetchPosition,
        cut: Cut,
    },
    /// Time has passed: answer whoever has waited for too long, and propose to remove replicas that lag. The disk has
    /// nothing to do.
    Expire,
    /// Time has passed: as `Expire`, and roll, retire and flush what is due.
    Tick,
}

/// The state of the log that a follower has put into a fetch. The leader's answer applies only to a log in that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPosition {
    /// The leader epoch in the fetch.
    pub under: LeaderEpoch,
    /// The log end, and the epoch of the last batch.
    pub log_end: Offset,
    pub last_epoch: Option<LeaderEpoch>,
}

/// The leader's answer to a follower's fetch.
#[derive(Debug)]
pub struct FromLeader {
    pub fetched: FetchPosition,
    pub records: Bytes,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// How a follower truncates its log, to match the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Remove its end, as far as the two logs differ. All of it, where that would leave nothing that the leader still has, because
    /// its log starts at `log_start`: what is left may be other records than the leader's were, and the producers that are known
    /// from them would be wrong.
    End { diverging: Diverging, log_start: Offset },
    /// Remove all of it, and begin at the leader's log start, which is above the log end here (OFFSET_OUT_OF_RANGE).
    All { start: Offset },
    /// Remove what the leader has removed at its start, as far as the high watermark goes here.
    Start { log_start: Offset },
}

/// The folder of a log that has moved, renamed to be removed; or why it could not be renamed.
pub type LeftBehind = Result<PathBuf, LogError>;

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Once it is as safe as its `acks` ask for.
    WhenSafe,
    /// Once it has offsets. A coordinator goes on then, and waits for the high watermark itself.
    WhenAppended,
}

/// A producer's batch for this partition.
#[derive(Debug)]
pub struct Append<W: Waiters> {
    pub token: W::Append,
    pub batch: CheckedBatch,
    pub acks: Acks,
    pub answered: Answered,
    /// The config that the batch was checked against. The lane refuses the batch if its config is another one.
    pub checked_against: Arc<TopicConfig>,
    /// When the producer stops waiting for replication.
    pub deadline_ms: i64,
}

/// A batch of a transaction that is going to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Upcoming {
    pub producer: Producer,
    pub base_sequence: i32,
    /// Its client has another epoch for each transaction (KIP-890).
    pub bumps_epoch: bool,
}

/// What the lane wants to be done.
#[derive(Debug)]
pub enum Output<W: Waiters> {
    Reply {
        token: W::Append,
        outcome: Result<Appended, Refused>,
    },
    /// Once the coordinator says that the batch is part of a transaction, it is appended with this guard. Without a guard:
    /// the transaction is open here.
    Verifying {
        token: W::Verification,
        outcome: Result<Option<VerificationGuard>, ErrorCode>,
    },
    /// The output has replaced its segments; or an error, after which the log is unchanged.
    Swapped {
        token: W::Swap,
        outcome: Result<(), String>,
    },
    /// The log lives where its copy was, or why not.
    Relocated {
        token: W::Move,
        outcome: Result<LeftBehind, NotMoved>,
    },
    /// The records are deleted; the lowest log start of the replicas whose brokers are alive.
    Deleted {
        token: W::Deletion,
        outcome: Result<Offset, Refused>,
    },
    /// Run the ticket, then return its result as [`Input::Flushed`].
    Flush(FlushTicket),
    /// Run this soon, on a thread that may wait; or leave it, if too many of them are waiting.
    WriteOut(WriteOut),
    /// The fetch of another replica was noted. An error is the answer to that fetch.
    Noted {
        token: W::Fetch,
        outcome: Result<(), ErrorCode>,
    },
    /// The controller is to change the in-sync set. Its answer comes back as [`Input::IsrAnswered`]. If the same proposal
    /// comes again, the last attempt has failed, and this one is to be sent later.
    Propose(Proposal),
    /// The log end of a follower, up to which it is safe; or the reason why nothing was done.
    Followed {
        token: W::Fetcher,
        outcome: Result<Offset, Refused>,
    },
    /// The log end has moved: there may be something for fetches of other replicas.
    Grown,
    /// The high watermark has moved: there may be something for fetches that wait here.
    Advanced,
    /// Delete these files once `file.delete.delay.ms` has passed.
    Retire(Vec<Retired>),
    /// Nothing is appended until the log is opened again. `disk`: the disk has failed, and not only the data on it is
    /// wrong.
    Offline {
        why: String,
        disk: bool,
    },
    /// An append found no room: the disk is full.
    Full,
}
