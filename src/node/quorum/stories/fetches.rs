//! What the leader says to observers.

use ottla_protocol::ErrorCode;

use super::*;

/// A fetch of observer 9, whose log ends there, to a leader of this epoch.
fn fetch(epoch: LeaderEpoch, offset: Offset, last_epoch: i32) -> Fetch {
    Fetch {
        cluster_id: Some("one".into()),
        replica: Some(key(9)),
        epoch,
        offset,
        last_epoch: LeaderEpoch(last_epoch),
        high_watermark: None,
        max_bytes: 1 << 20,
    }
}

fn answer(served: Served) -> FetchAnswer {
    match served {
        Served::Answer(answer) | Served::NothingNew(answer) => answer,
    }
}

fn ask(room: &mut Room, node: i32, fetch: &Fetch) -> FetchAnswer {
    answer(room.quorum(node).fetch(1_000, fetch))
}

#[test]
fn requests_that_cannot_be_served_are_told_why_and_who_leads() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    let follower = if leader == 1 { 2 } else { 1 };
    room.ticks(3);
    let epoch = epoch_of(&mut room, leader);
    let fine = fetch(epoch, 0, 0);
    let (older, newer) = (LeaderEpoch(epoch.0 - 1), LeaderEpoch(epoch.0 + 1));
    let rows = [
        ("an older epoch", leader, Fetch { epoch: older, ..fine.clone() }, ErrorCode::FencedLeaderEpoch),
        ("a newer epoch", leader, Fetch { epoch: newer, ..fine.clone() }, ErrorCode::UnknownLeaderEpoch),
        ("a follower", follower, fine.clone(), ErrorCode::NotLeaderOrFollower),
        ("an impossible offset", leader, fetch(epoch, -1, 0), ErrorCode::InvalidRequest),
        ("an impossible last epoch", leader, fetch(epoch, 0, -1), ErrorCode::InvalidRequest),
        ("an epoch to come", leader, fetch(epoch, 0, newer.0), ErrorCode::InvalidRequest),
        (
            "the leader's own id",
            leader,
            Fetch { replica: Some(key(leader)), ..fine.clone() },
            ErrorCode::UnknownServerError,
        ),
    ];
    for (what, node, fetch, code) in rows {
        let said = ask(&mut room, node, &fetch);
        assert_eq!(said.fetched, Err(code), "{what}");
        assert_eq!((said.leadership.epoch, said.leadership.leader), (epoch, Some(NodeId(leader))), "{what}");
        assert_eq!(said.high_watermark, None, "{what}");
    }
    let said = ask(&mut room, leader, &Fetch { cluster_id: Some("two".into()), ..fine.clone() });
    assert_eq!(
        (said.fetched, said.leadership),
        (Err(ErrorCode::InconsistentClusterId), Leadership::unsaid())
    );
    for cluster_id in [None, Some("one".to_owned())] {
        let served = room.quorum(leader).fetch(1_000, &Fetch { cluster_id, ..fine.clone() });
        assert!(matches!(served, Served::Answer(FetchAnswer { fetched: Ok(_), .. })), "{served:?}");
    }
}

#[test]
fn an_observer_gets_the_log_to_its_end_and_where_it_is_agreed_on() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..20).for_each(|_| room.propose(leader));
    room.isolate(leader);
    room.propose(leader);
    let epoch = epoch_of(&mut room, leader);
    let (agreed, end) = (room.quorum(leader).high_watermark(), room.quorum(leader).next_offset());
    assert_eq!(end, agreed + 1, "what is not agreed on yet is handed out, too");
    // Piece by piece; one batch at least.
    let (mut bytes, mut next) = (Vec::new(), 0);
    while next < end {
        let from = if next == 0 { fetch(epoch, 0, 0) } else { fetch(epoch, next, epoch.0) };
        let said = ask(&mut room, leader, &Fetch { max_bytes: 1, ..from });
        assert_eq!((said.high_watermark, said.log_start), (Some(agreed), 0));
        let Ok(Fetched::Records(records)) = said.fetched else { panic!("{said:?}") };
        next = BatchHeader::parse(&records).expect("a whole batch").next_offset();
        bytes.extend_from_slice(&records);
    }
    assert_eq!(bytes, room.member(leader).bytes_from(0));
    // At the end there is nothing, and it is worth waiting, unless the high watermark is news.
    let at_end = fetch(epoch, end, epoch.0);
    let rows = [(None, true), (Some(agreed), true), (Some(agreed - 1), false), (Some(-1), false)];
    for (high_watermark, waits) in rows {
        let served = room.quorum(leader).fetch(2_000, &Fetch { high_watermark, ..at_end.clone() });
        assert_eq!(matches!(served, Served::NothingNew(_)), waits, "{high_watermark:?}");
        assert_eq!(answer(served).fetched, Ok(Fetched::Records(Bytes::new())));
    }
    let states = room.quorum(leader).observers(2_000);
    let [(observer, state)] = states[..] else { panic!("{states:?}") };
    assert_eq!((observer, state.log_end_offset), (key(9), end));
    assert_eq!((state.last_fetch_ms, state.last_caught_up_ms), (2_000, 2_000));
    // Voters' fetches count for nothing, and neither do those of whoever is no node.
    for replica in [None, Some(key(2)), Some(key(3))] {
        let _ = room.quorum(leader).fetch(2_000, &Fetch { replica, ..at_end.clone() });
    }
    assert_eq!(room.quorum(leader).observers(2_000).len(), 1);
    assert_eq!(room.quorum(leader).observers(400_000), []);
}

