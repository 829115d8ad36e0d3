//! Stories of joining: ids, protocols, and how long a group waits for its members.

use super::*;

#[test]
fn a_new_group_waits_for_more_members_as_long_as_they_come() {
    check(
        "three members, the last one late",
        Settings::default(),
        vec![
            at(0, join("a")).says(&["log g 0 []"]),
            at(1_000, join("b")),
            at(3_000, join("c")),
            at(5_999, Deed::Wait),
            // The deadline at 3,000 moves to 6,000 because b came before it, and then to 9,000 because of c.
            at(9_000, Deed::Wait).says(&["a leads 1 [a b c] range", "b follows a in 1", "c follows a in 1"]),
        ],
    );
    check(
        "the wait ends with the rebalance timeout",
        Settings::default(),
        vec![
            at(0, join("a").join(|join| join.rebalance_timeout_ms = 7_000)).says(&["log g 0 []"]),
            at(2_999, join("b")),
            at(5_999, join("c")),
            at(6_500, join("d")),
            at(6_999, Deed::Wait),
            at(7_000, Deed::Wait).says(&[
                "a leads 1 [a b c d] range",
                "b follows a in 1",
                "c follows a in 1",
                "d follows a in 1",
            ]),
        ],
    );
    check(
        "nobody else comes",
        Settings::default(),
        vec![
            at(0, join("a")).says(&["log g 0 []"]),
            at(2_999, Deed::Wait),
            at(3_000, Deed::Wait).says(&["a leads 1 [a] range"]),
        ],
    );
}

#[test]
fn a_new_member_has_to_come_back_with_its_id() {
    check(
        "KIP-394",
        prompt(),
        vec![
            at(0, join_v4("a")).says(&["log g 0 []", "a: MEMBER_ID_REQUIRED"]),
            at(1, beat("a", 0)).says(&["a: UNKNOWN_MEMBER_ID"]),
            at(2, join_v4("a")).says(&["a leads 1 [a] range"]),
        ],
    );
    check(
        "the group waits for one that is pending, until its session ends",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[("a", "all")])).says(&["log g 1 [a]", "a gets \"all\""]),
            at(10, join_v4("b")).says(&["b: MEMBER_ID_REQUIRED"]),
            at(11, beat("a", 1)).says(&["a ok"]),
            at(12, join("a")),
            at(10_009, Deed::Wait),
            at(10_010, Deed::Wait).says(&["a leads 2 [a] range"]),
            at(10_011, join_v4("b")).says(&["b: UNKNOWN_MEMBER_ID"]),
        ],
    );
    check(
        "one that is pending is not a static member",
        prompt(),
        vec![
            at(0, join_v4("a")).says(&["log g 0 []", "a: MEMBER_ID_REQUIRED"]),
            at(1, join_v4("a").instance("i")).says(&["a: UNKNOWN_SERVER_ERROR"]),
        ],
    );
}

#[test]
fn a_join_that_makes_no_sense_is_refused() {
    let other_type = |ask: Ask| ask.join(|join| join.protocol_type = Arc::from("connect"));
    let with = |ask: Ask, names: &'static [(&'static str, &'static [&'static str])]| {
        ask.join(move |join| join.protocols = protocols(names))
    };
    check(
        "before there is a group",
        prompt(),
        vec![
            at(0, join("a").of("")).says(&["a: INVALID_GROUP_ID"]),
            at(0, join("a").join(|join| join.session_timeout_ms = 5_999))
                .says(&["a: INVALID_SESSION_TIMEOUT"]),
            at(0, join("a").join(|join| join.session_timeout_ms = 1_800_001))
                .says(&["a: INVALID_SESSION_TIMEOUT"]),
            at(0, join("a").stranger()).says(&["a: UNKNOWN_MEMBER_ID"]),
            at(0, with(join("a"), &[])).says(&["a: INCONSISTENT_GROUP_PROTOCOL"]),
            at(0, join("a").join(|join| join.protocol_type = Arc::from("")))
                .says(&["a: INCONSISTENT_GROUP_PROTOCOL"]),
            at(0, join("a").join(|join| join.client_id = Arc::from("a".repeat(32_760))))
                .says(&["a: INVALID_REQUEST"]),
            at(1, list()).says(&["op"]),
        ],
    );
    check(
        "while there is one",
        prompt(),
        vec![
            at(0, with(join("a"), &[("range", &[]), ("sticky", &[])]))
                .says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, other_type(join("b"))).says(&["b: INCONSISTENT_GROUP_PROTOCOL"]),
            at(1, with(join("b"), &[("other", &[])])).says(&["b: INCONSISTENT_GROUP_PROTOCOL"]),
            at(1, join("b").stranger()).says(&["b: UNKNOWN_MEMBER_ID"]),
            at(2, with(join("b"), &[("other", &[]), ("sticky", &[])])),
            at(3, join("c")).says(&["c: INCONSISTENT_GROUP_PROTOCOL"]),
        ],
    );
}

