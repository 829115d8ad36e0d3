//! Stories of producers that are faster than the end of their last transaction: they wait for it at the coordinator, but not
//! for ever.

use super::*;

fn stage() -> Stage {
    Stage::new(Settings { adding_patience_ms: 20, ..Settings::default() }, TransactionVersion::EPOCH_BUMP)
}

fn after_prepared(rows: Vec<Row>) -> Vec<Row> {
    let prepared = vec![
        at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
        at(1, add("a", &[0, 1])).says(&["log app Ongoing 1000/0 t-0 t-1", "a ok"]),
        at(2, commit("a")).says(&[
            "log app PrepareCommit 1000/1 t-0 t-1",
            "a goes on as 1000/1",
            "markers commit 1000/1 t-0 t-1",
        ]),
    ];
    prepared.into_iter().chain(rows).collect()
}

#[test]
fn partitions_of_the_next_transaction_are_added_when_the_one_before_is_complete() {
    let rows = vec![
        at(3, add("a", &[0])),
        at(4, add("a", &[1])),
        at(5, marked(&[(0, OK)])),
        at(6, marked(&[(1, OK)])).says(&[
            "log app CompleteCommit 1000/1",
            "log app Ongoing 1000/1 t-0",
            "a ok",
            "log app Ongoing 1000/1 t-0 t-1",
            "a ok",
        ]),
        at(60, describe()).says(&["op Ongoing 1000/1 since 6 within 60000 t-0 t-1"]),
    ];
    check_on("each when the one before it is written", stage(), after_prepared(rows));
}

#[test]
fn who_has_waited_for_long_enough_is_refused() {
    let rows = vec![
        at(3, add("a", &[0])),
        at(10, add("a", &[1])),
        at(22, Deed::Wait),
        at(23, Deed::Wait).says(&["a: CONCURRENT_TRANSACTIONS", "a: CONCURRENT_TRANSACTIONS"]),
        at(24, marked(&[(0, OK), (1, OK)])).says(&["log app CompleteCommit 1000/1"]),
        at(25, add("a", &[0])).says(&["log app Ongoing 1000/1 t-0", "a ok"]),
    ];
    check_on("a marker takes its time", stage(), after_prepared(rows));
}

#[test]
fn who_is_fenced_while_waiting_hears_that() {
    let rows = vec![
        at(3, add("a", &[0]).of_producer(1_000, 0)),
        at(4, marked(&[(0, OK), (1, OK)])).says(&["log app CompleteCommit 1000/1", "a: PRODUCER_FENCED"]),
    ];
    check_on("a request of the transaction before comes late", stage(), after_prepared(rows));
}

#[test]
fn nobody_waits_for_a_coordinator_that_has_gone() {
    let rows = vec![
        at(3, add("a", &[0])),
        at(4, Deed::Resign(ErrorCode::NotCoordinator)).says(&["a: NOT_COORDINATOR"]),
    ];
    check_on("the partition has moved", stage(), after_prepared(rows));
}

#[test]
fn clients_of_before_ask_again_by_themselves() {
    let rows = vec![at(3, add_v1("a", &[0])).says(&["a: CONCURRENT_TRANSACTIONS"])];
    check_on("they have a back-off of their own", stage(), after_prepared(rows));
}
