//! What no voter can have said, and who is no voter.

use super::super::message::{Ballot, Candidacy, LogEntry, Offer, Position};
use super::*;

fn from(room: &mut Room, sender: i32, to: i32, body: Body) -> Message {
    let term = epoch_of(room, to).0 as u64;
    let (from, to) = (key(sender), key(to));
    Message { cluster_id: "one".into(), from, to, voters_index: 1, term, body }
}

fn state(room: &mut Room, node: i32) -> (LeaderEpoch, Option<NodeId>, Offset, Offset) {
    let quorum = room.quorum(node);
    (quorum.epoch(), quorum.leader(), quorum.next_offset(), quorum.high_watermark())
}

#[test]
fn only_voters_of_this_cluster_are_heard() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    room.propose(leader);
    room.ticks(3);
    let to = leader % 3 + 1;
    let good = from(&mut room, leader, to, Body::Heartbeat { commit: 1 });
    let candidacy =
        Candidacy { last: Position { index: 99, term: 50 }, commit: Position::default(), transfer: true };
    let bid = Message { term: 90, body: Body::Vote(candidacy), ..good.clone() };
    let wiped = ReplicaKey { directory_id: directory(9), ..key(leader) };
    let rows = [
        (Message { cluster_id: "two".into(), ..bid.clone() }, Refused::OtherCluster("two".into())),
        (Message { to: key(leader), ..bid.clone() }, Refused::NotForMe(key(leader))),
        (Message { from: wiped, ..bid.clone() }, Refused::NotAVoter(wiped)),
        (Message { from: key(9), ..bid.clone() }, Refused::NotAVoter(key(9))),
        (Message { from: key(to), ..bid.clone() }, Refused::NotAVoter(key(to))),
    ];
    let before = state(&mut room, to);
    for (message, why) in rows {
        assert_eq!(room.quorum(to).step(message), Err(why));
    }
    room.talk();
    assert_eq!(state(&mut room, to), before);
    assert_eq!(room.quorum(to).step(good), Ok(()));
    // Whoever knows a set of voters that this node has not heard of may be a voter by it.
    let later = Message { from: key(9), voters_index: 1_000, ..bid };
    assert_eq!(room.quorum(to).step(later), Ok(()));
}

#[test]
fn what_cannot_be_is_not_heard() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..4).for_each(|_| room.propose(leader));
    room.ticks(3);
    let to = leader % 3 + 1;
    let third = 6 - leader - to;
    let epoch = epoch_of(&mut room, to);
    let term = epoch.0 as u64;
    let (end, last) = (room.quorum(to).next_offset(), room.quorum(to).raw.raft.raft_log.last_index());
    let batch =
        |offset, epoch| entries::at(&metadata_batch([Bytes::from_static(b"x")], 0), offset, epoch).unwrap();
    let previous = Position { index: last, term };
    let append = |entries: Vec<LogEntry>| Body::Append { previous, commit: 0, entries };
    let entry = |term, batch| LogEntry { term, batch };
    let good = batch(end, epoch);
    let mut damaged = good.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let offer = Offer { id: SnapshotId { end: 100, epoch }, index: 50, size: 9 };
    let bodies = [
        Body::Heartbeat { commit: last + 1 },
        append(vec![entry(term, batch(end + 1, epoch))]),
        append(vec![entry(term, batch(end, LeaderEpoch(epoch.0 + 1)))]),
        append(vec![entry(term + 1, good.clone())]),
        append(vec![entry(term, damaged.into())]),
        append(vec![entry(term, Bytes::from_static(b"no batch"))]),
        append(vec![entry(term, good.clone()), entry(term, good.clone())]),
        Body::Append { previous: Position { index: 1 << 63, term }, commit: 0, entries: Vec::new() },
        Body::Append { previous: Position { index: 1, term: term + 1 }, commit: 0, entries: Vec::new() },
        Body::NotAppended { index: 1, hint: Position { index: u64::MAX, term }, commit: 0 },
        Body::Snapshot(Offer { index: 101, ..offer }),
        Body::Snapshot(Offer { size: u64::MAX, ..offer }),
        Body::Snapshot(Offer { id: SnapshotId { end: 100, epoch: LeaderEpoch(epoch.0 + 1) }, ..offer }),
    ];
    for body in bodies {
        let message = from(&mut room, leader, to, body);
        let heard = room.quorum(to).step(message.clone());
        assert!(matches!(heard, Err(Refused::Impossible { .. })), "{message:?}: {heard:?}");
    }
    let ballot = Body::VoteAnswer(Ballot { granted: true, commit: Position::default() });
    for term in [0, i32::MAX as u64, u64::MAX] {
        let message = Message { term, ..from(&mut room, leader, to, ballot.clone()) };
        assert!(matches!(room.quorum(to).step(message), Err(Refused::Impossible { .. })), "{term}");
    }
    // Two leaders of one term, and a follower that has what nobody sent.
    let second = from(&mut room, third, to, Body::Heartbeat { commit: 0 });
    assert!(matches!(room.quorum(to).step(second), Err(Refused::Impossible { .. })));
    let boasting = from(&mut room, to, leader, Body::Appended { index: last + 1, commit: 0 });
    assert!(matches!(room.quorum(leader).step(boasting), Err(Refused::Impossible { .. })));
    room.ticks(3);
    assert_eq!(epoch_of(&mut room, to), epoch);
    room.all_are_the_same();
}

