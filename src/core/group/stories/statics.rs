//! Stories of static members (KIP-345): after a restart they keep their place in the group.

use super::*;

/// Members a (as instance `i`) and b (as `j`), stable in generation 2, which a leads.
fn two(more: Vec<Row>) -> Vec<Row> {
    let mut rows = vec![
        at(0, join_as("a", "i")).says(&["log g 0 []", "a leads 1 [a] range"]),
        at(1, join_as("b", "j")),
        at(2, join_as("a", "i")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
        at(3, sync("a", 2, &[("a", "x"), ("b", "y")])).says(&["log g 2 [a b]", "a gets \"x\""]),
        at(4, sync("b", 2, &[])).says(&["b gets \"y\""]),
    ];
    rows.extend(more);
    rows
}

fn old(ask: Ask) -> Ask {
    ask.join(|join| join.can_skip_assignment = false)
}

#[test]
fn a_restarted_member_gets_its_assignment_without_a_rebalance() {
    check(
        "a follower",
        prompt(),
        two(vec![
            at(5, join_as("b2", "j")).says(&["log g 2 [a j]", "b2 follows a in 2"]),
            at(6, sync("b2", 2, &[])).says(&["b2 gets \"y\""]),
            at(7, beat("a", 2)).says(&["a ok"]),
        ]),
    );
    check(
        "the leader, told that there is nothing to assign (KIP-814)",
        prompt(),
        two(vec![
            at(5, join_as("a2", "i")).says(&["log g 2 [b i]", "a2 leads 2 [a2 b] range as before"]),
            at(6, sync("a2", 2, &[])).says(&["a2 gets \"x\""]),
        ]),
    );
    check(
        "the leader of before KIP-814, told that its former self leads",
        prompt(),
        two(vec![
            at(5, old(join_as("a2", "i"))).says(&["log g 2 [b i]", "a2 follows a in 2"]),
            at(6, sync("a2", 2, &[])).says(&["a2 gets \"x\""]),
            // It is the leader all the same: when it joins again, the others have to join, too.
            at(7, join_as("a2", "i")),
            at(8, join_as("b", "j")).says(&["a2 leads 3 [a2 b] range", "b follows a2 in 3"]),
        ]),
    );
}

#[test]
fn two_with_one_name_do_not_both_go_on() {
    check(
        "the older one is fenced in whatever it does",
        prompt(),
        two(vec![
            at(5, join_as("b2", "j")).says(&["log g 2 [a j]", "b2 follows a in 2"]),
            at(6, beat("b", 2).instance("j")).says(&["b: FENCED_INSTANCE_ID"]),
            at(6, beat("b", 2)).says(&["b: UNKNOWN_MEMBER_ID"]),
            at(6, sync("b", 2, &[]).instance("j")).says(&["b: FENCED_INSTANCE_ID"]),
            at(6, commit("b", 2, &[(0, 1)]).instance("j")).says(&["b: FENCED_INSTANCE_ID"]),
            at(6, leave_all("b", &[("b", Some("j"))])).says(&["b: FENCED_INSTANCE_ID"]),
            at(6, join_as("b", "j")).says(&["b: FENCED_INSTANCE_ID"]),
            at(7, beat("b2", 2).instance("j")).says(&["b2 ok"]),
            at(8, beat("b2", 2).instance("nobody")).says(&["b2: UNKNOWN_MEMBER_ID"]),
        ]),
    );
    check(
        "the older one is told so if it waits to join",
        prompt(),
        two(vec![
            at(5, join_as("b", "j").join(|join| join.protocols = protocols(&[("range", &["u"])]))),
            at(6, join_as("b2", "j")).says(&["b: FENCED_INSTANCE_ID"]),
            at(7, join_as("a", "i")).says(&["a leads 3 [a b2] range", "b2 follows a in 3"]),
        ]),
    );
    check(
        "or to sync",
        prompt(),
        vec![
            at(0, join_as("a", "i")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join_as("b", "j")),
            at(2, join_as("a", "i")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(3, sync("b", 2, &[])),
            at(4, join_as("b2", "j")).says(&["b: FENCED_INSTANCE_ID"]),
            at(5, sync("a", 2, &[])).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(6, join_as("a", "i")).says(&["a leads 3 [a b2] range", "b2 follows a in 3"]),
        ],
    );
}

#[test]
fn a_restarted_member_that_speaks_another_protocol_starts_a_rebalance() {
    let both = |ask: Ask, names: &'static [(&'static str, &'static [&'static str])]| {
        ask.join(move |join| join.protocols = protocols(names))
    };
    check(
        "alone, it can change the group's protocol",
        prompt(),
        vec![
            at(0, both(join_as("a", "i"), &[("range", &[]), ("robin", &[])]))
                .says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[("a", "x")])).says(&["log g 1 [a]", "a gets \"x\""]),
            at(2, both(join_as("a2", "i"), &[("robin", &[]), ("range", &[])]))
                .says(&["a2 leads 2 [a2] robin"]),
        ],
    );
}

#[test]
fn a_static_member_that_does_not_join_again_stays_until_its_session_ends() {
    check(
        "the rebalance goes on without its answer",
        prompt(),
        two(vec![
            at(5, join_as("c", "k").join(|join| join.session_timeout_ms = 100_000)),
            at(9_000, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(9_500, join_as("a", "i").join(|join| join.session_timeout_ms = 100_000)),
            at(18_999, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(28_998, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(38_997, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(48_996, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(58_995, beat("b", 2)).says(&["b: REBALANCE_IN_PROGRESS"]),
            at(60_005, Deed::Wait).says(&["a leads 3 [a b c] range", "c follows a in 3"]),
            at(60_006, beat("b", 3)).says(&["b ok"]),
        ]),
    );
    let brief = |ask: Ask| {
        ask.join(|join| {
            join.session_timeout_ms = 60_000;
            join.rebalance_timeout_ms = 5_000;
        })
    };
    check(
        "nobody comes, so nobody can lead: the wait is repeated",
        prompt(),
        vec![
            at(0, brief(join_as("a", "i"))).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, brief(join_as("b", "j"))),
            at(2, brief(join("c"))),
            at(3, brief(join_as("a", "i"))).says(&[
                "c follows a in 2",
                "a leads 2 [a b c] range",
                "b follows a in 2",
            ]),
            at(4, sync("b", 2, &[])),
            at(5, sync("c", 2, &[])),
            at(6, sync("a", 2, &[])).says(&["log g 2 [a b c]", "c gets \"\"", "a gets \"\"", "b gets \"\""]),
            at(7, leave("c")).says(&["c ok"]),
            at(5_006, Deed::Wait),
            at(6_000, brief(join_as("a", "i"))),
            at(10_006, Deed::Wait),
            at(10_007, Deed::Wait).says(&["a leads 3 [a b] range"]),
        ],
    );
}
