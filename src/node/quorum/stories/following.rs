//! Members to which no leader speaks, and what they fetch by themselves.

use super::*;

const PORTIONS: Portions = Portions { fetch_bytes: 300, snapshot_bytes: 700 };

fn join(room: &mut Room, node: i32) {
    let mut member = Member::new(key(node), &[]);
    member.start();
    room.members.push(member);
}

/// One question, and its answer. Whether that has brought anything.
fn ask(room: &mut Room, node: i32, leader: i32) -> Result<bool, Refused> {
    let question = room.quorum(node).question(true, PORTIONS);
    assert!(room.quorum(node).still_asks(&question));
    let answer = match &question {
        Question::Fetch(fetch) => match room.quorum(leader).fetch(1_000, fetch) {
            Served::Answer(answer) | Served::NothingNew(answer) => Answer::Fetched(answer),
        },
        Question::FetchSnapshot(fetch) => Answer::Piece(room.quorum(leader).fetch_snapshot(fetch)),
    };
    let said = answer.leadership().clone();
    let before = room.quorum(node).epoch();
    room.quorum(node).hear_of_leader(said.leader.expect("it leads"), said.epoch)?;
    let came = room.quorum(node).hear_answer(NodeId(leader), said.epoch, answer)?;
    room.talk();
    Ok(came || said.epoch > before)
}

fn follow(room: &mut Room, node: i32, leader: i32) {
    for _ in 0..200 {
        if !ask(room, node, leader).expect("it fits") {
            return;
        }
    }
    panic!("node {node} never has everything");
}

#[test]
fn one_that_does_not_vote_has_everything_before_it_does() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..20).for_each(|_| room.propose(leader));
    room.ticks(3);
    join(&mut room, 4);
    assert!(room.quorum(4).is_unheard() && !room.quorum(leader).is_unheard());
    let (add, refused) = (VoterChange::Add(voter(4)), room.refused.len());
    assert_eq!(room.quorum(leader).check_voters(&add, 1_000), Err(ChangeRefused::Lagging));
    follow(&mut room, 4, leader);
    assert_eq!(room.topics(4), 20);
    assert_eq!(room.quorum(4).leader(), Some(NodeId(leader)));
    room.all_are_the_same();
    assert_eq!(room.refused.len(), refused, "it says nothing to the leader");
    let observers: Vec<ReplicaKey> =
        room.quorum(leader).observers(1_000).iter().map(|(key, _)| *key).collect();
    assert_eq!(observers, [key(4)]);
    assert_eq!(room.quorum(leader).check_voters(&add, 1_000), Ok(()));
    room.quorum(leader).change_voters(&add, 1_000).expect("one more");
    room.ticks(3);
    assert!(!room.quorum(4).is_unheard(), "the leader speaks to it now");
    assert_eq!(room.quorum(leader).observers(1_000), [], "it is a voter");
    room.kill(leader);
    let next = room.leader();
    room.propose(next);
    room.member(leader).start();
    room.ticks(5);
    room.all_are_the_same();
}

#[test]
fn a_log_that_has_parted_goes_back_and_on() {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    room.propose(old);
    room.ticks(3);
    join(&mut room, 4);
    room.isolate(old);
    // Nobody agrees on these.
    (0..4).for_each(|_| room.propose(old));
    follow(&mut room, 4, old);
    assert_eq!(room.topics(4), 1);
    let parted = room.quorum(4).next_offset();
    room.kill(old);
    let new = room.leader();
    room.propose(new);
    room.ticks(3);
    assert!(room.quorum(new).next_offset() < parted);
    follow(&mut room, 4, new);
    assert_eq!(room.topics(4), 2);
    room.cut.clear();
    room.member(old).start();
    room.ticks(5);
    room.all_are_the_same();
}

#[test]
fn what_has_left_the_leaders_log_comes_as_a_snapshot() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..60).for_each(|_| room.propose(leader));
    room.ticks(3);
    room.snapshot(leader);
    room.propose(leader);
    join(&mut room, 4);
    follow(&mut room, 4, leader);
    assert_eq!(room.topics(4), 61);
    assert!(room.quorum(4).store().log().log_start_offset() > 0);
    room.ticks(3);
    room.all_are_the_same();
    room.kill(4);
    room.member(4).start();
    room.propose(leader);
    follow(&mut room, 4, leader);
    assert_eq!(room.topics(4), 62);
}

// Found by the simulator: raft-rs knows node ids alone. It took the new replica for the sole voter of the snapshot, and let it agree
// with itself on what the others had agreed on otherwise.
#[test]
fn a_founder_that_was_wiped_does_not_found_once_more() {
    let mut room = Room::of(&[1]);
    assert_eq!(room.leader(), 1);
    (0..20).for_each(|_| room.propose(1));
    for node in [2, 3] {
        join(&mut room, node);
        follow(&mut room, node, 1);
        room.snapshot(node);
    }
    for node in [2, 3] {
        room.quorum(1).change_voters(&VoterChange::Add(voter(node)), 1_000).expect("one more");
        room.ticks(3);
    }
    room.propose(1);
    room.ticks(3);
    room.kill(1);
    let leader = room.leader();
    room.quorum(leader).change_voters(&VoterChange::Remove(key(1)), 1_000).expect("the old one goes");
    room.ticks(3);
    *room.member(1) = Member::new(ReplicaKey { directory_id: directory(77), ..key(1) }, &[]);
    room.member(1).start();
    follow(&mut room, 1, leader);
    assert!(!room.quorum(1).leads());
    room.propose(leader);
    room.ticks(3);
    follow(&mut room, 1, leader);
    room.all_are_the_same();
    room.kill(1);
    room.member(1).start();
    room.ticks(30);
    assert_eq!((room.quorum(1).leads(), room.leader()), (false, leader), "nor after a restart");
}

