//! Stories of assignments: the sync of the leader, those of the others, and missing ones.

use super::*;

/// Two members in generation 2, which a leads; neither has synced.
fn two(more: Vec<Row>) -> Vec<Row> {
    let mut rows = vec![
        at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
        at(1, join("b")),
        at(2, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
    ];
    rows.extend(more);
    rows
}

#[test]
fn everybody_gets_what_the_leader_assigned() {
    check(
        "whoever comes first",
        prompt(),
        two(vec![
            at(3, sync("b", 2, &[("b", "not for you to say")])),
            at(4, sync("a", 2, &[("a", "x"), ("b", "y"), ("stranger", "z")])).says(&[
                "log g 2 [a b]",
                "a gets \"x\"",
                "b gets \"y\"",
            ]),
            at(5, sync("b", 2, &[])).says(&["b gets \"y\""]),
            at(6, sync("a", 2, &[("a", "too late")])).says(&["a gets \"x\""]),
        ]),
    );
    check(
        "whom the leader forgot gets nothing",
        prompt(),
        two(vec![
            at(3, sync("a", 2, &[("a", "x")])).says(&["log g 2 [a b]", "a gets \"x\""]),
            at(4, sync("b", 2, &[])).says(&["b gets \"\""]),
        ]),
    );
    check(
        "a sync that was sent twice is answered twice",
        prompt(),
        two(vec![
            at(3, sync("b", 2, &[])),
            at(4, sync("b", 2, &[])).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(5, sync("a", 2, &[("b", "y")])).says(&["log g 2 [a b]", "a gets \"\"", "b gets \"y\""]),
        ]),
    );
}

#[test]
fn a_sync_that_does_not_fit_is_refused() {
    let named = |kind: &'static str, name: &'static str| {
        sync("b", 2, &[]).sync(move |sync| {
            sync.protocol_type = Some(Arc::from(kind));
            sync.protocol = Some(Arc::from(name));
        })
    };
    check(
        "by its words",
        prompt(),
        two(vec![
            at(3, sync("b", 2, &[]).of("")).says(&["b: INVALID_GROUP_ID"]),
            at(3, sync("b", 2, &[]).of("nowhere")).says(&["b: UNKNOWN_MEMBER_ID"]),
            at(3, sync("stranger", 2, &[])).says(&["stranger: UNKNOWN_MEMBER_ID"]),
            at(3, sync("b", 1, &[])).says(&["b: ILLEGAL_GENERATION"]),
            at(3, sync("b", 3, &[])).says(&["b: ILLEGAL_GENERATION"]),
            at(3, named("connect", "range")).says(&["b: INCONSISTENT_GROUP_PROTOCOL"]),
            at(3, named("consumer", "robin")).says(&["b: INCONSISTENT_GROUP_PROTOCOL"]),
            at(3, named("consumer", "range")),
        ]),
    );
}

#[test]
fn a_join_while_others_sync_calls_them_back() {
    check(
        "a third member comes",
        prompt(),
        two(vec![
            at(3, sync("b", 2, &[])),
            at(4, join("c")).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(5, sync("a", 2, &[("a", "x")])).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(6, join("a")),
            at(7, join("b")).says(&["a leads 3 [a b c] range", "b follows a in 3", "c follows a in 3"]),
        ]),
    );
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let beats = |who, generation, until: i64, outcome: &'static [&'static str]| {
        (1..=until / 9_000)
            .map(move |n| at(n * 9_000, beat(who, generation)).says(outcome))
            .collect::<Vec<_>>()
    };
    let mut rows = two(vec![at(3, sync("a", 2, &[("a", "x")])).says(&["log g 2 [a b]", "a gets \"x\""])]);
    // Both send heartbeats; b never syncs.
    for (a, b) in beats("a", 2, 54_000, &["a ok"]).into_iter().zip(beats("b", 2, 54_000, &["b ok"])) {
        rows.extend([a, b]);
    }
    rows.push(at(60_001, Deed::Wait));
    rows.push(at(60_002, beat("a", 2)).says(&["a: REBALANCE_IN_PROGRESS"]));
    rows.push(at(60_003, beat("b", 2)).says(&["b: UNKNOWN_MEMBER_ID"]));
    rows.push(at(60_004, join("a")).says(&["a leads 3 [a] range"]));
    check("a follower", prompt(), rows);

    let mut rows = two(vec![at(3, sync("b", 2, &[]))]);
    rows.extend(beats("a", 2, 54_000, &["a ok"]));
    rows.push(at(60_002, Deed::Wait).says(&["b: REBALANCE_IN_PROGRESS"]));
    rows.push(at(60_003, join("b")).says(&["b leads 3 [b] range"]));
    check("the leader", prompt(), rows);
}

#[test]
fn a_member_that_waits_for_the_leader_need_not_send_heartbeats() {
    let mut rows = two(vec![at(3, sync("b", 2, &[]))]);
    rows.extend((1..=5).map(|n| at(n * 9_000, beat("a", 2)).says(&["a ok"])));
    rows.push(at(50_000, sync("a", 2, &[("b", "y")])).says(&[
        "log g 2 [a b]",
        "a gets \"\"",
        "b gets \"y\"",
    ]));
    rows.push(at(59_999, beat("b", 2)).says(&["b ok"]));
    check("b's session ran out, and begins anew with its assignment", prompt(), rows);
}

#[test]
fn heartbeats_keep_a_member_and_tell_it_of_a_rebalance() {
    check(
        "alone in a group",
        prompt(),
        vec![
            at(0, beat("a", 1)).says(&["a: UNKNOWN_MEMBER_ID"]),
            at(0, beat("a", 1).of("")).says(&["a: INVALID_GROUP_ID"]),
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, beat("a", 1)).says(&["a ok"]),
            at(1, beat("a", 0)).says(&["a: ILLEGAL_GENERATION"]),
            at(1, beat("stranger", 1)).says(&["stranger: UNKNOWN_MEMBER_ID"]),
            at(2, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(9_000, beat("a", 1)).says(&["a ok"]),
            at(18_999, beat("a", 1)).says(&["a ok"]),
            at(28_998, Deed::Wait),
            at(28_999, Deed::Wait).says(&["log g 2 []"]),
            at(29_000, beat("a", 1)).says(&["a: UNKNOWN_MEMBER_ID"]),
        ],
    );
    check(
        "one of two falls silent",
        prompt(),
        two(vec![
            at(3, sync("a", 2, &[])).says(&["log g 2 [a b]", "a gets \"\""]),
            at(4, sync("b", 2, &[])).says(&["b gets \"\""]),
            at(9_000, beat("b", 2)).says(&["b ok"]),
            at(10_003, Deed::Wait),
            at(10_004, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(10_005, join("b")).says(&["b leads 3 [b] range"]),
        ]),
    );
}
