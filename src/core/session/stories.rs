//! What happens to fetchers and their sessions, as rows.

use std::sync::Arc;

use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::*;

fn key(name: &str, partition: i32) -> FetchKey {
    FetchKey { topic: FetchTopic::Name(Arc::from(name)), partition }
}

fn at(fetch_offset: i64) -> Position {
    Position {
        fetch_offset,
        max_bytes: 1 << 20,
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start_offset: -1,
    }
}

fn told(records: bool, high_watermark: i64) -> PartitionAnswer {
    PartitionAnswer { error: ErrorCode::None, records, high_watermark, log_start_offset: 0, redirect: false }
}

fn cache(slots: usize) -> Sessions<()> {
    Sessions::new(Limits { slots, eviction_ms: 120_000 })
}

fn with_session(sessions: &mut Sessions<()>, id: i32, names: &[&str], now: i64) -> i32 {
    assert_eq!(sessions.begin(SessionRequest { id: 0, epoch: 0 }, false, [], [], now), Context::Full);
    sessions.create(id, false, names.iter().map(|n| (key(n, 0), at(0), told(false, 0))), (), now)
}

#[test]
fn a_session_tells_only_what_changed() {
    let mut sessions = cache(10);
    assert_eq!(with_session(&mut sessions, 7, &["a", "b"], 0), 7);
    let rows: &[(i32, [PartitionAnswer; 2], [bool; 2])] = &[
        (1, [told(false, 0), told(false, 0)], [false, false]),
        (2, [told(true, 5), told(false, 0)], [true, false]),
        (3, [told(false, 5), told(false, 1)], [false, true]),
        (
            4,
            [PartitionAnswer { error: ErrorCode::NotLeaderOrFollower, ..told(false, 5) }, told(false, 1)],
            [true, false],
        ),
        (5, [told(false, 5), told(false, 1)], [true, false]),
    ];
    for (epoch, answers, mention) in rows {
        let request = SessionRequest { id: 7, epoch: *epoch };
        assert_eq!(
            sessions.begin(request, false, [], [], 1),
            Context::Incremental { id: 7 },
            "epoch {epoch}"
        );
        let answers = [(key("a", 0), answers[0]), (key("b", 0), answers[1])];
        assert_eq!(sessions.finish(request, &answers).unwrap(), mention, "epoch {epoch}");
    }
}

#[test]
fn a_busy_partition_goes_to_the_back() {
    let mut sessions = cache(10);
    with_session(&mut sessions, 7, &["a", "b", "c"], 0);
    let request = SessionRequest { id: 7, epoch: 1 };
    sessions.begin(request, false, [], [], 1);
    sessions.finish(request, &[(key("a", 0), told(true, 9))]).unwrap();
    let order: Vec<FetchKey> = sessions.partitions(7).into_iter().map(|(k, _)| k).collect();
    assert_eq!(order, [key("b", 0), key("c", 0), key("a", 0)]);
}

#[test]
fn a_request_that_does_not_fit_its_session_is_refused() {
    let mut sessions = cache(10);
    with_session(&mut sessions, 7, &["a"], 0);
    let rows = [
        (SessionRequest { id: 8, epoch: 1 }, false, ErrorCode::FetchSessionIdNotFound),
        (SessionRequest { id: 7, epoch: 2 }, false, ErrorCode::InvalidFetchSessionEpoch),
        (SessionRequest { id: 7, epoch: 1 }, true, ErrorCode::FetchSessionTopicIdError),
    ];
    for (request, by_id, code) in rows {
        assert_eq!(sessions.begin(request, by_id, [], [], 0), Context::Refused(code), "{request:?}");
    }
}

#[test]
fn a_repeated_request_cannot_advance_a_session_twice() {
    let mut sessions = cache(10);
    with_session(&mut sessions, 7, &["a"], 0);
    let request = SessionRequest { id: 7, epoch: 1 };
    sessions.begin(request, false, [], [], 0);
    assert_eq!(
        sessions.begin(request, false, [], [], 0),
        Context::Refused(ErrorCode::InvalidFetchSessionEpoch)
    );
    sessions.begin(SessionRequest { id: 7, epoch: 2 }, false, [], [], 0);
    assert_eq!(sessions.finish(request, &[]), Err(ErrorCode::InvalidFetchSessionEpoch));
}

#[test]
fn forgetting_the_last_partition_ends_the_session() {
    let mut sessions = cache(10);
    with_session(&mut sessions, 7, &["a"], 0);
    let request = SessionRequest { id: 7, epoch: 1 };
    assert_eq!(sessions.begin(request, false, [], [key("a", 0)], 0), Context::Sessionless);
    assert!(sessions.is_empty());
}

#[test]
fn places_are_kept_from_newcomers_until_they_are_stale() {
    let rows: &[(&str, usize, i64, i32)] = &[
        ("a full cache refuses", 1, 1_000, 0),
        ("a stale session gives way", 1, 120_001, 9),
        ("a free place is given", 2, 1_000, 9),
    ];
    for (story, slots, now, expected) in rows {
        let mut sessions = cache(*slots);
        assert_eq!(with_session(&mut sessions, 7, &["a"], 0), 7);
        assert_eq!(with_session(&mut sessions, 9, &["a"], *now), expected.to_owned(), "{story}");
        assert!(sessions.len() <= *slots, "{story}");
    }
}

#[test]
fn an_old_small_session_gives_way_to_a_larger_one() {
    let mut sessions = cache(1);
    with_session(&mut sessions, 7, &["a"], 0);
    sessions.begin(SessionRequest { id: 7, epoch: 1 }, false, [], [], 130_000);
    assert_eq!(with_session(&mut sessions, 9, &["b"], 130_001), 0);
    assert_eq!(with_session(&mut sessions, 9, &["b", "c"], 130_001), 9);
}

#[test]
fn epochs_wrap_past_the_special_ones() {
    assert_eq!([next_epoch(-1), next_epoch(0), next_epoch(i32::MAX)], [-1, 1, 1]);
}

#[test]
fn some_partitions_of_a_session_keep_its_order() {
    let mut sessions = cache(1);
    with_session(&mut sessions, 9, &["a", "b", "c"], 0);
    let asked = ["c", "x", "a"].map(|name| key(name, 0));
    let found = sessions.some_partitions(9, asked);
    assert_eq!(found, [(key("a", 0), at(0)), (key("c", 0), at(0))]);
    assert_eq!((sessions.companion(9), sessions.companion(8)), (Some(&()), None));
}

#[test]
fn a_replica_is_told_again_until_it_has_everything() {
    let redirect = PartitionAnswer { redirect: true, ..told(false, 0) };
    let error = PartitionAnswer { error: ErrorCode::NotLeaderOrFollower, ..told(false, 0) };
    let rows = [
        ("it has everything", told(false, 5), 5, true),
        ("it was told records, and may not have them", told(true, 5), 4, false),
        ("there was no room for records", told(false, 5), 4, false),
        ("its log has parted from the leader's", redirect, 5, false),
        ("it was refused", error, 5, false),
    ];
    for (story, answer, from, expected) in rows {
        assert_eq!(answer.leaves_nothing_to_do(&at(from), 5), expected, "{story}");
    }
}