/// One is elected, and nobody hears of the batch that begins its term.
fn elect_in_silence(room: &mut Room) -> i32 {
    let is_append = |message: &Message| matches!(message.body, Body::Append { .. });
    let mut under_way: VecDeque<Message> = VecDeque::new();
    for _ in 0..100 {
        let mut leader = None;
        for member in room.members.iter_mut().filter(|member| member.quorum.is_some()) {
            member.quorum().tick();
            let settled = member.quorum().settle(1_000).expect("a healthy disk");
            under_way.extend(settled.messages.into_iter().filter(|message| !is_append(message)));
            leader = leader.or(member.quorum().ends().leads.then_some(member.me.id.0));
        }
        under_way.drain(..).collect::<Vec<_>>().into_iter().for_each(|message| room.hand_over(message));
        if let Some(leader) = leader {
            return leader;
        }
    }
    panic!("two of three elect one");
}

// Found by the simulator: it was offered the snapshot that it had, and refused that for ever.
#[test]
fn who_has_the_snapshot_and_more_of_a_lost_epoch_is_told_to_go_back() {
    let mut room = Room::of(&[1, 2, 3]);
    let first = room.leader();
    (0..200).for_each(|_| room.propose(first));
    room.ticks(3);
    let ids: Vec<SnapshotId> = [1, 2, 3].into_iter().map(|node| room.snapshot(node)).collect();
    let id = ids[0];
    assert_eq!(ids, [id; 3]);
    room.kill(first);
    let lost = elect_in_silence(&mut room);
    let lost_epoch = epoch_of(&mut room, lost);
    assert_eq!(room.quorum(lost).next_offset(), id.end + 1, "an observer has that, too");
    room.kill(lost);
    room.member(first).start();
    let leader = room.leader();
    room.ticks(3);
    let epoch = epoch_of(&mut room, leader);
    assert!(id.epoch < lost_epoch && lost_epoch < epoch);
    for offset in [id.end, id.end + 1] {
        let said = ask(&mut room, leader, &fetch(epoch, offset, lost_epoch.0));
        assert_eq!(said.fetched, Ok(Fetched::Diverging { epoch: id.epoch, end: id.end }));
    }
    room.member(lost).start();
    room.ticks(5);
    room.all_are_the_same();
}

#[test]
fn a_new_leader_does_not_know_yet_what_is_agreed_on() {
    let mut room = Room::of(&[1, 2, 3]);
    let old = room.leader();
    room.propose(old);
    room.ticks(3);
    room.kill(old);
    let leader = elect_in_silence(&mut room);
    let epoch = epoch_of(&mut room, leader);
    let said = ask(&mut room, leader, &fetch(epoch, 0, 0));
    assert_eq!((said.leadership.leader, said.high_watermark), (Some(NodeId(leader)), None));
    assert!(matches!(said.fetched, Ok(Fetched::Records(records)) if !records.is_empty()));
    room.ticks(5);
    let said = ask(&mut room, leader, &fetch(epoch, 0, 0));
    assert_eq!(said.high_watermark, Some(room.quorum(leader).next_offset()));
}

