//! Stories of operators: listing, describing and deleting groups.

use super::*;

fn list_of(states: &[&str], types: &[&str]) -> Ask {
    let own = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    Ask { who: "op", command: Command::ListGroups(ListGroups { states: own(states), types: own(types) }) }
}

#[test]
fn groups_are_listed_by_state_and_type() {
    check(
        "in any spelling",
        prompt(),
        vec![
            at(0, commit("a", -1, &[(0, 5)]).of("e")).says(&["log e t-0 5", "a ok"]),
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, list_of(&[], &[])).says(&["op e Empty , g CompletingRebalance consumer"]),
            at(1, list_of(&[" EMPTY "], &[])).says(&["op e Empty "]),
            at(1, list_of(&["stable", "completingrebalance"], &[]))
                .says(&["op g CompletingRebalance consumer"]),
            at(1, list_of(&["dead"], &[])).says(&["op"]),
            at(1, list_of(&[], &["CLASSIC"])).says(&["op e Empty , g CompletingRebalance consumer"]),
            at(1, list_of(&[], &["consumer", "nonsense"])).says(&["op"]),
            at(1, list_of(&["empty"], &["classic"])).says(&["op e Empty "]),
        ],
    );
}

#[test]
fn a_description_says_what_is_settled() {
    check(
        "the protocol and what was told under it only while the group is stable",
        prompt(),
        vec![
            at(0, describe("g")).says(&["op g GROUP_ID_NOT_FOUND"]),
            at(1, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(2, describe("g")).says(&["op g CompletingRebalance  a-"]),
            at(3, sync("a", 1, &[("a", "x")])).says(&["log g 1 [a]", "a gets \"x\""]),
            at(4, describe("g")).says(&["op g Stable range a+x"]),
            at(5, join("b")),
            at(6, describe("g")).says(&["op g PreparingRebalance  a-x b-"]),
            at(7, leave_all("op", &[("a", None)])).says(&["b leads 2 [b] range", "op ok"]),
            at(8, leave("b")).says(&["log g 3 []", "b ok"]),
            at(9, describe("g")).says(&["op g Empty "]),
        ],
    );
}

#[test]
fn only_a_group_without_members_can_be_deleted() {
    check(
        "with all its offsets",
        prompt(),
        vec![
            at(0, delete(&["g"])).says(&["op: GROUP_ID_NOT_FOUND"]),
            at(1, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(2, delete(&["g"])).says(&["op: NON_EMPTY_GROUP"]),
            at(3, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(4, commit("a", 1, &[(0, 5), (1, 6)])).says(&["log g t-0 5", "log g t-1 6", "a ok ok"]),
            at(5, delete(&["g"])).says(&["op: NON_EMPTY_GROUP"]),
            at(6, leave("a")).says(&["log g 2 []", "a ok"]),
            at(7, delete(&["g", "nowhere", "g"])).says(&[
                "log g t-0 gone",
                "log g t-1 gone",
                "log g gone",
                "op ok: GROUP_ID_NOT_FOUND: GROUP_ID_NOT_FOUND",
            ]),
            at(8, fetch_all("a")).says(&["a"]),
            at(9, list()).says(&["op"]),
        ],
    );
    check(
        "one that waits for a pending member has none",
        prompt(),
        vec![
            at(0, join_v4("a")).says(&["log g 0 []", "a: MEMBER_ID_REQUIRED"]),
            at(1, delete(&["g"])).says(&["log g gone", "op ok"]),
            at(2, join_v4("a")).says(&["a: UNKNOWN_MEMBER_ID"]),
        ],
    );
}
