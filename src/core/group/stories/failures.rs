//! Stories of writes that the log refuses: nothing counts that is not written, and every request is answered.

use super::*;

fn refuse(at_ms: i64) -> Row {
    at(at_ms, Deed::FailNext(ErrorCode::NotEnoughReplicas))
}

const NO_LOG: &str = "no log: NOT_ENOUGH_REPLICAS";

#[test]
fn a_group_that_cannot_be_written_does_not_begin() {
    check(
        "whoever joins it",
        prompt(),
        vec![
            refuse(0),
            at(0, join("a")).says(&[NO_LOG, "a: COORDINATOR_NOT_AVAILABLE"]),
            refuse(1),
            at(1, join_v4("b")).says(&[NO_LOG, "b: COORDINATOR_NOT_AVAILABLE"]),
            refuse(2),
            at(2, join_as("c", "i")).says(&[NO_LOG, "c: COORDINATOR_NOT_AVAILABLE"]),
            at(3, list()).says(&["op"]),
            at(4, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
        ],
    );
}

#[test]
fn an_assignment_that_cannot_be_written_is_made_again() {
    check(
        "nobody has one, all join again",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join("b")),
            at(2, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(3, sync("b", 2, &[])),
            refuse(4),
            at(4, sync("a", 2, &[("a", "x"), ("b", "y")])).says(&[
                NO_LOG,
                "a: COORDINATOR_NOT_AVAILABLE",
                "b: COORDINATOR_NOT_AVAILABLE",
            ]),
            at(5, describe("g")).says(&["op g PreparingRebalance  a- b-"]),
            at(6, join("a")),
            at(7, join("b")).says(&["a leads 3 [a b] range", "b follows a in 3"]),
        ],
    );
}

#[test]
fn a_static_member_whose_return_cannot_be_written_is_who_it_was() {
    check(
        "with its old id and its old assignment",
        prompt(),
        vec![
            at(0, join_as("a", "i")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[("a", "x")])).says(&["log g 1 [a]", "a gets \"x\""]),
            refuse(2),
            at(2, join_as("a2", "i").join(|join| join.session_timeout_ms = 60_000))
                .says(&[NO_LOG, "a2: COORDINATOR_NOT_AVAILABLE"]),
            at(3, beat("a", 1).instance("i")).says(&["a ok"]),
            at(4, sync("a", 1, &[])).says(&["a gets \"x\""]),
            at(10_002, beat("a", 1)).says(&["a ok"]),
            at(20_002, list()).says(&["log g 2 []", "op g Empty consumer"]),
        ],
    );
}

#[test]
fn an_offset_that_cannot_be_written_is_not_there() {
    check(
        "nor is one forgotten that cannot be deleted",
        prompt(),
        vec![
            refuse(0),
            at(0, commit("a", -1, &[(0, 5)])).says(&[NO_LOG, "a: COORDINATOR_NOT_AVAILABLE"]),
            at(1, list()).says(&["op"]),
            at(2, commit("a", -1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            refuse(3),
            at(3, commit("a", -1, &[(0, 6)])).says(&[NO_LOG, "a: COORDINATOR_NOT_AVAILABLE"]),
            refuse(4),
            at(4, delete_offsets("t", &[0])).says(&[NO_LOG, "op: COORDINATOR_NOT_AVAILABLE"]),
            refuse(5),
            at(5, delete(&["g"])).says(&[NO_LOG, "op: COORDINATOR_NOT_AVAILABLE"]),
            at(6, fetch("a", &[0])).says(&["a t-0=5"]),
        ],
    );
}

#[test]
fn a_group_that_cannot_be_written_empty_is_empty() {
    check(
        "who leaves is told, and the log has it with the next generation",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            refuse(2),
            at(2, leave("a")).says(&[NO_LOG, "a: COORDINATOR_NOT_AVAILABLE"]),
            at(3, list()).says(&["op g Empty consumer"]),
            at(4, join("b")).says(&["b leads 3 [b] range"]),
        ],
    );
}

#[test]
fn what_the_log_says_is_put_in_a_coordinators_words() {
    let rows = [
        (ErrorCode::UnknownTopicOrPartition, "a: COORDINATOR_NOT_AVAILABLE"),
        (ErrorCode::NotEnoughReplicas, "a: COORDINATOR_NOT_AVAILABLE"),
        (ErrorCode::RequestTimedOut, "a: COORDINATOR_NOT_AVAILABLE"),
        (ErrorCode::NotLeaderOrFollower, "a: NOT_COORDINATOR"),
        (ErrorCode::KafkaStorageError, "a: NOT_COORDINATOR"),
        (ErrorCode::MessageTooLarge, "a: UNKNOWN_SERVER_ERROR"),
        (ErrorCode::RecordListTooLarge, "a: UNKNOWN_SERVER_ERROR"),
        (ErrorCode::NetworkException, "a: COORDINATOR_LOAD_IN_PROGRESS"),
        (ErrorCode::InvalidProducerEpoch, "a: INVALID_PRODUCER_EPOCH"),
    ];
    for (error, expected) in rows {
        let mut stage = Stage::new(prompt());
        stage.perform(0, Deed::FailNext(error));
        let seen = stage.perform(1, commit("a", -1, &[(0, 5)]).into());
        assert_eq!(seen[1..], [expected], "{error}");
    }
}

#[test]
fn who_waits_when_the_shard_goes_is_told_where_to_look() {
    check(
        "joins and syncs",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join("b")),
            at(2, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(3, sync("b", 2, &[])),
            at(3, join("c").of("h").join(|join| join.rebalance_timeout_ms = 1))
                .says(&["log h 0 []", "c leads 1 [c] range"]),
            at(3, join("d").of("h")),
            at(4, Deed::Resign(ErrorCode::NotCoordinator))
                .says(&["b: NOT_COORDINATOR", "d: NOT_COORDINATOR"]),
        ],
    );
}
