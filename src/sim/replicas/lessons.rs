//! What others have paid for (KAFKA issues and KIPs), as mistakes that are put back around the lanes: each must be found, and by
//! the invariant that it breaks. Where no seed comes there soon a story goes there, and holds without the mistake.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_core::partition::Acks;

use super::serving::How;
use super::story::Story;
use super::trouble::Plan;
use crate::mutation::Mutation;
use crate::verdict::Violation;
use crate::{Run, Scene};

/// One mistake, and how it comes to light.
struct Lesson {
    from: &'static str,
    mistake: Mutation,
    found_by: FoundBy,
    /// What it may break.
    breaks: &'static [&'static str],
}

enum FoundBy {
    /// One of so many.
    Seeds(u64),
    Story(fn(&mut Story)),
}

use FoundBy::{Seeds, Story as Told};

const STEPS: u64 = 1_500;
const TIMES: u64 = 8;

const STAYS: &str = "what was safe stays";
const ACKNOWLEDGED: &str = "acknowledged is safe";
const SEEN: &str = "a consumer sees only what is safe";
const MISSES: &str = "a consumer misses nothing";
const IN_SYNC: &str = "everybody is in sync some day";
const SAME: &str = "replicas are the same";
const DENSE: &str = "offsets are dense";
const READS: &str = "a log reads back";
const ONCE: &str = "idempotent records are there once";
const REASON: &str = "a partition fails for a reason";
const OPENS: &str = "a log opens again";

#[rustfmt::skip]
const LESSONS: &[Lesson] = &[
    lesson("KIP-101", Mutation::TruncateToHighWatermark, Told(a_leader_that_ends_twice), &[STAYS]),
    lesson("KIP-101", Mutation::NeverCut, Seeds(60), &[IN_SYNC, SAME, STAYS]),
    lesson("KIP-279", Mutation::StopAtUnknownEpochs, Told(epochs_that_only_one_knows), &[STAYS]),
    lesson("KIP-320", Mutation::ServeAnyEpoch, Told(a_fetch_of_an_epoch_before), &[STAYS]),
    lesson("KIP-497", Mutation::BelieveFollowersAhead, Seeds(60), &[STAYS, ACKNOWLEDGED]),
    lesson("KIP-903", Mutation::BelieveOldBrokers, Told(a_fetch_of_a_process_before), &[STAYS]),
    lesson("KIP-497", Mutation::KeepEpochOfRefused, Told(a_proposal_that_comes_again), &[STAYS]),
    lesson("KIP-966", Mutation::LastMemberStays, Told(the_last_member_loses_its_power), &[STAYS]),
    lesson("KAFKA-15586", Mutation::AssumeCleanStops, Seeds(200), &[STAYS]),
    lesson("KAFKA-7164", Mutation::CompareWithNewLeadersOnly, Told(an_epoch_that_was_missed), &[STAYS]),
    lesson("KAFKA-7415", Mutation::ForgetEpochStarts, Told(an_epoch_without_records), &[STAYS]),
    lesson("KAFKA-10706", Mutation::KeepEpochsWithoutBytes, Seeds(1_000), &[IN_SYNC]),
    lesson("KAFKA-14704", Mutation::AdvanceBeforeCutting, Told(an_end_that_others_replaced), &[STAYS]),
    lesson("KAFKA-13207", Mutation::TakeAnyAnswer, Seeds(400), &[STAYS, SAME, IN_SYNC]),
    lesson("KAFKA-10101", Mutation::CheckpointLogEnd, Seeds(400), &[OPENS, STAYS, READS, REASON, DENSE, SAME, IN_SYNC]),
    lesson("KAFKA-10778", Mutation::IgnoreWriteErrors, Seeds(200), &[STAYS, READS, REASON, DENSE, SAME, IN_SYNC]),
    lesson("KAFKA-9835", Mutation::ReadPastHighWatermark, Seeds(60), &[SEEN]),
    lesson("KAFKA-13916", Mutation::LetFencedJoin, Seeds(60), &["a fenced broker does not join"]),
    lesson("KAFKA-9672", Mutation::LeadOldReplicasOnly, Seeds(60), &[IN_SYNC]),
    lesson("fsyncgate", Mutation::SkipFlush, Seeds(200), &[OPENS, STAYS]),
    lesson("answers wait for replicas", Mutation::AnswerWhenAppended, Seeds(60), &[ACKNOWLEDGED]),
    lesson("no gap at a segment's border", Mutation::SkipRestOfSegment, Seeds(60), &[MISSES, DENSE, SAME, STAYS]),
    lesson("followers know producers", Mutation::ForgetProducersOnFollowers, Seeds(200), &[ONCE]),
    lesson("markers wait for replicas", Mutation::CountMarkersEarly, Told(a_marker_that_one_has), &[COMMITTED]),
    lesson("KIP-227", Mutation::BelieveTold, Seeds(400), &[IN_SYNC]),
    lesson("KIP-841", Mutation::HearOfBrokersOnce, Seeds(60), &[IN_SYNC]),
    lesson("first the image, then answers", Mutation::BelieveOldNews, Seeds(60), &["a process acts on news of itself only"]),
];

