//! Snapshots: Raft's index beside each, and what a follower does that is too far behind.

use super::*;

#[test]
fn indices_outlive_snapshots_and_restarts() {
    let mut room = Room::of(&[1, 2, 3]);
    for round in 0..3 {
        let leader = room.leader();
        (0..10).for_each(|_| room.propose(leader));
        room.ticks(3);
        // One of them writes a snapshot and forgets the log before it, the others do not; then all start again.
        room.snapshot(1 + round);
        (0..3).for_each(|_| room.propose(leader));
        room.ticks(3);
        for node in [1, 2, 3] {
            room.kill(node);
            room.member(node).start();
        }
    }
    let leader = room.leader();
    room.propose(leader);
    room.ticks(3);
    room.all_are_the_same();
    assert_eq!(room.topics(leader), 40);
    assert_eq!(room.refused, Vec::new());
}

#[test]
fn a_follower_behind_the_start_of_the_log_gets_a_snapshot() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let late = if leader == 1 { 2 } else { 1 };
    room.propose(leader);
    room.kill(late);
    (0..2_000).for_each(|_| room.propose(leader));
    room.snapshot(leader);
    (0..3).for_each(|_| room.propose(leader));
    let start = room.quorum(leader).store().log().log_start_offset();
    room.member(late).start();
    assert!(room.quorum(late).next_offset() < start, "the leader's log begins later");
    room.ticks(5);
    assert_eq!(room.topics(late), 2_004);
    assert_eq!(room.quorum(late).store().log().log_start_offset(), start);
    room.all_are_the_same();
    // What it was given is as good as its own.
    room.kill(late);
    room.member(late).start();
    assert_eq!(room.topics(late), 2_001, "the snapshot, as nothing else is known to be agreed on yet");
    room.ticks(5);
    room.all_are_the_same();
}

#[test]
fn a_snapshot_comes_in_pieces_and_lost_ones_are_asked_for_again() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let late = if leader == 1 { 2 } else { 1 };
    room.kill(late);
    (0..8_000).for_each(|_| room.propose(leader));
    room.snapshot(leader);
    room.member(late).start();
    // All that the leader says is lost, half of the time.
    for _ in 0..10 {
        room.cut.insert((leader, late));
        room.ticks(3);
        room.cut.clear();
        room.ticks(3);
    }
    room.ticks(40);
    assert_eq!(room.topics(late), 8_000);
    room.all_are_the_same();
}

#[test]
fn a_leader_goes_on_when_the_one_that_it_offers_a_snapshot_is_gone() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let late = if leader == 1 { 2 } else { 1 };
    room.kill(late);
    (0..50).for_each(|_| room.propose(leader));
    room.snapshot(leader);
    room.member(late).start();
    // It hears the offer, and dies before it has the file.
    room.cut.insert((late, leader));
    room.ticks(2);
    room.kill(late);
    room.cut.clear();
    room.ticks(5);
    (0..50).for_each(|_| room.propose(leader));
    room.snapshot(leader);
    room.member(late).start();
    room.ticks(50);
    assert_eq!(room.topics(late), 100, "it is offered the newer one");
    room.all_are_the_same();
}

#[test]
fn a_snapshot_on_the_disk_counts_before_what_it_replaces() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let late = if leader == 1 { 2 } else { 1 };
    room.propose(leader);
    room.ticks(3);
    room.kill(late);
    (0..50).for_each(|_| room.propose(leader));
    let id = room.snapshot(leader);
    let path = Path::new(DIR).join(id.file_name());
    let file = room.member(leader).disk.read_to_vec(&path).expect("the snapshot");
    // It is killed between the file's last step and the cut of its log.
    room.member(late).disk.replace(&path, &file).expect("a healthy disk");
    room.member(late).start();
    assert_eq!(room.topics(late), 51);
    assert_eq!(room.quorum(late).next_offset(), id.end);
    room.ticks(5);
    room.all_are_the_same();
}

#[test]
fn a_snapshot_without_an_index_is_for_one_voter_alone() {
    let mut room = Room::of(&[1]);
    let leader = room.leader();
    (0..5).for_each(|_| room.propose(leader));
    let member = room.member(1);
    let image = Arc::new(member.image.clone());
    let membership = founded_by(&[1]);
    let write = |membership: Membership| {
        Snapshot::new(image.clone(), None, membership, DIR.into(), 0).write(&member.disk).expect("written")
    };
    write(membership);
    member.start();
    assert_eq!(room.topics(1), 5);
    assert_eq!(room.leader(), 1);
    room.propose(1);
    let mut room = Room::of(&[1, 2, 3]);
    let member = room.member(1);
    Snapshot::new(image.clone(), None, founded_by(&[1, 2, 3]), DIR.into(), 0)
        .write(&member.disk)
        .expect("written");
    let refused = member.open().err().expect("nobody knows how many batches it holds").to_string();
    assert!(refused.contains("several nodes vote"), "{refused}");
}
