//! Known mistakes, put back one at a time: the simulator must find each, and by the invariant that it breaks. Those around
//! replicas are in `replicas/lessons.rs`.

use crate::{Mutation, Run, Scene};

const STEPS: u64 = 1_500;

/// The first seed that finds it, of so many.
fn check(mutation: Mutation, seeds: u64, invariants: &[&str]) {
    check_in(Scene::Node, mutation, seeds, invariants);
}

fn check_in(scene: Scene, mutation: Mutation, seeds: u64, invariants: &[&str]) {
    check_for(scene, mutation, seeds, STEPS, invariants);
}

fn check_for(scene: Scene, mutation: Mutation, seeds: u64, steps: u64, invariants: &[&str]) {
    let run = |seed| Run { scene, seed, steps, mutation: Some(mutation) };
    let caught = (0..seeds).find_map(|seed| run(seed).go().err());
    let Some(failure) = caught else { panic!("{mutation:?} goes unnoticed in {seeds} seeds") };
    println!("{mutation:?}: seed {}: {}: {}", failure.run.seed, failure.invariant, failure.what);
    assert!(invariants.contains(&failure.invariant), "{mutation:?} is found by chance: {failure}");
}

const LOST: &str = "acknowledged is never lost";
const SEEN: &str = "what was seen stays";
const KEPT: &str = "written outlives a kill, flushed outlives the power";
const ONCE: &str = "idempotent records are there once and in order";
const METADATA: &str = "metadata outlives any crash";
const READS: &str = "a log reads back";
const COMPACTED: &str = "a compacted log equals the model";
const WHOLE: &str = "one whole log after every move";
const REASON: &str = "a partition fails for a reason";
const OFFSETS: &str = "no committed offset is lost";

#[test]
fn acknowledging_before_the_flush() {
    check(Mutation::AcknowledgeBeforeFlush, 60, &[LOST, SEEN, KEPT, READS, REASON]);
}

#[test]
fn skipping_the_flush() {
    check(Mutation::SkipFlush, 60, &[LOST, SEEN, KEPT, READS, REASON]);
}

#[test]
fn ignoring_syncs() {
    check(Mutation::IgnoreSync, 60, &[LOST, SEEN, KEPT, METADATA, REASON, "a node starts again"]);
}

#[test]
fn ignoring_syncs_of_metadata() {
    check(
        Mutation::IgnoreMetadataSync,
        60,
        &[METADATA, "a node starts again", "leader epochs never go back"],
    );
}

#[test]
fn forgetting_producers() {
    check(Mutation::ForgetProducers, 60, &[ONCE, "a producer that retries is not turned away"]);
}

#[test]
fn trusting_every_stop() {
    check(Mutation::TrustEveryStop, 60, &[READS, REASON, LOST, SEEN, ONCE, "offsets are dense"]);
}

#[test]
fn checkpointing_the_log_end() {
    check(Mutation::CheckpointLogEnd, 100, &[REASON, READS, LOST, SEEN, KEPT, "offsets are dense"]);
}

#[test]
fn reading_past_the_high_watermark() {
    check(Mutation::ReadPastHighWatermark, 150, &[SEEN, "a consumer misses nothing"]);
}

#[test]
fn counting_producer_ids_again() {
    check(Mutation::RecountProducerIds, 60, &["producer ids are handed out once"]);
}

#[test]
fn forgetting_sequences() {
    check(Mutation::ForgetSequences, 60, &[ONCE, "everybody is done some day"]);
}

#[test]
fn inventing_epochs() {
    // A log takes nothing under a lower epoch than it has: whoever produces waits for a better one.
    check(Mutation::InventEpochs, 60, &["leader epochs never go back", KEPT, "everybody is done some day"]);
}

#[test]
fn confirming_a_deletion_early() {
    check(Mutation::ConfirmDeletionEarly, 60, &[METADATA]);
}

#[test]
fn compacting_what_is_too_young() {
    check_in(Scene::Services, Mutation::IgnoreCompactionLag, 60, &[COMPACTED]);
}

#[test]
fn compacting_with_a_leaping_clock() {
    check_in(Scene::Services, Mutation::CleanWithALeapingClock, 60, &[COMPACTED]);
}

