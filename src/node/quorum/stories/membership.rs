//! Voters that come and go.

use super::*;

fn join(room: &mut Room, node: i32) {
    let mut member = Member::new(key(node), &[]);
    member.start();
    room.members.push(member);
}

fn change(room: &mut Room, leader: i32, change: &VoterChange) -> Result<(), ChangeRefused> {
    let offset = room.quorum(leader).change_voters(change, 1_000)?;
    room.ticks(3);
    assert!(room.members.iter().any(|m| m.quorum.as_ref().is_some_and(|q| q.high_watermark() > offset)));
    Ok(())
}

#[test]
fn a_quorum_of_one_grows_to_three_and_outlives_restarts() {
    let mut room = Room::of(&[1]);
    assert_eq!(room.leader(), 1);
    room.propose(1);
    for node in [2, 3] {
        join(&mut room, node);
        change(&mut room, 1, &VoterChange::Add(voter(node))).expect("one more");
        room.propose(1);
    }
    assert_eq!(*room.quorum(3).membership(), founded_by(&[1, 2, 3]));
    room.all_are_the_same();
    room.kill(1);
    let leader = room.leader();
    assert_ne!(leader, 1, "two of three are enough");
    room.propose(leader);
    room.member(1).start();
    room.ticks(5);
    room.all_are_the_same();
    for node in [1, 2, 3] {
        room.kill(node);
        room.member(node).start();
    }
    let leader = room.leader();
    room.propose(leader);
    room.ticks(3);
    room.all_are_the_same();
    assert_eq!(room.topics(1), 5);
}

// The leader that has added the second voter alone cannot lead again without it, and it knows nothing of that yet.
#[test]
fn a_voter_that_has_not_heard_that_it_votes_gives_its_vote() {
    let mut room = Room::of(&[1]);
    room.leader();
    join(&mut room, 2);
    room.quorum(1).change_voters(&VoterChange::Add(voter(2)), 0).expect("one more");
    // It hears who leads, and nothing more.
    let settled = room.quorum(1).settle(1_000).expect("a healthy disk");
    room.quorum(1).tick();
    room.quorum(1).tick();
    let beats = room.quorum(1).settle(1_000).expect("a healthy disk").messages;
    let beat = beats.into_iter().find(|message| matches!(message.body, Body::Heartbeat { .. }));
    assert_eq!(room.quorum(2).step(beat.expect("a heartbeat")), Ok(()));
    assert!(!settled.messages.is_empty());
    room.isolate(1);
    room.ticks(25);
    assert!(!room.quorum(1).leads(), "it hears of nobody");
    room.cut.clear();
    assert_eq!(room.leader(), 1);
    room.propose(1);
    room.ticks(3);
    room.all_are_the_same();
}

#[test]
fn the_set_in_force_outlives_a_restart() {
    let mut room = Room::of(&[1, 2]);
    let leader = room.leader();
    join(&mut room, 3);
    change(&mut room, leader, &VoterChange::Add(voter(3))).expect("one more");
    for node in [1, 2, 3] {
        room.kill(node);
    }
    // By the set before, both of two would be needed.
    let gone = 3 - leader;
    for node in [leader, 3] {
        room.member(node).start();
    }
    let again = room.leader();
    room.propose(again);
    assert_eq!(room.topics(again), 1);
    room.member(gone).start();
    room.ticks(5);
    room.all_are_the_same();
}

#[test]
fn one_change_at_a_time_and_only_sane_ones() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let follower = leader % 3 + 1;
    let add = VoterChange::Add(voter(4));
    let rows = [
        (VoterChange::Add(voter(2)), ChangeRefused::Duplicate),
        (VoterChange::Remove(key(9)), ChangeRefused::NotFound),
        (VoterChange::Remove(ReplicaKey { directory_id: directory(8), ..key(2) }), ChangeRefused::NotFound),
        (VoterChange::Update(voter(9)), ChangeRefused::NotFound),
        (VoterChange::Add(voter(-1)), ChangeRefused::Invalid),
    ];
    for (change, why) in rows {
        assert_eq!(room.quorum(leader).change_voters(&change, 0), Err(why), "{change:?}");
    }
    assert_eq!(room.quorum(follower).change_voters(&add, 0), Err(ChangeRefused::NotLeader));
    join(&mut room, 4);
    room.isolate(leader);
    room.quorum(leader).change_voters(&add, 0).expect("it is proposed");
    room.talk();
    let again = room.quorum(leader).change_voters(&VoterChange::Remove(key(follower)), 0);
    assert_eq!(again, Err(ChangeRefused::Pending));
    room.cut.clear();
    room.ticks(5);
    assert_eq!(*room.quorum(follower).membership(), founded_by(&[1, 2, 3, 4]));
    room.all_are_the_same();
}

