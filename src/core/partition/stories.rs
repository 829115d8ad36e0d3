//! What a leader and its followers know of each other, told with three replicas. Node 1 leads.

use super::*;

const LAG_MS: i64 = 30_000;
const NONE: LeaderEpoch = LeaderEpoch(-1);

/// A leader with a log end, all of it safe, at some time.
struct Stage {
    leader: Leader,
    log_end: i64,
    now_ms: i64,
    min_isr: i32,
}

impl Stage {
    fn new(replicas: &[i32], isr: &[i32]) -> Stage {
        let leadership = leadership(3, 10, replicas, isr);
        let leader = Leader::new(NodeId(1), leadership, 0, 0, 0);
        Stage { leader, log_end: 0, now_ms: 0, min_isr: 1 }
    }

    fn ends(&self) -> LogEnds {
        LogEnds { log_end: self.log_end, safe_end: self.log_end }
    }

    fn timing(&self) -> Timing {
        Timing { now_ms: self.now_ms, lag_time_max_ms: LAG_MS, min_insync_replicas: self.min_isr }
    }

    fn high_watermark(&mut self) -> i64 {
        self.leader.advance(self.ends(), self.timing())
    }

    fn fetch(&self, replica: i32, log_end: i64) -> Fetched {
        Fetched {
            replica: NodeId(replica),
            believed: LeaderEpoch(3),
            log_end,
            log_start: 0,
            broker_epoch: 100,
            standing: Standing { broker_epoch: Some(100), shutting_down: false },
            leader_end: self.log_end,
            at_ms: self.now_ms,
        }
    }

    /// Returns the in-sync set that the leader proposes, if any.
    fn fetched(&mut self, replica: i32, log_end: i64) -> Option<Vec<i32>> {
        let fetched = self.fetch(replica, log_end);
        self.leader.fetched(&fetched).expect("a replica's fetch").as_ref().map(members)
    }

    fn let_join(&mut self) -> Option<Proposal> {
        self.leader.let_join(self.ends(), self.timing())
    }

    fn let_go(&mut self) -> Option<Proposal> {
        self.leader.let_go_of_the_late(self.ends(), self.timing())
    }

    /// The controller makes the proposed change.
    fn agrees(&mut self, proposal: Proposal) {
        let isr = proposal.isr.iter().map(|member| member.replica).collect();
        let outcome = Ok((LeaderEpoch(3), proposal.partition_epoch + 1, isr));
        assert_eq!(self.leader.answered(IsrAnswer { proposal, outcome }, self.now_ms), None);
    }
}

fn leadership(epoch: i32, partition_epoch: i32, replicas: &[i32], isr: &[i32]) -> Leadership {
    let nodes = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect();
    Leadership { epoch: LeaderEpoch(epoch), partition_epoch, replicas: nodes(replicas), isr: nodes(isr) }
}

fn members(proposal: &Proposal) -> Vec<i32> {
    proposal.isr.iter().map(|member| member.replica.0).collect()
}

#[test]
fn a_sole_replica_is_as_safe_as_its_own_log() {
    let mut stage = Stage::new(&[1], &[1]);
    stage.log_end = 7;
    assert_eq!(stage.high_watermark(), 7);
    stage.log_end = 5;
    assert_eq!(stage.high_watermark(), 7, "the high watermark never moves back");
}

#[test]
fn the_slowest_in_sync_replica_holds_the_high_watermark() {
    let mut stage = Stage::new(&[1, 2, 3], &[1, 2, 3]);
    stage.log_end = 9;
    stage.fetched(2, 5);
    assert_eq!(stage.high_watermark(), 0, "nothing is known of node 3");
    stage.fetched(3, 4);
    assert_eq!(stage.high_watermark(), 4);
    assert!(stage.leader.lead(leadership(3, 11, &[1, 2, 3], &[1, 2]), 9, 0));
    stage.now_ms = LAG_MS + 1;
    assert_eq!(stage.high_watermark(), 5, "node 3 has left the in-sync set");
    assert!(!stage.leader.lead(leadership(3, 10, &[1, 2, 3], &[1]), 9, 0), "older than what is known");
    assert_eq!(stage.high_watermark(), 5);
}

