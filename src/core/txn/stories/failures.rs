//! Stories of writes that the log refuses, and of shards that go: nothing is believed that is not written, and everybody
//! is told.

use super::*;

const NO_LOG: &str = "no log: NOT_ENOUGH_REPLICAS";

fn refuse(at_ms: i64) -> Row {
    at(at_ms, Deed::FailNext(ErrorCode::NotEnoughReplicas))
}

#[test]
fn what_cannot_be_written_has_not_happened() {
    check(
        "whoever asks again begins anew",
        vec![
            refuse(0),
            at(0, start("a")).says(&[NO_LOG, "a: COORDINATOR_NOT_AVAILABLE"]),
            at(1, describe()).says(&["op: TRANSACTIONAL_ID_NOT_FOUND"]),
            at(2, start("a")).says(&["log app Empty 1001/0", "a is 1001/0"]),
            refuse(3),
            at(3, add("a", &[0])).says(&[NO_LOG, "a: COORDINATOR_NOT_AVAILABLE"]),
            at(4, verify("a", &[0])).says(&["a: TRANSACTION_ABORTABLE"]),
            at(5, add("a", &[0])).says(&["log app Ongoing 1001/0 t-0", "a ok"]),
            refuse(6),
            at(6, commit("a")).says(&[NO_LOG, "a: COORDINATOR_NOT_AVAILABLE"]),
            at(7, describe()).says(&["op Ongoing 1001/0 since 5 within 60000 t-0"]),
            // Not even a fence: the producer that had the transaction goes on with it.
            refuse(8),
            at(8, start("b")).says(&[NO_LOG, "b: COORDINATOR_NOT_AVAILABLE"]),
            at(9, commit("a")).says(&[
                "log app PrepareCommit 1001/1 t-0",
                "a goes on as 1001/1",
                "markers commit 1001/1 t-0",
            ]),
        ],
    );
}

#[test]
fn what_the_log_says_is_put_in_a_coordinators_words() {
    let rows = [
        (ErrorCode::UnknownTopicOrPartition, "a: COORDINATOR_NOT_AVAILABLE"),
        (ErrorCode::NotEnoughReplicas, "a: COORDINATOR_NOT_AVAILABLE"),
        (ErrorCode::NotEnoughReplicasAfterAppend, "a: COORDINATOR_NOT_AVAILABLE"),
        (ErrorCode::RequestTimedOut, "a: COORDINATOR_NOT_AVAILABLE"),
        (ErrorCode::NotLeaderOrFollower, "a: NOT_COORDINATOR"),
        (ErrorCode::KafkaStorageError, "a: NOT_COORDINATOR"),
        (ErrorCode::MessageTooLarge, "a: UNKNOWN_SERVER_ERROR"),
        (ErrorCode::RecordListTooLarge, "a: UNKNOWN_SERVER_ERROR"),
        (ErrorCode::InvalidTimestamp, "a: INVALID_TIMESTAMP"),
    ];
    for (error, expected) in rows {
        let mut stage = Stage::new(Settings::default(), TransactionVersion::EPOCH_BUMP);
        stage.perform(0, Deed::FailNext(error));
        assert_eq!(stage.perform(1, start("a").into())[1..], [expected], "{error}");
    }
}

#[test]
fn who_waits_when_the_shard_goes_is_told_where_to_look() {
    let mut stage = Stage::new(Settings::default(), TransactionVersion::EPOCH_BUMP);
    stage.gathers = true;
    assert!(stage.perform(0, start("a").into()).is_empty());
    let seen = stage.perform(1, Deed::Resign(ErrorCode::NotCoordinator));
    assert_eq!(seen, ["a: NOT_COORDINATOR"]);
    assert_eq!(stage.transactions.next_deadline_ms(), None);
    stage.close("a shard that goes");
}

#[test]
fn who_waits_for_a_producer_id_when_the_shard_goes_is_told_as_well() {
    let mut transactions: Transactions<usize> = Transactions::new(Arc::new(Settings::default()), 3);
    transactions.loaded(0);
    let mut out = Vec::new();
    transactions.step(0, Input::Ask { token: 1, command: start("a").command }, &mut out);
    assert!(matches!(out[..], [Effect::Errand(Errand::AllocateProducerId { .. })]), "{out:?}");
    out.clear();
    // Another one does not have to wait to hear that it has to come again.
    transactions.step(1, Input::Ask { token: 2, command: start("b").command }, &mut out);
    transactions.step(2, Input::Resign(ErrorCode::NotCoordinator), &mut out);
    let replies: Vec<_> = out
        .into_iter()
        .map(|effect| match effect {
            Effect::Reply { token, reply: Reply::ProducerInitialized(Err(error)) } => (token, error),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(replies, [(2, ErrorCode::ConcurrentTransactions), (1, ErrorCode::NotCoordinator)]);
}

#[test]
fn a_reply_that_did_not_become_true_is_withdrawn() {
    let gone = ErrorCode::NotCoordinator;
    let producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(1) };
    let rows = [
        (Reply::ProducerInitialized(Ok(producer)), Reply::ProducerInitialized(Err(gone))),
        (Reply::TransactionEnds(Ok(Some(producer))), Reply::TransactionEnds(Err(gone))),
        (Reply::PartitionsAdded(OK), Reply::PartitionsAdded(gone)),
        (
            Reply::PartitionsAdded(ErrorCode::ProducerFenced),
            Reply::PartitionsAdded(ErrorCode::ProducerFenced),
        ),
        (
            Reply::TransactionEnds(Err(ErrorCode::ProducerFenced)),
            Reply::TransactionEnds(Err(ErrorCode::ProducerFenced)),
        ),
        (
            Reply::PartitionsVerified(vec![
                (Arc::from("t"), 0, OK),
                (Arc::from("t"), 1, ErrorCode::TransactionAbortable),
            ]),
            Reply::PartitionsVerified(vec![
                (Arc::from("t"), 0, gone),
                (Arc::from("t"), 1, ErrorCode::TransactionAbortable),
            ]),
        ),
        (Reply::Noted(OK), Reply::Noted(gone)),
    ];
    for (reply, withdrawn) in rows {
        assert_eq!(<Transactions<u32> as Machine>::withdrawn(reply, gone), withdrawn);
    }
}
