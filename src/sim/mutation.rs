//! Known mistakes, put back on purpose: each has a test that the simulator finds it. They sit in the simulator's own
//! shell and disk, around the code that is simulated and never in it.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The shell tells the lane that a flush is done when it only begins.
    AcknowledgeBeforeFlush,
    /// The shell tells the lane that a flush is done and never runs it.
    SkipFlush,
    /// The disk returns from a sync without having done it.
    IgnoreSync,
    /// As above, for the metadata log alone.
    IgnoreMetadataSync,
    /// A restart forgets what producers had sent.
    ForgetProducers,
    /// Every start believes that the stop before was clean.
    TrustEveryStop,
    /// The recovery point is checkpointed at the log end instead of where the flushes are (KAFKA-10101).
    CheckpointLogEnd,
    /// Consumers read up to the log end instead of the high watermark (KAFKA-9835).
    ReadPastHighWatermark,
    /// A restart counts producer ids from the beginning instead of asking for a new block (KIP-730).
    RecountProducerIds,
    /// A batch whose reply was lost is sent again under a new sequence.
    ForgetSequences,
    /// Partitions are led under an epoch of the shell's own making (KIP-101).
    InventEpochs,
    /// A topic is said to be deleted before the controller has agreed.
    ConfirmDeletionEarly,
    /// The cleaner takes records that are younger than `min.compaction.lag.ms`.
    IgnoreCompactionLag,
    /// The cleaner's clock is days ahead at times: tombstones go before everybody has seen them.
    CleanWithALeapingClock,
    /// The disk returns from a sync of what the cleaner has written without having done it.
    IgnoreCleanedSync,
    /// A start takes a copy that a kill has cut short for the whole log.
    BelieveHalfACopy,
    /// A start does not look for what a kill has left of moves.
    ForgetMoves,
    /// A leader takes a follower's fetch for proof that it has everything (KIP-497).
    BelieveFollowersAhead,
    /// A follower takes an answer that was about its log of before.
    TakeAnyAnswer,
    /// A follower goes on behind what its leader does not have (KIP-101).
    NeverCut,
    /// A shard is told that everything in its log is safe.
    AnswerBeforeSafe,
    /// A shard serves when the first piece of its log is loaded.
    StopLoadingEarly,
    /// The leader of a group gives every partition to each member.
    AssignTwice,
    /// Who ends a transaction is told that it ends before the coordinator has decided.
    EndBeforeDecided,
    /// A coordinator that is loaded leaves the transactions alone that the one before had prepared.
    ForgetPrepared,
    /// A batch is written without asking the coordinator whether its transaction has the partition (KIP-890).
    SkipVerification,
    /// A producer that starts gets the epoch of the one before.
    KeepEpoch,
    /// Readers of what is committed read up to the high watermark.
    ReadPastLastStable,
    /// What is written to a transaction index is lost.
    ForgetAborted,
    /// Offsets count when they are written, not when their transaction is committed.
    CommitOffsetsAtOnce,
    /// Nobody looks for transactions that are open for too long.
    NeverTimeOut,
    /// A marker is sent once more, later.
    MarkTwice,
    /// A voter starts again without knowing for whom it voted in its term.
    ForgetVote,
    /// A leader takes what it has sent to a follower for what the follower has on its disk.
    BelieveAppendsArrive,
    /// A voter whose disk was wiped is taken for the one that it was (KIP-853).
    TakeWipedForItself,
    /// The leader's log end is taken by observers for what is agreed on.
    ObserveLogEnd,
    /// The leader goes on behind whatever log an observer has (KIP-595).
    ServeAnyLog,
    /// An observer shows at its start what its last snapshot holds.
    ShowAtOnce,
}