#[test]
fn what_is_not_flushed_yet_holds_the_high_watermark_too() {
    let mut stage = Stage::new(&[1, 2], &[1, 2]);
    stage.log_end = 9;
    stage.fetched(2, 9);
    let ends = LogEnds { log_end: 9, safe_end: 6 };
    assert_eq!(stage.leader.advance(ends, stage.timing()), 6);
}

#[test]
fn the_high_watermark_waits_while_too_few_are_in_sync() {
    let mut stage = Stage::new(&[1, 2, 3], &[1]);
    (stage.min_isr, stage.log_end) = (2, 9);
    assert_eq!(stage.high_watermark(), 0);
    assert_eq!(stage.fetched(2, 9), Some(vec![1, 2]));
    assert_eq!(stage.high_watermark(), 0, "not before the controller has said so");
    stage.leader.lead(leadership(3, 11, &[1, 2, 3], &[1, 2]), 9, 0);
    assert_eq!(stage.high_watermark(), 9);
}

#[test]
fn whoever_could_not_join_when_it_fetched_joins_without_another_fetch() {
    let mut stage = Stage::new(&[1, 2, 3], &[1]);
    let first = stage.leader.fetched(&stage.fetch(2, 0)).expect("a replica's fetch").expect("it joins");
    assert_eq!(stage.fetched(3, 0), None, "one proposal at a time");
    assert_eq!(stage.let_join(), None);
    stage.agrees(first);
    let next = stage.let_join().expect("node 3 has everything");
    assert_eq!(members(&next), [1, 2, 3]);
    stage.agrees(next);
    assert_eq!(stage.let_join(), None, "all are in sync");

    let mut stage = Stage::new(&[1, 2], &[1]);
    let standing = Standing { broker_epoch: None, shutting_down: false };
    let fenced = Fetched { standing, ..stage.fetch(2, 0) };
    assert_eq!(stage.leader.fetched(&fenced), Ok(None));
    assert_eq!(stage.let_join(), None, "fenced");
    stage.leader.stands(NodeId(2), Standing { broker_epoch: Some(100), shutting_down: false });
    assert_eq!(stage.let_join().as_ref().map(members), Some(vec![1, 2]));
}

#[test]
fn whoever_was_let_go_has_to_fetch_before_it_joins_again() {
    let mut stage = Stage::new(&[1, 2], &[1, 2]);
    stage.min_isr = 2;
    stage.fetched(2, 0);
    stage.log_end = 5;
    stage.now_ms = LAG_MS + 1;
    let late = stage.let_go().expect("node 2 is late");
    stage.agrees(late);
    assert_eq!(stage.high_watermark(), 0, "too few are in sync, so it waits");
    assert_eq!(stage.let_join(), None, "node 2 has everything that is safe, and is late");
    assert_eq!(stage.fetched(2, 5), Some(vec![1, 2]));
}

#[test]
fn a_follower_joins_once_it_has_what_is_safe_and_was_there_before_this_epoch() {
    let mut stage = Stage::new(&[1, 2, 3], &[1, 3]);
    stage.log_end = 10;
    stage.fetched(3, 6);
    assert_eq!(stage.high_watermark(), 6);
    assert_eq!(stage.fetched(2, 5), None, "below the high watermark");
    assert_eq!(stage.fetched(2, 6), Some(vec![1, 3, 2]), "the leader's end is not asked for");
    assert_eq!(stage.fetched(2, 10), None, "one proposal at a time");

    let mut stage = Stage::new(&[1, 2], &[1]);
    stage.leader = Leader::new(NodeId(1), leadership(3, 10, &[1, 2], &[1]), 5, 10, 0);
    stage.log_end = 10;
    assert_eq!(stage.fetched(2, 9), None, "records below the start of the epoch may be safe elsewhere");
    assert_eq!(stage.fetched(2, 10), Some(vec![1, 2]));
}