const COMMITTED: &str = "a committed record has a marker that is safe";

const fn lesson(
    from: &'static str,
    mistake: Mutation,
    found_by: FoundBy,
    breaks: &'static [&'static str],
) -> Lesson {
    Lesson { from, mistake, found_by, breaks }
}

#[test]
fn every_lesson_is_found() {
    let mut wrong = Vec::new();
    for Lesson { from, mistake, found_by, breaks } in LESSONS {
        let (how, found) = match found_by {
            Seeds(seeds) => by_seed(*mistake, *seeds),
            Told(story) => {
                if let Some(broken) = tell(*story, None) {
                    wrong.push(format!("{from}: the story breaks without a mistake: {broken:?}"));
                }
                (String::from("its story"), tell(*story, Some(*mistake)))
            }
        };
        let Some(found) = found else {
            wrong.push(format!("{from}: {mistake:?} goes unnoticed by {how}"));
            continue;
        };
        println!("{from}: {mistake:?}: {how}: {}: {}", found.invariant, found.what);
        if !breaks.contains(&found.invariant) {
            wrong.push(format!("{from}: {mistake:?} is found by chance: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn by_seed(mistake: Mutation, seeds: u64) -> (String, Option<Violation>) {
    let run = |seed| Run { scene: Scene::Replicas, seed, steps: STEPS, mutation: Some(mistake) };
    match (0..seeds).find_map(|seed| run(seed).go().err()) {
        None => (format!("{seeds} seeds"), None),
        Some(failure) => {
            let found = Violation::new(failure.invariant, failure.what.clone());
            (format!("seed {}", failure.run.seed), Some(found))
        }
    }
}

// What breaks while it is told, a few times, since what a disk loses is chance. `None`: nothing.
fn tell(story: fn(&mut Story), mistake: Option<Mutation>) -> Option<Violation> {
    let broken = (0..TIMES).find_map(|chance| {
        let telling = || {
            let mut told = Story::of(Plan::quiet(3), chance, mistake);
            // By then every follower has a fetch under way.
            told.wait_ms(1_000);
            story(&mut told);
            told.ends();
        };
        catch_unwind(AssertUnwindSafe(telling)).err()
    })?;
    match broken.downcast::<Violation>() {
        Ok(violation) => Some(*violation),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().and_then(|text| text.lines().next());
            Some(Violation::new("the story goes as it is told", text.unwrap_or("it panics")))
        }
    }
}

// Its follower does not know yet what is safe, and leads before it has fetched again.
fn a_leader_that_ends_twice(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    story.send("a", one);
    story.wait_until_safe(1);
    story.part(one, two);
    story.part(one, third);
    story.cut(two, third);
    story.lead_instead(one, two);
    story.wait_ms(50);
    story.kill(two, 5_000);
    story.wait_ms(3_000);
    story.leads(third);
}

// The one that is asked has an epoch that is new to the other, and the other one that is new to it.
fn epochs_that_only_one_knows(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    story.produce("a");
    story.kill(third, 60_000);
    story.wait_until_in_sync([one, two]);
    for (from, to) in [(one, two), (two, one)] {
        story.lead_instead(from, to);
        story.heal();
        story.wait_until_in_sync([one, two]);
    }
    story.part(one, two);
    story.send("b", one);
    story.lead_instead(one, two);
    story.wait_ms(10);
    story.send_to_leader_alone("c", two);
    story.wait_until_log_ends(two, |end| end == 2);
    story.heal();
    story.part(one, two);
    story.lead_instead(two, one);
    story.heal();
    story.wait_until_in_sync([one, two]);
    story.wait_ms(100);
}

// Its follower has cut off since what the fetch says that it has.
fn a_fetch_of_an_epoch_before(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    story.produce("a");
    story.part(one, third);
    story.send("b", one);
    story.wait_until_in_sync([one, two]);
    story.heal();
    story.cut_to_controller(one);
    story.part(one, two);
    story.send("c", one);
    story.wait_until_log_ends(third, |end| end == 3);
    let late = story.fetch_of(third);
    story.lead_instead(one, two);
    story.heal();
    story.part(one, two);
    story.cut_to_controller(two);
    story.wait_until_log_ends(third, |end| end == 2);
    story.lead_instead(two, one);
    story.cut(third, one);
    story.wait_ms(5);
    story.hears(one, late);
    story.wait_ms(100);
    story.kill(one, 5_000);
    story.heal();
    story.wait_ms(3_000);
}

// The machine that it comes from has lost what the fetch says that it has.
fn a_fetch_of_a_process_before(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    for record in ["a", "b", "c", "d"] {
        story.produce(record);
    }
    let late = story.fetch_of(third);
    story.part(one, third);
    story.lose_power(third, 2_000);
    story.wait_until_in_sync([one, two]);
    story.wait_ms(5_000);
    story.hears(one, late);
    story.wait_ms(50);
    story.kill(one, 5_000);
    story.kill(two, 5_000);
    story.wait_ms(3_000);
}

// The others were not in sync, but have it.
fn the_last_member_loses_its_power(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    for record in ["a", "b", "c", "d"] {
        story.produce(record);
    }
    story.kill(third, 8_000);
    story.wait_until_in_sync([one, two]);
    story.kill(two, 8_000);
    story.wait_until_in_sync([one]);
    story.lose_power(one, 1_000);
    story.wait_ms(12_000);
}

// What it names may not join, and may when the same proposal comes once more: it lacks what its leader has promised meanwhile.
fn a_proposal_that_comes_again(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    story.cut(one, third);
    story.cut_to_controller(third);
    story.wait_until_in_sync([one, two]);
    let proposal = story.proposal([one, two, third]);
    story.controller_hears(proposal.clone());
    story.wait_ms(100);
    story.produce("a");
    story.heal();
    story.cut(one, third);
    story.wait_ms(300);
    story.controller_hears(proposal);
    story.wait_ms(100);
    story.kill(one, 3_000);
    story.kill(two, 3_000);
    story.wait_ms(2_000);
}

// Its leader's high watermark is above where the two logs part.
fn an_end_that_others_replaced(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    story.produce("a");
    story.part(one, two);
    story.part(one, third);
    story.send("b", one);
    story.lead_instead(one, two);
    story.wait_ms(300);
    story.produce("c");
    story.heal();
    story.wait_ms(1_000);
    story.log(one, ["a", "c"]);
}

// It hears of an epoch in which its leader has cut off what it has, when the next one with the same leader has begun.
fn an_epoch_that_was_missed(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    story.produce("a");
    story.part(one, two);
    story.send("b", one);
    story.wait_until_log_ends(third, |end| end == 2);
    story.cut_from_controller(third);
    story.lead_instead(one, two);
    story.heal();
    story.cut_from_controller(third);
    story.wait_until_in_sync([one, two]);
    story.lead_instead(two, one);
    story.wait_ms(10);
    story.send_to_leader_alone("c", one);
    story.wait_until_log_ends(one, |end| end == 2);
    story.heal();
    story.wait_ms(3_000);
}

// Its leader is asked for an epoch before it has written anything, by one that knows of nothing that is safe yet.
fn an_epoch_without_records(story: &mut Story) {
    let (one, [two, third]) = (story.leader(), story.followers());
    story.send("a", one);
    story.wait_until_safe(1);
    for (from, to) in [(one, two), (one, third), (two, third)] {
        story.part(from, to);
    }
    story.lead_instead(one, two);
    story.wait_ms(10);
    story.send("b", two);
    story.wait_until_log_ends(two, |end| end == 2);
    story.lead_instead(two, third);
    story.heal();
    story.part(one, two);
    story.part(one, third);
    story.wait_until_log_ends(two, |end| end < 2);
    story.part(two, third);
    story.kill(third, 5_000);
    story.wait_ms(3_000);
}

fn a_marker_that_one_has(story: &mut Story) {
    let (leader, [one, other]) = (story.leader(), story.followers());
    story.send_as("a", leader, Acks::All, How::InTransaction);
    story.wait_ms(100);
    story.is_acknowledged("a");
    story.committed(leader, []);
    story.part(leader, one);
    story.part(leader, other);
    story.commit("a", leader);
    story.wait_until_log_ends(leader, |end| end == 2);
    story.committed(leader, []);
    story.heal();
    story.wait_ms(500);
    story.committed(leader, ["a"]);
}
