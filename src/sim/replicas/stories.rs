//! What replicas do in trouble, told one step at a time. The seeds find what nobody thought of; these say what is meant.

use ottla_core::partition::Acks;
use ottla_protocol::ErrorCode;

use super::Plan;
use super::serving::How;
use super::story::Story;

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing() {
    let mut story = Story::of_three();
    let old = story.leader();
    story.produce("a");
    story.isolate(old);
    story.send("b", old);
    story.wait_ms(3_000);
    story.is_not_acknowledged("b");
    story.does_not_lead(old);
    story.produce("c");
    story.heal();
    story.every_log(["a", "c"]);
}

#[test]
fn a_record_that_one_replica_has_is_not_seen() {
    let mut story = Story::of_three();
    let (leader, [one, other]) = (story.leader(), story.followers());
    story.cut(leader, one);
    story.cut(leader, other);
    story.send("a", leader);
    story.wait_ms(300);
    story.log(leader, ["a"]);
    story.readable(leader, []);
    story.is_not_acknowledged("a");
    story.heal();
    story.every_log(["a"]);
    story.is_acknowledged("a");
}

#[test]
fn a_paused_leader_that_wakes_is_fenced() {
    let mut story = Story::of_three();
    let old = story.leader();
    story.produce("a");
    story.pause(old, 4_000);
    story.send("b", old);
    story.wait_ms(3_000);
    story.does_not_lead(old);
    story.produce("c");
    story.wait_ms(3_000);
    story.is_not_acknowledged("b");
    story.every_log(["a", "c"]);
}

#[test]
fn a_follower_that_lost_what_it_had_not_flushed_catches_up() {
    let mut story = Story::of_three();
    let (leader, [follower, _]) = (story.leader(), story.followers());
    story.produce("a");
    story.produce("b");
    story.lose_power(follower, 2_000);
    story.wait_ms(1_500);
    story.produce("c");
    story.leads(leader);
    story.every_log(["a", "b", "c"]);
}

#[test]
fn a_follower_that_stands_still_leaves_the_in_sync_set_and_comes_back() {
    let mut story = Story::of_three();
    let (leader, [slow, other]) = (story.leader(), story.followers());
    story.pause(slow, 5_000);
    story.send("a", leader);
    story.wait_ms(300);
    story.is_not_acknowledged("a");
    story.wait_ms(2_000);
    story.in_sync([leader, other]);
    story.is_acknowledged("a");
    story.every_log(["a"]);
}

#[test]
fn a_leader_without_enough_replicas_takes_nothing() {
    let mut story = Story::of_three();
    let (leader, [one, other]) = (story.leader(), story.followers());
    story.kill(one, 8_000);
    story.kill(other, 8_000);
    story.wait_ms(4_000);
    story.in_sync([leader]);
    story.send("a", leader);
    story.wait_ms(300);
    story.is_refused("a", ErrorCode::NotEnoughReplicas);
    story.every_log([]);
}

#[test]
fn a_killed_leader_leaves_behind_what_nobody_else_has() {
    let mut story = Story::of_three();
    let (old, [one, other]) = (story.leader(), story.followers());
    story.produce("a");
    story.cut(old, one);
    story.cut(old, other);
    story.send("b", old);
    story.wait_ms(100);
    story.log(old, ["a", "b"]);
    story.kill(old, 3_000);
    story.heal();
    story.wait_ms(2_500);
    story.does_not_lead(old);
    story.produce("c");
    story.every_log(["a", "c"]);
}

#[test]
fn replicas_that_flush_lose_nothing_when_all_power_goes() {
    let mut story = Story::of_three_that_flush();
    story.produce("a");
    story.produce("b");
    story.lose_all_power();
    story.every_log(["a", "b"]);
    story.produce("c");
    story.every_log(["a", "b", "c"]);
}

#[test]
fn a_leader_that_hears_no_heartbeat_answer_leads_on() {
    let mut story = Story::of_three();
    let leader = story.leader();
    story.cut_from_controller(leader);
    story.wait_ms(5_000);
    story.produce("a");
    story.leads(leader);
    story.heal();
    story.every_log(["a"]);
}

