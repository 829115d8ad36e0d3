//! Stories of a partition's leader that asks before it appends: is the partition in the transaction? (KIP-890)

use super::*;

#[test]
fn only_partitions_of_the_open_transaction_pass() {
    check(
        "until it is decided how that ends",
        vec![
            at(0, verify("x", &[0]).of_producer(1000, 0)).says(&["x: INVALID_PRODUCER_ID_MAPPING"]),
            at(1, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(2, verify("a", &[0])).says(&["a: TRANSACTION_ABORTABLE"]),
            at(3, add_v1("a", &[0, 1])).says(&["log app Ongoing 1000/0 t-0 t-1", "a ok"]),
            at(4, verify("a", &[0, 1, 2])).says(&["a ok ok: TRANSACTION_ABORTABLE"]),
            at(5, verify("x", &[0]).of_producer(1000, 1)).says(&["x: PRODUCER_FENCED"]),
            at(5, verify("x", &[0]).of_producer(999, 0)).says(&["x: INVALID_PRODUCER_ID_MAPPING"]),
            at(5, verify("x", &[0, 1]).of("")).says(&["x: INVALID_REQUEST: INVALID_REQUEST"]),
            at(6, commit_v1("a")).says(&[
                "log app PrepareCommit 1000/0 t-0 t-1",
                "a ok",
                "markers commit 1000/0 t-0 t-1",
            ]),
            at(7, verify("a", &[0])).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(7, verify("x", &[0]).of_producer(1000, 1)).says(&["x: PRODUCER_FENCED"]),
            at(8, marked(&[(0, OK), (1, OK)])).says(&["log app CompleteCommit 1000/0"]),
            // A batch that comes after its transaction has ended begins no other one (KAFKA-14402).
            at(9, verify("a", &[0])).says(&["a: TRANSACTION_ABORTABLE"]),
        ],
    );
}

#[test]
fn a_verification_does_not_wait_for_a_write() {
    let mut stage = Stage::new(Settings::default(), TransactionVersion::EPOCH_BUMP);
    stage.gathers = true;
    stage.perform(0, start("a").into());
    stage.settle(0);
    assert_eq!(stage.perform(1, add("a", &[0]).into()), ["log app Empty 1000/0", "a is 1000/0"]);
    // Nobody has been told yet that the partition is in the transaction.
    assert_eq!(stage.perform(2, verify("a", &[0]).into()), ["a: TRANSACTION_ABORTABLE"]);
    // Whatever changes something comes after the write.
    assert_eq!(stage.perform(3, commit("a").into()), ["log app Ongoing 1000/0 t-0", "a ok"]);
    stage.settle(3);
    stage.close("a verification");
}