#[test]
fn logs_that_part_are_told_where() {
    let mut room = Room::of(&[1, 2, 3]);
    let first = room.leader();
    (0..5).for_each(|_| room.propose(first));
    room.ticks(3);
    let (old_epoch, old_end) = (epoch_of(&mut room, first), room.quorum(first).next_offset());
    room.kill(first);
    let leader = room.leader();
    room.propose(leader);
    room.ticks(3);
    let epoch = epoch_of(&mut room, leader);
    let end = room.quorum(leader).next_offset();
    assert!(epoch > old_epoch);
    let diverging = |epoch: LeaderEpoch, end| Some(Fetched::Diverging { epoch, end });
    let between = LeaderEpoch(epoch.0 - 1);
    let mut rows = vec![
        ("the end of the old epoch", old_end, old_epoch.0, None),
        ("inside the old epoch", old_end - 2, old_epoch.0, None),
        ("longer than the old epoch", old_end + 1, old_epoch.0, diverging(old_epoch, old_end)),
        ("the end", end, epoch.0, None),
        ("behind the end", end + 5, epoch.0, diverging(epoch, end)),
        ("a log of no epoch that is here", old_end, 0, diverging(LeaderEpoch(0), 0)),
        ("nothing", 0, 0, None),
    ];
    if between > old_epoch {
        rows.push(("an epoch that nobody kept", old_end, between.0, diverging(old_epoch, old_end)));
    }
    for (what, offset, last_epoch, expected) in rows {
        let fetched =
            ask(&mut room, leader, &fetch(epoch, offset, last_epoch)).fetched.expect("it is served");
        match expected {
            Some(expected) => assert_eq!(fetched, expected, "{what}"),
            None => assert!(matches!(fetched, Fetched::Records(_)), "{what}: {fetched:?}"),
        }
    }
}

#[test]
fn what_has_left_the_log_comes_from_a_snapshot() {
    let mut room = Room::of(&[1, 2, 3]);
    let leader = room.leader();
    (0..200).for_each(|_| room.propose(leader));
    room.ticks(3);
    let id = room.snapshot(leader);
    let start = room.quorum(leader).store().log().log_start_offset();
    assert_eq!(start, id.end);
    (0..3).for_each(|_| room.propose(leader));
    let epoch = epoch_of(&mut room, leader);
    let snapshot = Fetched::Snapshot(id);
    let rows = [
        ("nothing", 0, 0, Some(snapshot.clone())),
        ("before the start", start - 1, epoch.0, Some(snapshot.clone())),
        ("at the start", start, epoch.0, None),
        ("at the start, of another epoch", start, epoch.0 - 1, Some(snapshot.clone())),
        ("behind the start, of an older epoch", start + 1, epoch.0 - 1, Some(snapshot)),
        ("behind the start", start + 1, epoch.0, None),
    ];
    for (what, offset, last_epoch, expected) in rows {
        let fetched =
            ask(&mut room, leader, &fetch(epoch, offset, last_epoch)).fetched.expect("it is served");
        match expected {
            Some(expected) => assert_eq!(fetched, expected, "{what}"),
            None => assert!(matches!(fetched, Fetched::Records(_)), "{what}: {fetched:?}"),
        }
    }
    let path = Path::new(DIR).join(id.file_name());
    let file = room.member(leader).disk.read_to_vec(&path).expect("the snapshot");
    let (cluster_id, replica) = (Some("one".to_owned()), Some(key(9)));
    let asked = FetchSnapshot { cluster_id, replica, epoch, id, position: 0, max_bytes: 1_000 };
    let mut got = Vec::new();
    while got.len() < file.len() {
        let asked = FetchSnapshot { position: got.len() as i64, ..asked.clone() };
        let piece = room.quorum(leader).fetch_snapshot(&asked).piece.expect("it is there");
        assert_eq!((piece.id, piece.size, piece.position), (id, file.len() as u64, got.len() as u64));
        got.extend_from_slice(&piece.bytes);
    }
    assert_eq!(got, file);
    let other = SnapshotId { end: id.end + 1, ..id };
    let rows = [
        (FetchSnapshot { id: other, ..asked.clone() }, ErrorCode::SnapshotNotFound),
        (FetchSnapshot { id: SnapshotId { end: 0, ..id }, ..asked.clone() }, ErrorCode::SnapshotNotFound),
        (FetchSnapshot { position: file.len() as i64, ..asked.clone() }, ErrorCode::PositionOutOfRange),
        (FetchSnapshot { position: -1, ..asked.clone() }, ErrorCode::PositionOutOfRange),
        (FetchSnapshot { epoch: LeaderEpoch(0), ..asked.clone() }, ErrorCode::FencedLeaderEpoch),
        (FetchSnapshot { cluster_id: Some("two".into()), ..asked }, ErrorCode::InconsistentClusterId),
    ];
    for (asked, code) in rows {
        assert_eq!(room.quorum(leader).fetch_snapshot(&asked).piece, Err(code), "{asked:?}");
    }
}