#[test]
fn voters_of_the_configuration_change_once_the_log_names_them() {
    let mut room = Room::fixed(&[1, 2, 3]);
    let leader = room.leader();
    room.propose(leader);
    room.ticks(3);
    let remove = VoterChange::Remove(key(leader % 3 + 1));
    assert_eq!(room.quorum(leader).change_voters(&remove, 0), Err(ChangeRefused::Fixed));
    let known: Vec<ReplicaKey> = room.quorum(leader).known_voters().collect();
    assert_eq!(known, [key(1), key(2), key(3)], "each has said which directory it has");
    let nodes = |nodes: &[i32]| nodes.iter().map(|node| voter(*node)).collect::<Vec<_>>();
    let nil = VoterNode { directory_id: Uuid::nil(), ..voter(3) };
    for wrong in [nodes(&[1, 2]), nodes(&[1, 2, 4]), vec![voter(1), voter(2), nil], Vec::new()] {
        let refused = room.quorum(leader).let_voters_change(wrong.clone(), 0);
        assert_eq!(refused, Err(ChangeRefused::Invalid), "{wrong:?}");
    }
    let all = nodes(&[1, 2, 3]);
    let follower = room.quorum(leader % 3 + 1).let_voters_change(all.clone(), 0);
    assert_eq!(follower, Err(ChangeRefused::NotLeader));
    let offset = room.quorum(leader).let_voters_change(all.clone(), 0).expect("it is proposed");
    room.ticks(3);
    assert!(room.quorum(leader).high_watermark() > offset);
    assert_eq!(*room.quorum(leader).membership(), founded_by(&[1, 2, 3]));
    assert_eq!(room.quorum(leader).let_voters_change(all, 0), Err(ChangeRefused::Pending), "once is enough");
    for node in [1, 2, 3] {
        room.kill(node);
        room.member(node).start();
    }
    let leader = room.leader();
    let gone = leader % 3 + 1;
    change(&mut room, leader, &VoterChange::Remove(key(gone))).expect("now it goes");
    room.propose(leader);
    assert_eq!(room.topics(leader), 2);
}

#[test]
fn a_leader_that_is_removed_makes_room() {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    room.propose(old);
    change(&mut room, old, &VoterChange::Remove(key(old))).expect("it goes");
    assert!(!room.quorum(old).leads());
    let new = room.leader();
    assert_ne!(new, old);
    room.propose(new);
    // It wants to lead no more, and nobody would hear it.
    let epoch = epoch_of(&mut room, new);
    room.ticks(60);
    assert_eq!((room.leader(), epoch_of(&mut room, new)), (new, epoch));
}

// Its followers have the set without it in their logs before they have answered it.
#[test]
fn followers_know_where_a_leader_is_until_its_removal_is_agreed_on() {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    room.propose(old);
    room.quorum(old).change_voters(&VoterChange::Remove(key(old)), 1_000).expect("it goes");
    let follower = old % 3 + 1;
    for _ in 0..3 {
        let said = room.quorum(old).settle(1_000).expect("a healthy disk").messages;
        said.into_iter().filter(|said| said.to.id.0 == follower).for_each(|said| room.hand_over(said));
        room.quorum(follower).settle(1_000).expect("a healthy disk");
    }
    assert!(room.quorum(follower).membership().voters.iter().all(|set| set.voters.len() == 2));
    let known = room.quorum(follower).address(NodeId(old)).expect("it waits for an answer");
    assert_eq!(known.port, port(old));
    room.ticks(3);
    assert_eq!(room.quorum(follower).address(NodeId(old)), None);
}

#[test]
fn a_voter_that_was_wiped_is_another_replica() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    room.propose(leader);
    let wiped = leader % 3 + 1;
    room.kill(wiped);
    let other = ReplicaKey { directory_id: directory(77), ..key(wiped) };
    *room.member(wiped) = Member::new(other, &[]);
    room.member(wiped).start();
    room.ticks(30);
    assert_eq!(room.topics(wiped), 0, "nobody speaks to it as if it were the old one");
    let at_the_leader = room.quorum(leader).state(1_000).voters;
    let named = |voter: &VoterState| voter.key == key(wiped);
    assert!(at_the_leader.iter().any(named), "the old one votes");
    assert_eq!(room.leader(), leader);
    change(&mut room, leader, &VoterChange::Remove(key(wiped))).expect("the old one goes");
    let back = VoterNode { directory_id: directory(77), ..voter(wiped) };
    change(&mut room, leader, &VoterChange::Add(back)).expect("and comes back as another");
    room.ticks(10);
    room.propose(leader);
    room.ticks(3);
    room.all_are_the_same();
}

#[test]
fn a_voter_joins_from_a_snapshot_that_does_not_know_it() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..50).for_each(|_| room.propose(leader));
    room.snapshot(leader);
    join(&mut room, 4);
    change(&mut room, leader, &VoterChange::Add(voter(4))).expect("one more");
    room.ticks(10);
    assert_eq!(room.topics(4), 50);
    room.all_are_the_same();
    room.kill(4);
    room.member(4).start();
    room.propose(leader);
    room.ticks(5);
    room.all_are_the_same();
}

#[test]
fn a_voter_is_where_it_says_until_the_log_says_something_newer() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let [moved, other] = [1, 2, 3].into_iter().filter(|node| *node != leader).collect::<Vec<_>>()[..] else {
        panic!("two follow")
    };
    let at = |port: u16| {
        let mut node = voter(moved);
        node.endpoints[0].port = port;
        node
    };
    let told = |room: &mut Room| room.quorum(other).address(NodeId(moved)).expect("it is known").port;
    room.quorum(other).hear_where(&at(7_001));
    assert_eq!(told(&mut room), 7_001);
    let stranger = VoterNode { directory_id: directory(9), ..at(7_002) };
    room.quorum(other).hear_where(&stranger);
    assert_eq!(told(&mut room), 7_001, "another replica says nothing of this one");
    change(&mut room, leader, &VoterChange::Update(at(7_003))).expect("it is written down");
    assert_eq!(told(&mut room), 7_003);
    room.quorum(other).hear_where(&at(7_004));
    assert_eq!(told(&mut room), 7_004, "it has moved again");
}

#[test]
fn where_voters_of_the_configuration_are_it_says_itself() {
    let mut room = Room::fixed(&[1, 2, 3]);
    let leader = room.leader();
    room.ticks(3);
    for node in (1..=3).filter(|node| *node != leader) {
        let before = room.quorum(leader).address(NodeId(node));
        let mut moved = voter(node);
        moved.endpoints[0].port = 7_001;
        room.quorum(leader).hear_where(&moved);
        assert_eq!(room.quorum(leader).address(NodeId(node)), before);
    }
}