#[test]
fn only_a_live_broker_in_its_present_life_may_join() {
    let standing = |broker_epoch, shutting_down| Standing { broker_epoch, shutting_down };
    let rows = [
        (100, standing(Some(100), false), Ok(true)),
        (-1, standing(Some(100), false), Ok(true)),
        (100, standing(Some(100), true), Ok(false)),
        (100, standing(None, false), Ok(false)),
        (101, standing(Some(100), false), Ok(false)),
        (99, standing(Some(100), false), Err(ErrorCode::NotLeaderOrFollower)),
    ];
    for (broker_epoch, standing, expected) in rows {
        let mut stage = Stage::new(&[1, 2], &[1]);
        let fetched = Fetched { broker_epoch, standing, ..stage.fetch(2, 0) };
        let outcome = stage.leader.fetched(&fetched).map(|proposal| proposal.is_some());
        assert_eq!(outcome, expected, "{broker_epoch} {standing:?}");
    }
}

#[test]
fn strangers_and_other_epochs_are_sent_away() {
    let rows = [
        (2, LeaderEpoch(3), Ok(())),
        (2, NONE, Ok(())),
        (2, LeaderEpoch(2), Err(ErrorCode::FencedLeaderEpoch)),
        (2, LeaderEpoch(4), Err(ErrorCode::UnknownLeaderEpoch)),
        (9, LeaderEpoch(3), Err(ErrorCode::UnknownLeaderEpoch)),
        (9, NONE, Err(ErrorCode::NotLeaderOrFollower)),
        (1, LeaderEpoch(3), Err(ErrorCode::UnknownLeaderEpoch)),
    ];
    for (replica, believed, expected) in rows {
        let mut stage = Stage::new(&[1, 2], &[1, 2]);
        let fetched = Fetched { believed, ..stage.fetch(replica, 0) };
        assert_eq!(stage.leader.fetched(&fetched).map(drop), expected, "{replica} {believed:?}");
    }
}

#[test]
fn a_member_that_is_late_is_let_go() {
    let mut stage = Stage::new(&[1, 2, 3], &[1, 2, 3]);
    stage.log_end = 10;
    stage.fetched(2, 10);
    stage.now_ms = LAG_MS;
    assert_eq!(stage.let_go(), None, "who is in sync has that long to show it");
    stage.now_ms = LAG_MS + 1;
    let proposal = stage.let_go().expect("node 3 never fetched");
    assert_eq!(members(&proposal), [1, 2]);
    assert_eq!(stage.let_go(), None, "one proposal at a time");
    assert_eq!(stage.high_watermark(), 0, "node 3 counts until the controller has answered");
    stage.agrees(proposal);
    assert_eq!(stage.high_watermark(), 10);
    stage.now_ms *= 100;
    assert_eq!(stage.let_go(), None, "node 2 has all that there is");
}

#[test]
fn a_member_that_is_always_a_little_behind_is_not_late() {
    let mut stage = Stage::new(&[1, 2], &[1, 2]);
    for second in 1..100 {
        // It asks for what was the log end at its previous fetch.
        let behind = stage.log_end;
        (stage.log_end, stage.now_ms) = (second * 10, second * 1_000);
        stage.fetched(2, behind);
        assert_eq!(stage.let_go(), None, "second {second}");
    }
    // One that falls further behind each time is.
    for second in 100..200 {
        (stage.log_end, stage.now_ms) = (second * 10, second * 1_000);
        stage.fetched(2, 990 + (second - 100));
    }
    assert!(stage.let_go().is_some());
}

#[test]
fn a_follower_that_is_about_to_join_is_waited_for() {
    let mut stage = Stage::new(&[1, 2], &[1]);
    stage.log_end = 10;
    stage.fetched(2, 10);
    // It has not joined yet, since the proposal is pending; the log grows.
    stage.log_end = 20;
    assert_eq!(stage.high_watermark(), 10);
    let mut stage = Stage::new(&[1, 2], &[1]);
    (stage.log_end, stage.now_ms) = (10, 1_000_000);
    assert_eq!(stage.high_watermark(), 10);
    stage.fetched(2, 3);
    stage.log_end = 20;
    assert_eq!(stage.high_watermark(), 20, "one that is far behind is not");
}

