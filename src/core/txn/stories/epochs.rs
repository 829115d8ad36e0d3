//! Stories of clients that have another epoch for each transaction (KIP-890).

use super::*;

#[test]
fn each_transaction_has_an_epoch_of_its_own() {
    check(
        "the client goes on with the next one",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, add("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
            at(2, commit("a")).says(&[
                "log app PrepareCommit 1000/1 t-0",
                "a goes on as 1000/1",
                "markers commit 1000/1 t-0",
            ]),
            at(3, add("a", &[1])).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(4, marked(&[(0, OK)])).says(&["log app CompleteCommit 1000/1"]),
            // What comes late of the transaction before does not get into the next one.
            at(5, add("x", &[0]).of_producer(1000, 0)).says(&["x: PRODUCER_FENCED"]),
            at(6, add("a", &[1])).says(&["log app Ongoing 1000/1 t-1", "a ok"]),
            at(7, abort("a")).says(&[
                "log app PrepareAbort 1000/2 t-1",
                "a goes on as 1000/2",
                "markers abort 1000/2 t-1",
            ]),
            at(8, marked(&[(1, OK)])).says(&["log app CompleteAbort 1000/2"]),
        ],
    );
}

/// The table above `endTransaction` in Kafka's `TransactionCoordinator`: with the epoch of before the client asks again,
/// with the current one it means its next transaction.
#[test]
fn the_epoch_says_whether_a_client_asks_again() {
    use TransactionState::*;
    let bumped = &["log app PrepareAbort 900/8", "a goes on as 900/8", "log app CompleteAbort 900/8"];
    let again = &["a goes on as 900/7"];
    let (fenced, wrong) = (&["a: PRODUCER_FENCED"], &["a: INVALID_TXN_STATE"]);
    type Says = &'static [&'static str];
    let rows: &[(TransactionState, [Says; 4])] = &[
        // Abort again and for the first time, commit again and for the first time.
        (Empty, [fenced, bumped, fenced, wrong]),
        (CompleteAbort, [again, bumped, wrong, wrong]),
        (CompleteCommit, [wrong, bumped, again, wrong]),
    ];
    for (state, cells) in rows {
        let asks = [(abort("a"), 6), (abort("a"), 7), (commit("a"), 6), (commit("a"), 7)];
        for ((ask, epoch), says) in asks.into_iter().zip(cells) {
            let story = format!("{state}: {ask:?} with epoch {epoch}");
            let row = at(0, ask.of_producer(900, epoch)).says(says);
            check_on(&story, stage_after(after_many(*state, 7)), vec![row]);
        }
        for epoch in [5, 8] {
            let row = at(0, abort("a").of_producer(900, epoch)).says(fenced);
            check_on("an epoch of nobody", stage_after(after_many(*state, 7)), vec![row]);
        }
    }
}

#[test]
fn a_lost_answer_is_given_again() {
    check(
        "once the transaction is complete",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, add("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
            at(2, Deed::Lose(commit("a"))).says(&[
                "log app PrepareCommit 1000/1 t-0",
                "a goes on as 1000/1",
                "markers commit 1000/1 t-0",
            ]),
            at(3, commit("a")).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(4, Deed::Reload),
            at(5, marked(&[])).says(&["markers commit 1000/1 t-0"]),
            at(6, marked(&[(0, OK)])).says(&["log app CompleteCommit 1000/1"]),
            at(7, commit("a")).says(&["a goes on as 1000/1"]),
            at(8, add("a", &[0])).says(&["log app Ongoing 1000/1 t-0", "a ok"]),
            // Too late: the next one is open.
            at(9, commit("x").of_producer(1000, 0)).says(&["x: PRODUCER_FENCED"]),
        ],
    );
}

/// Stricter than Kafka, which gives the epoch of the newer process to the older one here.
#[test]
fn an_older_process_is_not_given_the_epoch_of_a_newer_one() {
    check(
        "where the newer one keeps its epoch, that says nothing of the end of a transaction",
        vec![
            at(0, start("old")).says(&["log app Empty 1000/0", "old is 1000/0"]),
            at(1, start("new")).says(&["log app Empty 1000/1", "new is 1000/1"]),
            at(2, add_v1("new", &[0])).says(&["log app Ongoing 1000/1 t-0", "new ok"]),
            at(3, abort_v1("new")).says(&[
                "log app PrepareAbort 1000/1 t-0",
                "new ok",
                "markers abort 1000/1 t-0",
            ]),
            at(4, marked(&[(0, OK)])).says(&["log app CompleteAbort 1000/1"]),
            at(5, abort("old")).says(&["old: PRODUCER_FENCED"]),
            at(6, commit("old")).says(&["old: PRODUCER_FENCED"]),
            at(7, add_v1("new", &[0])).says(&["log app Ongoing 1000/1 t-0", "new ok"]),
        ],
    );
}

#[test]
fn the_last_epoch_of_an_id_leads_to_the_next_id() {
    let rows = vec![
        at(0, Deed::Lose(commit("a").of_producer(900, 32_766))).says(&[
            "log app PrepareCommit 900/32767 then 1000 t-0",
            "a goes on as 1000/0",
            "markers commit 900/32767 t-0",
        ]),
        at(1, marked(&[(0, OK)])).says(&["log app CompleteCommit 1000/0"]),
        at(2, commit("a").of_producer(900, 32_766)).says(&["a goes on as 1000/0"]),
        at(3, abort("a").of_producer(900, 32_766)).says(&["a: INVALID_TXN_STATE"]),
        at(4, commit("a").of_producer(900, 32_765)).says(&["a: INVALID_PRODUCER_ID_MAPPING"]),
        at(5, add("a", &[1])).says(&["log app Ongoing 1000/0 t-1", "a ok"]),
    ];
    check_on(
        "and whoever asks again with the old one hears of it",
        stage_after(after_many(TransactionState::Ongoing, 32_766)),
        rows,
    );
    let rows = vec![
        at(0, abort("a").of_producer(900, 32_766)).says(&[
            "log app PrepareAbort 900/32767 then 1000",
            "a goes on as 1000/0",
            "log app CompleteAbort 1000/0",
        ]),
        at(1, Deed::Reload),
        at(2, abort("a").of_producer(900, 32_766)).says(&["a goes on as 1000/0"]),
        at(3, start("b")).says(&["log app Empty 1000/1", "b is 1000/1"]),
    ];
    check_on(
        "also where nothing was begun, and another coordinator answers",
        stage_after(after_many(TransactionState::CompleteCommit, 32_766)),
        rows,
    );
}

#[test]
fn without_an_id_for_what_comes_after_nothing_ends() {
    let rows = vec![
        at(0, Deed::RefuseIds(ErrorCode::CoordinatorLoadInProgress)),
        at(1, commit("a").of_producer(900, 32_766)).says(&["a: COORDINATOR_LOAD_IN_PROGRESS"]),
        at(2, start("b")).says(&["b: COORDINATOR_LOAD_IN_PROGRESS"]),
        at(3, describe()).says(&["op Ongoing 900/32766 since 0 within 60000 t-0"]),
    ];
    check_on("it stays open", stage_after(after_many(TransactionState::Ongoing, 32_766)), rows);
}
