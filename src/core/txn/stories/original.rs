//! Stories of clients of before KIP-890, which keep their epoch from one transaction to the next (KIP-98).

use super::*;

#[test]
fn a_transaction_commits() {
    check(
        "partition after partition, and the next one with the same epoch",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, add_v1("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
            at(2, add_v1("a", &[1])).says(&["log app Ongoing 1000/0 t-0 t-1", "a ok"]),
            // What is known is not written again.
            at(3, add_v1("a", &[0, 1])).says(&["a ok"]),
            at(4, commit_v1("a")).says(&[
                "log app PrepareCommit 1000/0 t-0 t-1",
                "a ok",
                "markers commit 1000/0 t-0 t-1",
            ]),
            at(5, add_v1("a", &[2])).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(6, marked(&[(1, OK)])),
            at(7, marked(&[(0, OK)])).says(&["log app CompleteCommit 1000/0"]),
            at(8, add_v1("a", &[2])).says(&["log app Ongoing 1000/0 t-2", "a ok"]),
            at(9, abort_v1("a")).says(&[
                "log app PrepareAbort 1000/0 t-2",
                "a ok",
                "markers abort 1000/0 t-2",
            ]),
            at(10, marked(&[(2, OK)])).says(&["log app CompleteAbort 1000/0"]),
        ],
    );
}

#[test]
fn asking_again_for_the_same_end_is_fine() {
    check(
        "and for the other one is not",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, commit_v1("a")).says(&["a: INVALID_TXN_STATE"]),
            at(1, abort_v1("a")).says(&["a: INVALID_TXN_STATE"]),
            at(2, add_v1("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
            at(3, commit_v1("a")).says(&[
                "log app PrepareCommit 1000/0 t-0",
                "a ok",
                "markers commit 1000/0 t-0",
            ]),
            at(4, commit_v1("a")).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(4, abort_v1("a")).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(5, marked(&[(0, OK)])).says(&["log app CompleteCommit 1000/0"]),
            at(6, commit_v1("a")).says(&["a ok"]),
            at(7, abort_v1("a")).says(&["a: INVALID_TXN_STATE"]),
        ],
    );
}

#[test]
fn who_somebody_is_comes_before_what_it_asks() {
    check(
        "id, then epoch, then state",
        vec![
            at(0, commit_v1("x").of_producer(1000, 0)).says(&["x: INVALID_PRODUCER_ID_MAPPING"]),
            at(0, add_v1("x", &[0]).of_producer(1000, 0)).says(&["x: INVALID_PRODUCER_ID_MAPPING"]),
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, start("a")).says(&["log app Empty 1000/1", "a is 1000/1"]),
            at(2, commit_v1("x").of_producer(999, 1)).says(&["x: INVALID_PRODUCER_ID_MAPPING"]),
            at(2, commit_v1("x").of_producer(1000, 0)).says(&["x: PRODUCER_FENCED"]),
            at(2, commit_v1("x").of_producer(1000, 2)).says(&["x: PRODUCER_FENCED"]),
            at(2, add_v1("x", &[0]).of_producer(999, 1)).says(&["x: INVALID_PRODUCER_ID_MAPPING"]),
            at(2, add_v1("x", &[0]).of_producer(1000, 0)).says(&["x: PRODUCER_FENCED"]),
            at(3, add_v1("a", &[0])).says(&["log app Ongoing 1000/1 t-0", "a ok"]),
            at(4, commit_v1("a")).says(&[
                "log app PrepareCommit 1000/1 t-0",
                "a ok",
                "markers commit 1000/1 t-0",
            ]),
            at(5, commit_v1("x").of_producer(1000, 0)).says(&["x: PRODUCER_FENCED"]),
            // Adding looks at what is under way first.
            at(5, add_v1("x", &[0]).of_producer(1000, 0)).says(&["x: CONCURRENT_TRANSACTIONS"]),
            at(5, commit_v1("x").of("")).says(&["x: INVALID_REQUEST"]),
            at(5, add_v1("x", &[0]).of("")).says(&["x: INVALID_REQUEST"]),
        ],
    );
}

#[test]
fn old_clients_are_told_of_a_fence_in_their_words() {
    assert_eq!(
        for_clients_before_producer_fenced(ErrorCode::ProducerFenced),
        ErrorCode::InvalidProducerEpoch
    );
    assert_eq!(for_clients_before_producer_fenced(ErrorCode::InvalidTxnState), ErrorCode::InvalidTxnState);
}