#[test]
fn a_vote_is_not_given_to_the_successor_of_who_has_it() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let to = leader % 3 + 1;
    if room.quorum(to).store().vote().voted_for != Some(key(leader)) {
        return assert_eq!(room.quorum(to).store().vote().voted_for, None);
    }
    let wiped = ReplicaKey { directory_id: directory(9), ..key(leader) };
    let last = Position { index: 99, term: 1 };
    let candidacy = Candidacy { last, commit: Position::default(), transfer: false };
    let bid = Message { from: wiped, voters_index: 99, ..from(&mut room, leader, to, Body::Vote(candidacy)) };
    assert_eq!(room.quorum(to).step(bid), Err(Refused::VotedForPredecessor(wiped)));
}

// Messages of every kind with numbers that are nearly right, thousands of them, to members in every state.
#[test]
fn nothing_that_is_said_makes_a_member_panic() {
    let mut draws = 7_u64;
    let mut draw = move |below: u64| {
        draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draws >> 33) % below
    };
    for round in 0..40 {
        let mut room = Room::of(&[1, 2, 3]);
        let leader = room.leader();
        (0..draw(10)).for_each(|_| room.propose(leader));
        if round % 3 == 0 {
            room.ticks(3);
            room.snapshot(1);
        }
        for _ in 0..200 {
            let to = 1 + draw(3) as i32;
            let last = room.quorum(to).raw.raft.raft_log.last_index();
            let term = epoch_of(&mut room, to).0 as u64;
            let end = room.quorum(to).next_offset();
            let mut index = || [0, 1, last, last + 1, draw(last + 3), 1 << 61][draw(6) as usize];
            let (one, two, three) = (index(), index(), index());
            let epoch = LeaderEpoch((term + draw(2)) as i32);
            let batch = entries::at(&metadata_batch([], 0), end, epoch);
            let control =
                entries::leader_change(NodeId(1), &[NodeId(1)], &[], founded_by(&[1, 2]).records(), 0);
            let placed = entries::at(&control, end.min(one as i64), epoch).unwrap_or(control);
            let batch = batch.filter(|_| draw(2) == 0).unwrap_or(placed);
            let position = Position { index: one, term: draw(term + 1) };
            let candidacy =
                Candidacy { last: position, commit: Position { index: two, term }, transfer: draw(2) == 0 };
            let ballot = Ballot { granted: draw(2) == 0, commit: position };
            let id = SnapshotId { end: 1 + one as i64, epoch: LeaderEpoch(term as i32) };
            let entries =
                (0..draw(3)).map(|_| LogEntry { term: epoch.0 as u64, batch: batch.clone() }).collect();
            let body = match draw(13) {
                0 => Body::PreVote(candidacy),
                1 => Body::PreVoteAnswer(ballot),
                2 => Body::Vote(candidacy),
                3 => Body::VoteAnswer(ballot),
                4 => Body::Append { previous: position, commit: three, entries },
                5 => Body::Appended { index: one, commit: two },
                6 => Body::NotAppended { index: one, hint: position, commit: two },
                7 => Body::Heartbeat { commit: one },
                8 => Body::HeartbeatAnswer { commit: one },
                9 => Body::Snapshot(Offer { id, index: 1 + draw(id.end as u64), size: draw(100) }),
                10 => Body::FetchSnapshot { id, position: two },
                11 => Body::SnapshotChunk { id, position: draw(2), bytes: vec![1; draw(50) as usize].into() },
                _ => Body::TimeoutNow,
            };
            let sender = 1 + draw(4) as i32;
            let message = Message {
                term: (term + draw(3)).saturating_sub(1),
                voters_index: two,
                ..from(&mut room, sender, to, body)
            };
            // Heard or not: nobody panics, and the disk is as it should be.
            let _ = room.quorum(to).step(message);
            let settled = room.quorum(to).settle(1_000);
            if settled.is_err() {
                break;
            }
            if draw(4) == 0 {
                room.quorum(to).tick();
            }
        }
    }
}
