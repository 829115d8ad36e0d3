//! Who leads, and what is agreed on.

use super::*;

#[test]
fn three_voters_elect_one_and_their_logs_are_the_same_bytes() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..5).for_each(|_| room.propose(leader));
    room.ticks(3);
    room.all_are_the_same();
    assert_eq!(room.topics(leader), 5);
    let leading =
        room.members.iter().filter(|member| member.quorum.as_ref().is_some_and(Quorum::leads)).count();
    assert_eq!(leading, 1);
    // Followers have copied the batch that founds the quorum, and say of the voters what the leader says.
    for node in [1, 2, 3] {
        assert_eq!(*room.quorum(node).membership(), founded_by(&[1, 2, 3]), "{node}");
        assert_eq!(room.quorum(node).leader(), Some(NodeId(leader)), "{node}");
    }
    assert_eq!(room.refused, Vec::new());
}

#[test]
fn the_high_watermark_is_what_is_agreed_on_and_not_what_is_flushed() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    room.propose(leader);
    let agreed = room.quorum(leader).high_watermark();
    room.isolate(leader);
    room.propose(leader);
    assert_eq!(room.quorum(leader).high_watermark(), agreed, "nobody else has it");
    assert_eq!(room.quorum(leader).next_offset(), agreed + 1);
    assert_eq!(room.topics(leader), 1);
    room.cut.clear();
    room.ticks(5);
    assert_eq!(room.quorum(leader).high_watermark(), agreed + 1);
    room.all_are_the_same();
}

#[test]
fn what_a_minority_has_written_gives_way() {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    room.propose(old);
    room.isolate(old);
    room.propose(old);
    room.propose(old);
    // It steps down when it hears of nobody for an election timeout (check quorum).
    let new = room.leader();
    let new = if new == old {
        room.ticks(20);
        room.leader()
    } else {
        new
    };
    assert_ne!(new, old);
    assert!(!room.quorum(old).leads());
    room.propose(new);
    room.cut.clear();
    room.ticks(10);
    room.all_are_the_same();
    assert_eq!(room.topics(old), 2, "the first and the last of four");
}

#[test]
fn a_vote_outlives_a_restart() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let voted = vote_file(&mut room, leader);
    assert!(voted.contains(&format!("\"votedId\":{leader},")), "{voted}");
    let directory = ottla_model::uuid_to_base64(directory(leader));
    assert!(voted.contains(&directory), "{voted}: the directory is known, too");
    let epoch = epoch_of(&mut room, leader);
    for node in [1, 2, 3] {
        room.kill(node);
        room.member(node).start();
        assert_eq!(epoch_of(&mut room, node), epoch, "{node}");
    }
    // Nobody leads in that epoch again: whoever voted in it has voted.
    let again = room.leader();
    assert!(epoch_of(&mut room, again) > epoch);
    room.propose(again);
    room.ticks(3);
    room.all_are_the_same();
}

#[test]
fn followers_that_start_again_catch_up() {
    let mut room = Room::of(&[1, 2, 3, 4, 5]);
    let leader = room.leader();
    let others: Vec<i32> = (1..=5).filter(|node| *node != leader).collect();
    for round in 0..4 {
        let down = [others[round % 4], others[(round + 1) % 4]];
        down.iter().for_each(|node| room.kill(*node));
        (0..10).for_each(|_| room.propose(leader));
        down.iter().for_each(|node| room.member(*node).start());
        room.ticks(5);
        room.all_are_the_same();
    }
    assert_eq!(room.topics(leader), 40);
}

#[test]
fn leadership_is_handed_over() {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    room.propose(old);
    let epoch = epoch_of(&mut room, old);
    let successor = room.quorum(old).transfer_leadership().expect("somebody is there").0;
    // No election timeout has to pass.
    room.talk();
    assert!(room.quorum(successor).leads() && !room.quorum(old).leads());
    assert!(epoch_of(&mut room, successor) > epoch);
    room.propose(successor);
    room.ticks(3);
    room.all_are_the_same();
}

/// Ticks until another member leads, after the leader's process has ended; with `gone`, the others find that out when they look.
fn ticks_without(gone: bool) -> usize {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    room.ticks(3);
    room.kill(old);
    for tick in 1..100 {
        room.ticks(1);
        for member in room.members.iter_mut().filter_map(|member| member.quorum.as_mut()) {
            if let Some(missing) = member.missing_leader().filter(|_| gone) {
                assert_eq!(missing, NodeId(old));
                member.leader_is_gone(missing);
            }
        }
        if room.members.iter().any(|member| member.quorum.as_ref().is_some_and(Quorum::leads)) {
            return tick;
        }
    }
    panic!("nobody leads");
}

#[test]
fn a_leader_that_is_gone_is_followed_sooner_than_one_that_is_silent() {
    let (gone, silent) = (ticks_without(true), ticks_without(false));
    assert!(gone <= MISSING_TICKS + APART_TICKS, "{gone} ticks");
    assert!(gone < silent, "{gone} ticks, and {silent} otherwise");
}

#[test]
fn who_is_wrong_about_the_leader_changes_nothing() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let follower = (1..=3).find(|node| *node != leader).expect("two others");
    let epoch = epoch_of(&mut room, leader);
    room.ticks(3);
    room.quorum(follower).leader_is_gone(NodeId(leader));
    room.ticks(12);
    assert_eq!(epoch_of(&mut room, follower), epoch, "it has heard the leader in the meantime");
    // It hears the leader no more, and looks for it the wrong way.
    room.cut.insert((leader, follower));
    for _ in 0..MISSING_TICKS + APART_TICKS + 1 {
        room.ticks(1);
        if let Some(missing) = room.quorum(follower).missing_leader() {
            room.quorum(follower).leader_is_gone(missing);
        }
    }
    room.cut.clear();
    room.ticks(5);
    assert!(room.quorum(leader).leads(), "the others hear it");
    assert_eq!(epoch_of(&mut room, follower), epoch);
    assert_eq!(room.quorum(follower).leader(), Some(NodeId(leader)));
}
