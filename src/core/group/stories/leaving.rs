//! Stories of members that leave, one by one and several at once.

use super::*;

#[test]
fn the_last_member_leaves_an_empty_group() {
    check(
        "and takes up again later",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[("a", "x")])).says(&["log g 1 [a]", "a gets \"x\""]),
            at(2, leave("a")).says(&["log g 2 []", "a ok"]),
            at(3, list()).says(&["op g Empty consumer"]),
            at(4, leave("a")).says(&["a: UNKNOWN_MEMBER_ID"]),
            at(5, join("b")).says(&["b leads 3 [b] range"]),
        ],
    );
}

#[test]
fn who_leaves_makes_the_others_join_again() {
    check(
        "a leader",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join("b")),
            at(2, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(3, sync("b", 2, &[])),
            at(4, leave("a")).says(&["b: REBALANCE_IN_PROGRESS", "a ok"]),
            at(5, join("b")).says(&["b leads 3 [b] range"]),
            at(6, sync("b", 3, &[])).says(&["log g 3 [b]", "b gets \"\""]),
        ],
    );
    check(
        "one that was waited for",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(2, join("b")),
            at(3, leave("a")).says(&["b leads 2 [b] range", "a ok"]),
        ],
    );
    check(
        "one that waits itself is answered twice",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join("b")),
            at(2, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(3, sync("b", 2, &[])),
            at(4, leave("b")).says(&["b: UNKNOWN_MEMBER_ID", "b ok"]),
            at(5, join("a")).says(&["a leads 3 [a] range"]),
        ],
    );
    check(
        "one that is pending",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join_v4("b")).says(&["b: MEMBER_ID_REQUIRED"]),
            at(2, join("c")),
            at(3, join("a")),
            at(4, leave("b")).says(&["a leads 2 [a c] range", "c follows a in 2", "b ok"]),
        ],
    );
}

#[test]
fn an_operator_takes_out_many_at_once() {
    check(
        "by name, by id, and some that are not there",
        prompt(),
        vec![
            at(0, leave("a").of("")).says(&["a: INVALID_GROUP_ID"]),
            at(0, leave("a")).says(&["a: UNKNOWN_MEMBER_ID"]),
            at(0, join_as("a", "i")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join_as("b", "j")),
            at(2, join_as("a", "i")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(3, leave_all("op", &[("", Some("i")), ("", Some("nobody")), ("", None), ("stranger", None)]))
                .says(&["op ok: UNKNOWN_MEMBER_ID: UNKNOWN_MEMBER_ID: UNKNOWN_MEMBER_ID"]),
            at(4, join_as("b", "j")).says(&["b leads 3 [b] range"]),
            at(5, leave_all("op", &[("a", Some("j")), ("stranger", Some("i"))]))
                .says(&["op: FENCED_INSTANCE_ID: UNKNOWN_MEMBER_ID"]),
            at(6, leave_all("op", &[("b", Some("j")), ("b", Some("j"))]))
                .says(&["log g 4 []", "op ok: UNKNOWN_MEMBER_ID"]),
        ],
    );
}