#[test]
fn ignoring_syncs_of_what_is_cleaned() {
    let found = [COMPACTED, READS, REASON, KEPT, LOST, SEEN];
    check_in(Scene::Services, Mutation::IgnoreCleanedSync, 100, &found);
}

#[test]
fn believing_half_a_copy() {
    check_in(Scene::Services, Mutation::BelieveHalfACopy, 60, &[KEPT, LOST, SEEN]);
}

#[test]
fn forgetting_moves() {
    check_in(Scene::Services, Mutation::ForgetMoves, 60, &[WHOLE]);
}

#[test]
fn answering_before_it_is_safe() {
    check_in(
        Scene::Services,
        Mutation::AnswerBeforeSafe,
        100,
        &[OFFSETS, "generations of a group never go back"],
    );
}

#[test]
fn stopping_to_load_early() {
    check_in(
        Scene::Services,
        Mutation::StopLoadingEarly,
        60,
        &[OFFSETS, "generations of a group never go back"],
    );
}

const COORDINATED: [&str; 5] = [
    "a partition has one owner in each generation",
    "generations of a group never go back",
    "no committed offset is lost",
    "an acknowledged commit is safe",
    "what is told as committed is safe",
];

#[test]
fn a_coordinator_that_answers_before_it_is_safe() {
    check_in(Scene::Coordinator, Mutation::AnswerBeforeSafe, 60, &COORDINATED);
}

#[test]
fn a_coordinator_that_stops_to_load_early() {
    check_in(Scene::Coordinator, Mutation::StopLoadingEarly, 60, &COORDINATED);
}

#[test]
fn a_coordinator_that_has_not_noticed_its_successor() {
    check_in(Scene::Coordinator, Mutation::KeepShard, 400, &COORDINATED);
}

#[test]
fn assigning_twice() {
    check_in(Scene::Services, Mutation::AssignTwice, 60, &["a partition has one owner in each generation"]);
}

const AGREED: &str = "what is agreed on stays";
const AGREES: &str = "everybody agrees some day";
const ANSWERED: &str = "what was answered is in every later image";
const ONE_LEADER: &str = "one leader in each term";
const IMAGES: &str = "images of one offset are equal";

#[test]
fn a_quorum_that_ignores_syncs() {
    let starts = "a controller starts again";
    check_in(
        Scene::Quorum,
        Mutation::IgnoreMetadataSync,
        60,
        &[AGREED, ANSWERED, ONE_LEADER, AGREES, starts],
    );
}

const TAKES: &str = "an observer takes what a leader sends";

#[test]
fn forgetting_a_vote() {
    // An observer may be the first that hears of both.
    check_in(Scene::Quorum, Mutation::ForgetVote, 400, &[ONE_LEADER, AGREED, TAKES]);
}

#[test]
fn believing_that_appends_arrive() {
    // A voter that is believed to have what it lacks is never sent it: it may also be the last one that has not agreed.
    check_in(Scene::Quorum, Mutation::BelieveAppendsArrive, 60, &[AGREED, ANSWERED, AGREES, IMAGES]);
}

#[test]
fn taking_a_wiped_voter_for_itself() {
    check_brokers(Mutation::TakeWipedForItself, 300, &[AGREED, ANSWERED, AGREES]);
}

const OBSERVED: &str = "an observer shows only what is agreed on";

#[test]
fn observing_the_log_end() {
    check_in(Scene::Quorum, Mutation::ObserveLogEnd, 100, &[OBSERVED, AGREED]);
}

#[test]
fn serving_any_log() {
    check_in(
        Scene::Quorum,
        Mutation::ServeAnyLog,
        400,
        &[AGREED, OBSERVED, TAKES, IMAGES, "logs are the same"],
    );
}

#[test]
fn showing_what_is_old() {
    check_in(Scene::Quorum, Mutation::ShowAtOnce, 100, &["an observer never goes back", ANSWERED]);
}

const IN_TIME: &str = "a broker that is heard of in time is not fenced";
const LEAVES: &str = "a broker that may stop leads nothing";
const CAUGHT_UP: &str = "a broker serves when it has seen its own registration";