#[test]
fn the_protocol_that_most_prefer_is_taken_of_those_that_all_can_use() {
    let with = |who, names: &'static [(&'static str, &'static [&'static str])]| {
        join(who).join(move |join| join.protocols = protocols(names))
    };
    check(
        "two against one, and the third choice of all is everybody's",
        Settings::default(),
        vec![
            at(0, with("a", &[("range", &[]), ("robin", &[])])).says(&["log g 0 []"]),
            at(1, with("b", &[("robin", &[]), ("range", &[])])),
            at(2, with("c", &[("sticky", &[]), ("robin", &[]), ("range", &[])])),
            at(9_000, Deed::Wait).says(&["a leads 1 [a b c] robin", "b follows a in 1", "c follows a in 1"]),
        ],
    );
    check(
        "a member may change its mind, and the others join again",
        prompt(),
        vec![
            at(0, with("a", &[("range", &[]), ("robin", &[])])).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(2, with("a", &[("robin", &[]), ("range", &[])])).says(&["a leads 2 [a] robin"]),
        ],
    );
}

#[test]
fn a_member_that_joins_again_is_told_what_it_missed_or_starts_a_rebalance() {
    let start = || {
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join("b")),
            at(2, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
        ]
    };
    let stable = || {
        let mut rows = start();
        rows.push(at(3, sync("b", 2, &[])));
        rows.push(at(4, sync("a", 2, &[("a", "x"), ("b", "y")])).says(&[
            "log g 2 [a b]",
            "a gets \"x\"",
            "b gets \"y\"",
        ]));
        rows
    };
    let story = |name, mut rows: Vec<Row>, more: Vec<Row>| {
        rows.extend(more);
        check(name, prompt(), rows);
    };
    story(
        "the answer was lost before the sync",
        start(),
        vec![at(3, join("b")).says(&["b follows a in 2"]), at(3, join("a")).says(&["a leads 2 [a b] range"])],
    );
    story(
        "with another subscription before the sync",
        start(),
        vec![
            at(3, sync("a", 2, &[])).says(&["log g 2 [a b]", "a gets \"\""]),
            at(4, join("b").join(|join| join.protocols = protocols(&[("range", &["u"])]))),
            at(5, beat("a", 2)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(6, join("a")).says(&["a leads 3 [a b] range", "b follows a in 3"]),
        ],
    );
    story("a follower with nothing new", stable(), vec![at(5, join("b")).says(&["b follows a in 2"])]);
    story(
        "a leader, whose topics have changed",
        stable(),
        vec![
            at(5, join("a")),
            at(6, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(7, sync("b", 2, &[])).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(8, join("b")).says(&["a leads 3 [a b] range", "b follows a in 3"]),
        ],
    );
    story(
        "twice, because its connection was lost: the first one is answered too",
        stable(),
        vec![
            at(5, join("a")),
            at(6, join("a")).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(7, join("b")).says(&["a leads 3 [a b] range", "b follows a in 3"]),
        ],
    );
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    check(
        "the leader is late, another leads",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(2, join("b").join(|join| join.rebalance_timeout_ms = 8_000)),
            at(9_000, beat("a", 1)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(18_000, beat("a", 1)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(27_000, beat("a", 1)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(36_000, beat("a", 1)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(45_000, beat("a", 1)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(54_000, beat("a", 1)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(60_001, Deed::Wait),
            // The longest timeout of all members counts.
            at(60_002, Deed::Wait).says(&["b leads 2 [b] range"]),
            at(60_003, beat("a", 1)).says(&["a: UNKNOWN_MEMBER_ID"]),
        ],
    );
    let patient = |join: &mut Join| {
        join.session_timeout_ms = 1_000_000;
        join.rebalance_timeout_ms = 900_000;
    };
    check(
        "a new member that is not answered within five minutes",
        prompt(),
        vec![
            at(0, join("a").join(patient)).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(2, join("b")),
            at(300_001, Deed::Wait),
            at(300_002, Deed::Wait).says(&["b: UNKNOWN_MEMBER_ID"]),
            at(300_003, join("a")).says(&["a leads 2 [a] range"]),
        ],
    );
}

#[test]
fn a_group_of_another_type_is_kept_too() {
    let connect = |ask: Ask| {
        ask.join(|join| {
            join.protocol_type = Arc::from("connect");
            join.protocols =
                vec![Protocol { name: Arc::from("default"), metadata: Bytes::from_static(b"?") }];
        })
    };
    check(
        "Connect",
        prompt(),
        vec![
            at(0, connect(join("a"))).says(&["log g 0 []", "a leads 1 [a] default"]),
            at(1, sync("a", 1, &[("a", "tasks")])).says(&["log g 1 [a]", "a gets \"tasks\""]),
            at(2, delete_offsets("t", &[0])).says(&["op: NON_EMPTY_GROUP"]),
            at(3, leave("a")).says(&["log g 2 []", "a ok"]),
            at(4, join("b")).says(&["b leads 3 [b] range"]),
            at(5, list()).says(&["op g CompletingRebalance consumer"]),
        ],
    );
}
