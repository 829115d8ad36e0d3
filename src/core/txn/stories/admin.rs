//! Stories of operators: ListTransactions and DescribeTransactions.

use super::*;

fn three() -> Vec<Row> {
    vec![
        at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
        at(1, start("b").of("bill")).says(&["log bill Empty 1001/0", "b is 1001/0"]),
        at(1, add("b", &[0]).of("bill")).says(&["log bill Ongoing 1001/0 t-0", "b ok"]),
        at(2, start("c").of("cart")).says(&["log cart Empty 1002/0", "c is 1002/0"]),
        at(1_000, add("c", &[1, 2]).of("cart")).says(&["log cart Ongoing 1002/0 t-1 t-2", "c ok"]),
        at(1_001, commit("c").of("cart")).says(&[
            "log cart PrepareCommit 1002/1 t-1 t-2",
            "c goes on as 1002/1",
            "markers commit 1002/1 t-1 t-2",
        ]),
    ]
}

fn lists(filters: ListTransactions, says: &[&'static str]) {
    let rows = three().into_iter().chain([at(2_000, list(filters)).says(says)]).collect();
    check("a list", rows);
}

#[test]
fn transactions_are_listed_as_far_as_they_pass_all_filters() {
    let states = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    lists(ListTransactions::default(), &["op app Empty bill Ongoing cart PrepareCommit"]);
    lists(
        ListTransactions { states: states(&["Ongoing", "Empty"]), ..Default::default() },
        &["op app Empty bill Ongoing"],
    );
    // Case matters, and what is no state lists nothing.
    let unknown = ListTransactions { states: states(&["ongoing", "Dead", "Empty"]), ..Default::default() };
    assert_eq!(unknown.unknown_states().collect::<Vec<_>>(), ["ongoing"]);
    lists(ListTransactions { states: states(&["ongoing"]), ..Default::default() }, &["op"]);
    lists(ListTransactions { states: states(&["Dead", "PrepareEpochFence"]), ..Default::default() }, &["op"]);
    lists(
        ListTransactions { producer_ids: vec![ProducerId(1002), ProducerId(7)], ..Default::default() },
        &["op cart PrepareCommit"],
    );
    lists(
        ListTransactions { duration_ms: Some(1_000), ..Default::default() },
        // One that never began counts as old.
        &["op app Empty bill Ongoing"],
    );
    lists(ListTransactions { duration_ms: Some(1_999), ..Default::default() }, &["op app Empty"]);
    let begins_with_c = NamePattern(Arc::new(|name| name.starts_with('c')));
    lists(
        ListTransactions { transactional_ids: Some(begins_with_c), ..Default::default() },
        &["op cart PrepareCommit"],
    );
}

#[test]
fn a_transaction_is_described() {
    let rows = three().into_iter().chain([
        at(2_000, describe()).says(&["op Empty 1000/0 within 60000"]),
        at(2_000, describe().of("bill")).says(&["op Ongoing 1001/0 since 1 within 60000 t-0"]),
        at(2_001, marked(&[(1, OK)])),
        at(2_002, describe().of("cart")).says(&["op PrepareCommit 1002/1 since 1000 within 60000 t-2"]),
        at(2_003, describe().of("nobody")).says(&["op: TRANSACTIONAL_ID_NOT_FOUND"]),
        at(2_003, describe().of("")).says(&["op: INVALID_REQUEST"]),
    ]);
    check("what is known of it", rows.collect());
}