#[test]
fn a_fenced_broker_is_not_waited_for() {
    let mut stage = Stage::new(&[1, 2], &[1]);
    stage.log_end = 10;
    let proposal = stage.leader.fetched(&stage.fetch(2, 10)).unwrap().unwrap();
    // Another refusal says nothing of the replica.
    stage.leader.answered(IsrAnswer { proposal, outcome: Err(ErrorCode::OperationNotAttempted) }, 0);
    stage.log_end = 20;
    assert_eq!(stage.high_watermark(), 10, "it had everything a moment ago");
    stage.leader.stands(NodeId(2), Standing { broker_epoch: None, shutting_down: false });
    assert_eq!(stage.high_watermark(), 20);
}

#[test]
fn who_was_turned_away_asks_again_later() {
    let mut stage = Stage::new(&[1, 2], &[1]);
    let refused = |proposal| IsrAnswer { proposal, outcome: Err(ErrorCode::IneligibleReplica) };
    let turned_away = |stage: &mut Stage| {
        let proposal =
            stage.leader.fetched(&stage.fetch(2, stage.log_end)).unwrap().expect("it has everything");
        assert_eq!(stage.leader.answered(refused(proposal), stage.now_ms), None);
    };
    turned_away(&mut stage);
    assert_eq!((stage.fetched(2, 0), stage.let_join()), (None, None), "it would be the same proposal again");
    // Where nothing is written, time has to do: nobody tells the leader that the other one has room, for example.
    stage.now_ms = 999;
    assert_eq!(stage.let_join(), None);
    stage.now_ms = 1_000;
    let proposal = stage.let_join().expect("a second has passed");
    stage.leader.answered(refused(proposal), 1_000);

    // It has written something since.
    stage.log_end = 5;
    assert_eq!(
        stage.high_watermark(),
        0,
        "it was caught up a moment ago, and the proposal may come a second time"
    );
    assert_eq!(stage.fetched(2, 5), Some(vec![1, 2]));

    // It waits twice as long each time, and half a minute at most.
    let mut stage = Stage::new(&[1, 2], &[1]);
    let standing = Standing { broker_epoch: Some(100), shutting_down: false };
    turned_away(&mut stage);
    for pause_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000] {
        stage.now_ms += pause_ms - 1;
        stage.leader.stands(NodeId(2), standing);
        assert_eq!(stage.let_join(), None, "nothing new was heard of it in {pause_ms} ms");
        stage.now_ms += 1;
        let proposal = stage.let_join().expect("that time has passed");
        stage.leader.answered(refused(proposal), stage.now_ms);
    }

    // What the metadata says of its broker is new.
    let mut stage = Stage::new(&[1, 2], &[1]);
    turned_away(&mut stage);
    stage.leader.stands(NodeId(2), Standing { broker_epoch: None, ..standing });
    stage.leader.stands(NodeId(2), standing);
    assert!(stage.let_join().is_some());
}

#[test]
fn the_controllers_answer_decides_what_becomes_of_a_proposal() {
    use ErrorCode::*;
    // Whether the proposal is sent again at once, and whether another proposal may follow.
    let rows = [
        (OperationNotAttempted, false, true),
        (IneligibleReplica, false, true),
        (FencedLeaderEpoch, false, false),
        (InvalidUpdateVersion, false, false),
        (InvalidRequest, false, false),
        (UnknownTopicId, false, false),
        (UnknownTopicOrPartition, false, false),
        (NewLeaderElected, false, false),
        (NotController, true, false),
        (RequestTimedOut, true, false),
    ];
    for (code, again, free) in rows {
        let mut stage = Stage::new(&[1, 2, 3], &[1]);
        let proposal = stage.leader.fetched(&stage.fetch(2, 0)).unwrap().unwrap();
        let answer = IsrAnswer { proposal: proposal.clone(), outcome: Err(code) };
        assert_eq!(stage.leader.answered(answer, 0), again.then_some(proposal), "{code:?}");
        assert_eq!(stage.fetched(3, 0).is_some(), free, "{code:?}");
    }
}