#[test]
fn the_last_in_sync_replica_is_waited_for() {
    let mut story = Story::of_three();
    let (leader, [one, other]) = (story.leader(), story.followers());
    story.produce("a");
    story.lose_power(one, 3_000);
    story.wait_ms(2_500);
    story.in_sync([leader, other]);
    story.produce("b");
    story.every_log(["a", "b"]);
}

#[test]
fn a_follower_that_was_away_begins_at_its_leaders_start() {
    // KAFKA-9491: the high watermark begins there, too.
    let mut story = Story::with(|plan| plan.segment_bytes = 100, None);
    let (leader, [away, _]) = (story.leader(), story.followers());
    story.produce("a");
    story.part(leader, away);
    story.send("b", leader);
    story.wait_ms(2_500);
    story.is_acknowledged("b");
    for record in ["c", "d", "e"] {
        story.produce(record);
    }
    story.delete_records();
    story.wait_ms(2_000);
    story.log(leader, []);
    story.heal();
    story.every_log([]);
    story.produce("f");
    story.every_log(["f"]);
}

#[test]
fn a_leader_that_stopped_cleanly_comes_back_with_all_that_it_had() {
    let mut story = Story::of_three();
    let (leader, [one, other]) = (story.leader(), story.followers());
    story.produce("a");
    story.kill(one, 30_000);
    story.kill(other, 30_000);
    story.wait_ms(4_000);
    story.in_sync([leader]);
    story.stop(leader, 1_000);
    story.wait_ms(4_000);
    story.in_sync([leader]);
    story.leads(leader);
    story.every_log(["a"]);
}

#[test]
fn a_producer_that_asks_the_next_leader_again_is_stored_once() {
    let mut story = Story::with(|plan| plan.idempotent = true, None);
    let (old, [one, other]) = (story.leader(), story.followers());
    story.send_as("a", old, Acks::All, How::Idempotently { epoch: 0, sequence: 0 });
    story.wait_until_safe(1);
    story.kill(old, 3_000);
    story.wait_ms(2_000);
    story.does_not_lead(old);
    let next = story.leader();
    story.send_again("a", next);
    story.wait_ms(100);
    story.is_acknowledged("a");
    story.log(one, ["a"]);
    story.every_log(["a"]);
    story.log(other, ["a"]);
}

#[test]
fn a_replica_to_which_nothing_is_written_is_in_sync_again_after_it_was_fenced() {
    let mut story = Story::with(|plan| plan.sessions = true, None);
    let (leader, [slow, other]) = (story.leader(), story.followers());
    story.produce("a");
    for _ in 0..3 {
        story.pause(slow, 4_000);
        story.wait_until_in_sync([leader, other]);
        story.wait_ms(4_500);
        story.in_sync([leader, slow, other]);
    }
    // It comes back to records that were written without it, and to no others.
    story.pause(slow, 4_000);
    story.wait_until_in_sync([leader, other]);
    story.produce("b");
    story.wait_ms(4_500);
    story.in_sync([leader, slow, other]);
    story.every_log(["a", "b"]);
}

#[test]
fn all_that_were_fenced_at_once_are_in_sync_again() {
    let mut story = Story::with(|plan| plan.sessions = true, None);
    let (leader, [one, other]) = (story.leader(), story.followers());
    story.produce("a");
    story.pause(one, 4_000);
    story.pause(other, 4_000);
    story.wait_until_in_sync([leader]);
    story.wait_ms(5_000);
    story.in_sync([leader, one, other]);
    story.leads(leader);
}

#[test]
fn what_a_leader_from_before_the_last_resort_counts_as_safe_is_not_promised() {
    let one_is_enough = |plan: &mut Plan| plan.min_insync_replicas = 1;
    let mut story = Story::with(one_is_enough, None);
    let (leader, [one, other]) = (story.leader(), story.followers());
    story.kill(other, 60_000);
    story.wait_until_in_sync([leader, one]);
    story.send("a", leader);
    story.wait_until_log_ends(one, |end| end == 1);
    story.pause(leader, 12_000);
    story.wait_until_in_sync([one]);
    story.lose_power(one, 5_000);
    story.wait_until_log_ends(one, |end| end == 0);
    story.wait_ms(4_000);
    story.leads(one);
    story.produce("b");
    story.readable(one, ["b"]);
    story.every_log(["b"]);
}
