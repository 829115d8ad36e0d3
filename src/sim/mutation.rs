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
    /// A coordinator goes on with what it has in memory, whoever has led its partition since.
    KeepShard,
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
    /// A follower truncates to its high watermark when it hears of a new leader (KIP-101).
    TruncateToHighWatermark,
    /// A follower takes an epoch that it does not know for one that both have, and does not ask again (KIP-279).
    StopAtUnknownEpochs,
    /// A leader serves fetches of any leader epoch (KIP-320).
    ServeAnyEpoch,
    /// A leader takes the fetch of a process that is gone for one of the process that runs (KIP-903).
    BelieveOldBrokers,
    /// The last member of the in-sync set stays in it, whatever its machine has lost (KIP-966).
    LastMemberStays,
    /// Every broker that comes back is taken for one that has stopped cleanly (KAFKA-15586).
    AssumeCleanStops,
    /// A follower compares its log with the leader's only when the leader is another broker (KAFKA-7164).
    CompareWithNewLeadersOnly,
    /// An epoch begins with its first record: before, its leader knows nothing of it, and followers truncate to their high
    /// watermark (KAFKA-7415).
    ForgetEpochStarts,
    /// A truncation that removes no bytes leaves the leader epochs as they are (KAFKA-10706).
    KeepEpochsWithoutBytes,
    /// A follower takes over the leader's high watermark before it truncates (KAFKA-14704).
    AdvanceBeforeCutting,
    /// A write that fails counts as written (KAFKA-10778).
    IgnoreWriteErrors,
    /// A fenced broker may join the in-sync set (KAFKA-13916).
    LetFencedJoin,
    /// During a reassignment the leader knows the old replicas alone (KAFKA-9672).
    LeadOldReplicasOnly,
    /// An append is answered when the leader has it.
    AnswerWhenAppended,
    /// A fetch that begins inside a full segment goes on with the next one.
    SkipRestOfSegment,
    /// Whoever begins to lead does not know what producers sent to the leader before.
    ForgetProducersOnFollowers,
    /// A transaction has ended for readers when the leader has its marker.
    CountMarkersEarly,
    /// A follower says where its log ends before its lane has taken what came, and the leader's session takes what it has told for
    /// what the follower has (KIP-227).
    BelieveTold,
    /// A leader hears how other brokers stand when it begins to lead, and never again (KIP-841).
    HearOfBrokersOnce,
    /// A process that starts believes the news for the one before it.
    BelieveOldNews,
    /// A controller that becomes active goes on with the sessions of the one before, in which it has heard nobody (KIP-631).
    KeepSessions,
    /// A controller believes the heartbeats of a process that was followed by another one.
    BelieveOldHeartbeats,
    /// A broker that is fenced goes on leading.
    LeadWhenFenced,
    /// Each process of a broker has the same incarnation, and with it the epoch of the one before.
    ReuseIncarnation,
    /// A broker says that it has seen its registration when it has not.
    ClaimToBeCaughtUp,
    /// A broker that wants to stop may do so at once (KIP-631's controlled shutdown).
    LeaveAtOnce,
    /// A controller answers what it has decided before the quorum has agreed.
    AnswerBeforeAgreed,
    /// A proposal that was refused may be taken when it comes again.
    KeepEpochOfRefused,
    /// A leader proposes replicas without the broker epochs under which they have fetched (KIP-903).
    LetAnyProcessJoin,
    /// A broker does not say that its directory is full.
    SayNothingOfRoom,
}
