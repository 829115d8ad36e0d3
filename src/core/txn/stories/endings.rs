//! Stories of the way from a prepared transaction to a complete one: every partition gets its marker, whatever comes
//! between.

use super::*;

fn prepared() -> Vec<Row> {
    vec![
        at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
        at(1, add("a", &[0, 1])).says(&["log app Ongoing 1000/0 t-0 t-1", "a ok"]),
        at(2, commit("a")).says(&[
            "log app PrepareCommit 1000/1 t-0 t-1",
            "a goes on as 1000/1",
            "markers commit 1000/1 t-0 t-1",
        ]),
    ]
}

fn after_prepared(rows: Vec<Row>) -> Vec<Row> {
    prepared().into_iter().chain(rows).collect()
}

#[test]
fn a_marker_that_does_not_arrive_is_sent_again() {
    let again = [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::NotEnoughReplicasAfterAppend,
        ErrorCode::RequestTimedOut,
        ErrorCode::KafkaStorageError,
        ErrorCode::NetworkException,
        ErrorCode::LeaderNotAvailable,
        ErrorCode::MessageTooLarge,
    ];
    for error in again {
        let results: &'static [(i32, ErrorCode)] = Box::leak(Box::new([(0, error)]));
        check(
            "to that partition alone",
            after_prepared(vec![
                at(3, marked(results)),
                at(50, describe()).says(&["op PrepareCommit 1000/1 since 1 within 60000 t-0 t-1"]),
                at(103, marked(&[(1, OK)])).says(&["markers commit 1000/1 t-0"]),
                at(104, describe()).says(&["op PrepareCommit 1000/1 since 1 within 60000 t-0"]),
                at(105, marked(&[(0, OK)])).says(&["log app CompleteCommit 1000/1"]),
            ]),
        );
    }
}

#[test]
fn some_answers_need_no_other_marker() {
    let done = [
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::UnsupportedForMessageFormat,
        ErrorCode::UnsupportedVersion,
    ];
    for error in done {
        let results: &'static [(i32, ErrorCode)] = Box::leak(Box::new([(0, error), (1, OK)]));
        let rows = vec![at(3, marked(results)).says(&["log app CompleteCommit 1000/1"])];
        check("nothing of the transaction is open there", after_prepared(rows));
    }
}

#[test]
fn a_coordinator_that_was_replaced_leaves_the_end_to_its_successor() {
    check(
        "which sends all markers again",
        after_prepared(vec![
            at(3, marked(&[(1, ErrorCode::TransactionCoordinatorFenced)])),
            at(60_000, marked(&[(0, OK)])),
            at(60_001, Deed::Reload),
            at(60_002, Deed::Wait).says(&["markers commit 1000/1 t-0 t-1"]),
            at(60_003, commit("a")).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(60_004, marked(&[(0, OK), (1, OK)])).says(&["log app CompleteCommit 1000/1"]),
        ]),
    );
}

#[test]
fn a_partition_that_was_deleted_needs_no_marker() {
    check(
        "known when it is tried again",
        after_prepared(vec![
            at(3, Deed::DeleteTopic("t")),
            at(4, marked(&[(0, ErrorCode::UnknownTopicOrPartition)])),
            at(104, Deed::Wait),
            at(105, marked(&[(1, ErrorCode::UnknownTopicOrPartition)])),
            at(205, Deed::Wait).says(&["log app CompleteCommit 1000/1"]),
        ]),
    );
    check(
        "known before",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, add("a", &[0, 1])).says(&["log app Ongoing 1000/0 t-0 t-1", "a ok"]),
            at(2, Deed::DeleteTopic("t")),
            at(3, commit("a")).says(&[
                "log app PrepareCommit 1000/1 t-0 t-1",
                "a goes on as 1000/1",
                "log app CompleteCommit 1000/1",
            ]),
        ],
    );
}

#[test]
fn a_late_answer_ends_no_other_transaction() {
    let mut stage = Stage::new(Settings::default(), TransactionVersion::EPOCH_BUMP);
    let rows = || vec![at(1, add_v1("a", &[0])), at(2, commit_v1("a"))];
    stage.perform(0, start("a").into());
    rows().into_iter().for_each(|row| drop(stage.perform(row.at_ms, row.deed)));
    let first = stage.markers[0].clone();
    stage.perform(3, marked(&[(0, OK)]));
    // The same producer, the same epoch and the same partition: only the place in the log tells them apart.
    rows().into_iter().for_each(|row| drop(stage.perform(row.at_ms, row.deed)));
    let second = stage.markers[0].clone();
    assert_eq!((first.producer, &first.partitions), (second.producer, &second.partitions));
    let answer = |markers: &Markers| MarkersWritten {
        transactional_id: app(),
        prepared_at: markers.prepared_at,
        results: vec![(Arc::from("t"), 0, OK)],
    };
    let told = |written| Ask { who: "b", command: Command::MarkersWritten(written) };
    assert_eq!(stage.perform(4, told(answer(&first)).into()), ["b ok"]);
    assert_eq!(stage.perform(5, told(answer(&second)).into()), ["b ok", "log app CompleteCommit 1000/0"]);
    assert_eq!(stage.perform(6, told(answer(&second)).into()), ["b ok"]);
}

#[test]
fn an_end_that_cannot_be_written_is_written_later() {
    check(
        "the partitions know it already",
        after_prepared(vec![
            at(3, Deed::FailNext(ErrorCode::NotEnoughReplicas)),
            at(3, marked(&[(0, OK), (1, OK)])).says(&["no log: NOT_ENOUGH_REPLICAS"]),
            at(4, start("b")).says(&["b: CONCURRENT_TRANSACTIONS"]),
            at(103, Deed::Wait).says(&["log app CompleteCommit 1000/1"]),
        ]),
    );
}