#[test]
fn what_was_answered_comes_again_with_the_metadata_and_the_next_proposal_stays() {
    let mut stage = Stage::new(&[1, 2, 3], &[1]);
    let first = stage.leader.fetched(&stage.fetch(2, 0)).unwrap().unwrap();
    stage.agrees(first);
    let next = stage.leader.fetched(&stage.fetch(3, 0)).unwrap().expect("node 3 has everything, too");
    stage.leader.lead(leadership(3, next.partition_epoch, &[1, 2, 3], &[1, 2]), 0, 0);
    stage.log_end = 5;
    assert_eq!(stage.fetched(2, 5), None, "one proposal at a time");
    stage.now_ms = LAG_MS + 1;
    assert_eq!(stage.high_watermark(), 0, "node 3 may be in sync by now");
    stage.agrees(next);
    stage.fetched(3, 5);
    assert_eq!(stage.high_watermark(), 5);
}

#[test]
fn an_answer_to_what_is_over_changes_nothing() {
    let mut stage = Stage::new(&[1, 2], &[1]);
    stage.log_end = 5;
    let proposal = stage.leader.fetched(&stage.fetch(2, 5)).unwrap().unwrap();
    assert!(stage.leader.lead(leadership(3, 12, &[1, 2], &[1]), 5, 0), "the metadata came first");
    stage.agrees(proposal);
    assert_eq!(stage.leader.partition_epoch(), 12);
    assert_eq!(stage.leader.accepts(Acks::All, 2), Err(ErrorCode::NotEnoughReplicas));
}

#[test]
fn a_proposal_says_in_which_life_its_members_fetched() {
    let mut stage = Stage::new(&[1, 2, 3], &[1, 3]);
    let proposal = stage.leader.fetched(&stage.fetch(2, 0)).unwrap().unwrap();
    let said: Vec<_> = proposal.isr.iter().map(|member| (member.replica.0, member.broker_epoch)).collect();
    assert_eq!(said, [(1, None), (3, None), (2, Some(100))]);
    assert_eq!((proposal.leader_epoch, proposal.partition_epoch), (LeaderEpoch(3), 10));
}

#[test]
fn another_epoch_gives_members_their_time_again() {
    let mut stage = Stage::new(&[1, 2, 3], &[1, 2]);
    stage.log_end = 10;
    stage.now_ms = 10 * LAG_MS;
    stage.leader.lead(leadership(4, 11, &[1, 2, 3], &[1, 2]), 10, stage.now_ms);
    assert_eq!(stage.let_go(), None);
    stage.now_ms += LAG_MS + 1;
    assert_eq!(members(&stage.let_go().unwrap()), [1]);
}

#[test]
fn epochs_fence_in_both_directions() {
    let rows = [
        (-1, Ok(())),
        (4, Ok(())),
        (3, Err(ErrorCode::FencedLeaderEpoch)),
        (5, Err(ErrorCode::UnknownLeaderEpoch)),
    ];
    for (believed, expected) in rows {
        assert_eq!(fence(LeaderEpoch(4), LeaderEpoch(believed)), expected, "epoch {believed}");
    }
}

#[test]
fn min_isr_counts_for_acks_all_and_never_beyond_the_replicas() {
    use ErrorCode::{NotEnoughReplicas, NotEnoughReplicasAfterAppend};
    let rows = [
        (&[1][..], &[1][..], 2, Acks::All, Ok(()), Ok(())),
        (&[1, 2, 3], &[1], 2, Acks::All, Err(NotEnoughReplicas), Err(NotEnoughReplicasAfterAppend)),
        (&[1, 2, 3], &[1], 2, Acks::Leader, Ok(()), Err(NotEnoughReplicasAfterAppend)),
        (&[1, 2, 3], &[1, 3], 2, Acks::All, Ok(()), Ok(())),
    ];
    for (replicas, isr, min, acks, begins, ends) in rows {
        let leader = Stage::new(replicas, isr).leader;
        assert_eq!(leader.accepts(acks, min), begins, "{replicas:?} {isr:?} min {min} {acks:?}");
        assert_eq!(leader.acknowledges(min), ends, "{replicas:?} {isr:?} min {min}");
    }
}

#[test]
fn a_follower_believes_nobody_but_the_leader_of_its_epoch() {
    let following = |leader: Option<i32>| {
        let leader = leader.map(NodeId);
        Follower::new(Followership { epoch: LeaderEpoch(4), partition_epoch: 7, leader })
    };
    let rows = [
        (Some(2), 4, Ok(())),
        (Some(2), 3, Err(ErrorCode::FencedLeaderEpoch)),
        (Some(2), 5, Err(ErrorCode::UnknownLeaderEpoch)),
        (None, 4, Err(ErrorCode::NotLeaderOrFollower)),
    ];
    for (leader, epoch, expected) in rows {
        assert_eq!(following(leader).admits(LeaderEpoch(epoch)), expected, "{leader:?} {epoch}");
    }
}