#[test]
fn a_voter_learns_that_it_was_removed_while_it_was_away() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let gone = leader % 3 + 1;
    room.ticks(3);
    room.isolate(gone);
    room.quorum(leader).change_voters(&VoterChange::Remove(key(gone)), 1_000).expect("it goes");
    room.ticks(3);
    room.cut.clear();
    assert!(!room.quorum(gone).is_unheard());
    room.ticks(40);
    assert!(room.quorum(gone).is_unheard(), "it takes itself for a voter, and nobody speaks to it");
    follow(&mut room, gone, leader);
    room.propose(leader);
    room.ticks(3);
    follow(&mut room, gone, leader);
    room.all_are_the_same();
    let (epoch, said) = (epoch_of(&mut room, leader), room.refused.len());
    room.ticks(40);
    assert_eq!((room.leader(), epoch_of(&mut room, leader)), (leader, epoch));
    assert_eq!(room.refused.len(), said, "it wants to lead no more");
}

#[test]
fn what_fits_nowhere_is_not_taken() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..5).for_each(|_| room.propose(leader));
    room.ticks(3);
    join(&mut room, 4);
    follow(&mut room, 4, leader);
    let (epoch, end) = (epoch_of(&mut room, leader), room.quorum(4).next_offset());
    let leadership = Leadership { epoch, leader: Some(NodeId(leader)), endpoint: None };
    let answered = |fetched| {
        let (leadership, high_watermark) = (leadership.clone(), Some(end));
        Answer::Fetched(FetchAnswer { leadership, fetched: Ok(fetched), high_watermark, log_start: 0 })
    };
    let id = SnapshotId { end, epoch };
    let batch = entries::at(&metadata_batch([Bytes::from_static(b"x")], 0), end + 7, epoch).expect("a batch");
    let rows = [
        answered(Fetched::Records(batch)),
        answered(Fetched::Diverging { epoch: LeaderEpoch(0), end: 0 }),
        answered(Fetched::Snapshot(id)),
    ];
    for answer in rows {
        let heard = room.quorum(4).hear_answer(NodeId(leader), epoch, answer.clone());
        assert!(matches!(heard, Err(Refused::Impossible { .. })), "{answer:?}: {heard:?}");
    }
    let second = room.quorum(4).hear_of_leader(NodeId(leader % 3 + 1), epoch);
    assert!(matches!(second, Err(Refused::Impossible { .. })), "two leaders of one epoch: {second:?}");
    room.talk();
    assert_eq!(room.quorum(4).next_offset(), end);
    let piece = Piece { id, size: 3, position: 0, bytes: Bytes::from_static(b"abc") };
    let piece = Answer::Piece(PieceAnswer { leadership, piece: Ok(piece) });
    assert_eq!(room.quorum(4).hear_answer(NodeId(leader), epoch, piece), Ok(true), "nobody waits for it");
    room.propose(leader);
    room.ticks(3);
    follow(&mut room, 4, leader);
    room.all_are_the_same();
}

/// How many ticks pass after the end of a leader until there is another one.
fn ticks_to_elect(election_timeout_ms: i64) -> usize {
    let mut room = Room::of(&[1, 2, 3]);
    for node in [1, 2, 3] {
        room.kill(node);
        room.member(node).election_timeout_ms = election_timeout_ms;
        room.member(node).start();
    }
    let old = room.leader();
    room.ticks(3);
    room.kill(old);
    let leads =
        |room: &Room| room.members.iter().any(|member| member.quorum.as_ref().is_some_and(Quorum::leads));
    (1..500)
        .find(|_| {
            room.ticks(1);
            leads(&room)
        })
        .expect("somebody leads")
}

#[test]
fn an_election_begins_when_its_timeout_is_over() {
    for (timeout_ms, least, most) in [(0, 3, 20), (1_000, 5, 30), (5_000, 29, 150)] {
        let ticks = ticks_to_elect(timeout_ms);
        assert!((least..most).contains(&ticks), "{timeout_ms} ms: {ticks} ticks");
    }
}

#[test]
fn voters_that_tell_each_other_of_a_leader_that_is_gone_elect_another_one() {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    let left: Vec<i32> = [1, 2, 3].into_iter().filter(|node| *node != old).collect();
    room.kill(old);
    // Neither hears what the other says, until both ask who leads.
    room.cut.extend([(left[0], left[1]), (left[1], left[0])]);
    room.ticks(40);
    assert!(left.iter().all(|node| room.quorum(*node).is_unheard()));
    room.cut.clear();
    let epoch = epoch_of(&mut room, left[0]);
    for _ in 0..60 {
        for node in &left {
            room.quorum(*node).hear_about_leader(NodeId(old), epoch).expect("it fits");
        }
        room.ticks(1);
    }
    let leads = left.iter().any(|node| room.quorum(*node).leads());
    assert!(leads, "they have voted, whatever they were told");
}