// The lives of brokers and the coming of a replica take longer than elections do.
fn check_brokers(mutation: Mutation, seeds: u64, invariants: &[&str]) {
    check_for(Scene::Quorum, mutation, seeds, 4_000, invariants);
}

#[test]
fn keeping_the_sessions_of_the_controller_before() {
    check_brokers(Mutation::KeepSessions, 60, &[IN_TIME]);
}

#[test]
fn believing_old_heartbeats() {
    let stale = "the word of a process that was followed by another one does not count";
    check_brokers(Mutation::BelieveOldHeartbeats, 100, &[stale]);
}

#[test]
fn leading_when_fenced() {
    check_brokers(Mutation::LeadWhenFenced, 60, &["a broker leads what it is shown to lead"]);
}

#[test]
fn reusing_an_incarnation() {
    let own = "each process of a broker has an epoch of its own";
    let alone = "one process of a broker lives at a time";
    check_brokers(Mutation::ReuseIncarnation, 60, &[own, alone]);
}

#[test]
fn claiming_to_be_caught_up() {
    check_brokers(Mutation::ClaimToBeCaughtUp, 60, &[CAUGHT_UP]);
}

#[test]
fn leaving_before_others_lead() {
    check_brokers(Mutation::LeaveAtOnce, 300, &[LEAVES]);
}

#[test]
fn answering_before_the_quorum_agrees() {
    check_brokers(Mutation::AnswerBeforeAgreed, 200, &[ANSWERED]);
}

#[test]
fn letting_any_process_join() {
    let joins = "who joins the in-sync set has fetched in this life";
    check_brokers(Mutation::LetAnyProcessJoin, 200, &[joins]);
}

#[test]
fn saying_nothing_of_a_full_directory() {
    check_brokers(Mutation::SayNothingOfRoom, 60, &["everybody agrees some day"]);
}

const ATOMIC: &str = "a transaction is atomic over its partitions";
const DECIDED: &str = "an answered commit is never undone";
const FENCED: &str = "epochs fence";
const STABLE: &str = "the last stable offset never sticks";
const TOGETHER: &str = "offsets and output commit together";
const UNCOMMITTED: &str = "no aborted record is seen";
const DONE: &str = "everybody is done some day";

fn check_transactions(mutation: Mutation, seeds: u64, invariants: &[&str]) {
    check_in(Scene::Transactions, mutation, seeds, invariants);
}

#[test]
fn answering_an_end_before_it_is_decided() {
    check_transactions(Mutation::EndBeforeDecided, 60, &[DECIDED, UNCOMMITTED, TOGETHER]);
}

#[test]
fn acting_on_an_end_before_it_is_safe() {
    // What is lost may be the decision, or a marker that was believed to be there.
    check_transactions(Mutation::AnswerBeforeSafe, 100, &[DECIDED, STABLE, TOGETHER]);
}

#[test]
fn forgetting_what_was_prepared() {
    check_transactions(Mutation::ForgetPrepared, 60, &[STABLE, DONE]);
}

#[test]
fn writing_without_verification() {
    check_transactions(Mutation::SkipVerification, 60, &[STABLE, FENCED]);
}

#[test]
fn keeping_the_epoch() {
    check_transactions(Mutation::KeepEpoch, 60, &[FENCED]);
}

#[test]
fn reading_past_the_last_stable_offset() {
    check_transactions(Mutation::ReadPastLastStable, 60, &[UNCOMMITTED]);
}

#[test]
fn forgetting_what_was_aborted() {
    check_transactions(Mutation::ForgetAborted, 60, &[UNCOMMITTED]);
}

#[test]
fn committing_offsets_at_once() {
    check_transactions(Mutation::CommitOffsetsAtOnce, 60, &[TOGETHER]);
}

#[test]
fn never_timing_out() {
    check_transactions(Mutation::NeverTimeOut, 60, &[STABLE]);
}

#[test]
fn marking_twice() {
    check_transactions(Mutation::MarkTwice, 200, &[ATOMIC, UNCOMMITTED, DECIDED]);
}