#[test]
fn a_follower_cuts_where_the_logs_part() {
    let epoch = |epoch: i32, end: i64| (LeaderEpoch(epoch), end);
    // The leader's epoch and its end; the largest known epoch here and its end; the log end here; where it is truncated.
    let rows = [
        // Both have the epoch: the lower end counts.
        (epoch(2, 50), Some(epoch(2, 70)), 90, 50),
        (epoch(2, 50), Some(epoch(2, 40)), 90, 40),
        // The leader's epoch is unknown here: the epochs above the one before it are removed, and the next fetch narrows
        // it down.
        (epoch(3, 50), Some(epoch(1, 30)), 90, 30),
        (epoch(3, 20), Some(epoch(1, 30)), 90, 30),
        // No epoch here is that old.
        (epoch(0, 10), None, 90, 10),
        (epoch(0, 100), None, 90, 90),
    ];
    for (diverging, known, log_end, expected) in rows {
        let diverging = Diverging { epoch: diverging.0, end_offset: diverging.1 };
        assert_eq!(Follower::cut(diverging, known, log_end), expected, "{diverging:?} {known:?}");
    }
}

#[test]
fn what_is_deleted_is_deleted_on_every_replica_that_is_alive() {
    let mut stage = Stage::new(&[1, 2, 3], &[1, 2, 3]);
    stage.log_end = 9;
    assert_eq!(stage.leader.low_watermark(5), -1, "nothing is known of the others");
    let starting_at = |log_start| Fetched { log_start, ..stage.fetch(2, 9) };
    let (three, five) = (starting_at(3), starting_at(5));
    stage.leader.fetched(&three).expect("a replica's fetch");
    assert_eq!(stage.leader.low_watermark(5), -1, "nothing is known of node 3");
    stage.leader.stands(NodeId(3), Standing { broker_epoch: None, shutting_down: false });
    assert_eq!(stage.leader.low_watermark(5), 3);
    stage.leader.fetched(&five).expect("a replica's fetch");
    assert_eq!(stage.leader.low_watermark(5), 5);
    assert_eq!(stage.leader.readable(NodeId(2), 5), Some((9, 0)));
    assert_eq!(stage.leader.readable(NodeId(2), 4), None, "that is deleted there");
    assert_eq!(stage.leader.readable(NodeId(3), 5), None, "it has never fetched");
}

#[test]
fn a_follower_that_had_everything_when_the_log_grew_gets_its_time_from_then_on() {
    let mut stage = Stage::new(&[1, 2, 3], &[1, 2, 3]);
    stage.log_end = 5;
    stage.fetched(2, 5);
    stage.fetched(3, 4);
    // Nothing comes for a long time, and nobody fetches.
    stage.now_ms = 10 * LAG_MS;
    stage.leader.grows(5, stage.now_ms);
    stage.log_end = 6;
    assert_eq!(stage.let_go().as_ref().map(members), Some(vec![1, 2]), "node 3 never had all");
    let mut stage = Stage::new(&[1, 2], &[1, 2]);
    stage.fetched(2, 0);
    stage.leader.grows(0, 10 * LAG_MS);
    (stage.log_end, stage.now_ms) = (1, 11 * LAG_MS);
    assert_eq!(stage.let_go(), None);
    stage.now_ms += 1;
    assert_eq!(stage.let_go().as_ref().map(members), Some(vec![1]));
}

#[test]
fn what_was_heard_of_a_broker_is_newer_than_what_its_fetch_was_read_under() {
    let mut stage = Stage::new(&[1, 2], &[1]);
    let alive = Standing { broker_epoch: Some(100), shutting_down: false };
    stage.leader.stands(NodeId(2), alive);
    let fetched = Fetched { standing: Standing { broker_epoch: None, ..alive }, ..stage.fetch(2, 0) };
    assert!(stage.leader.fetched(&fetched).expect("a replica's fetch").is_some());
}
