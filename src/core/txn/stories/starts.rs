//! Stories of InitProducerId: who may write under a transactional id (KIP-98, KIP-360, KIP-588).

use super::*;

#[test]
fn each_start_fences_the_one_before() {
    check(
        "a new producer, a restart, another instance",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, start("a")).says(&["log app Empty 1000/1", "a is 1000/1"]),
            at(2, start("b")).says(&["log app Empty 1000/2", "b is 1000/2"]),
            at(3, add("a", &[0])).says(&["a: PRODUCER_FENCED"]),
            at(4, commit("a")).says(&["a: PRODUCER_FENCED"]),
            at(5, recover("a")).says(&["a: PRODUCER_FENCED"]),
            at(6, add("b", &[0])).says(&["log app Ongoing 1000/2 t-0", "b ok"]),
            at(7, start("c").of("other")).says(&["log other Empty 1001/0", "c is 1001/0"]),
        ],
    );
}

#[test]
fn a_start_aborts_what_the_one_before_has_open() {
    check(
        "it has to come again, and gets an epoch that nobody has had",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, add("a", &[0, 1])).says(&["log app Ongoing 1000/0 t-0 t-1", "a ok"]),
            at(2, start("b")).says(&[
                "log app PrepareAbort 1000/1 t-0 t-1",
                "b: CONCURRENT_TRANSACTIONS",
                "markers abort 1000/1 t-0 t-1",
            ]),
            at(3, start("b")).says(&["b: CONCURRENT_TRANSACTIONS"]),
            at(4, commit("a")).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(5, marked(&[(0, OK), (1, OK)])).says(&["log app CompleteAbort 1000/1"]),
            at(6, commit("a")).says(&["a: INVALID_TXN_STATE"]),
            at(7, start("b")).says(&["log app Empty 1000/2", "b is 1000/2"]),
            at(8, add("a", &[0])).says(&["a: PRODUCER_FENCED"]),
            at(9, commit("a")).says(&["a: PRODUCER_FENCED"]),
        ],
    );
}

#[test]
fn on_a_cluster_of_before_kip_890_the_fence_is_the_same() {
    for level in [0, 1] {
        let stage = Stage::new(Settings::default(), TransactionVersion(level));
        let rows = vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, add_v1("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
            at(2, start("b")).says(&[
                "log app PrepareAbort 1000/1 t-0",
                "b: CONCURRENT_TRANSACTIONS",
                "markers abort 1000/1 t-0",
            ]),
            at(3, commit_v1("a")).says(&["a: PRODUCER_FENCED"]),
            at(4, marked(&[(0, OK)])).says(&["log app CompleteAbort 1000/1"]),
            // Who was fenced is not to come back, and with this level its epoch is forgotten.
            at(5, recover("a")).says(&["a: PRODUCER_FENCED"]),
            at(6, start("b")).says(&["log app Empty 1000/2", "b is 1000/2"]),
        ];
        check_on("clients and cluster know no epoch bump", stage, rows);
    }
}

#[test]
fn a_producer_goes_on_after_an_error() {
    check(
        "with the next epoch, which it gets again if it has not heard of it (KIP-360)",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, recover("a")).says(&["log app Empty 1000/1", "a is 1000/1"]),
            at(2, Deed::Lose(recover("a"))).says(&["log app Empty 1000/2", "a is 1000/2"]),
            at(3, recover("a")).says(&["log app Empty 1000/2", "a is 1000/2"]),
            // Somebody else has come meanwhile, and that the answer was lost does not help.
            at(4, Deed::Lose(recover("a"))).says(&["log app Empty 1000/3", "a is 1000/3"]),
            at(5, start("b")).says(&["log app Empty 1000/4", "b is 1000/4"]),
            at(6, recover("a")).says(&["a: PRODUCER_FENCED"]),
            at(7, recover("a").of_producer(77, 4)).says(&["a: PRODUCER_FENCED"]),
        ],
    );
    check(
        "its coordinator has forgotten it, or never knew it",
        vec![at(0, recover("a").of_producer(77, 4)).says(&["log app Empty 1000/0", "a is 1000/0"])],
    );
    check(
        "another coordinator does not know the epoch before",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, Deed::Lose(recover("a"))).says(&["log app Empty 1000/1", "a is 1000/1"]),
            at(2, Deed::Reload),
            at(3, recover("a")).says(&["a: PRODUCER_FENCED"]),
        ],
    );
    check(
        "its open transaction is aborted first, and then it still is who it was (KIP-588)",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, add("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
            at(2, recover("a")).says(&[
                "log app PrepareAbort 1000/1 t-0",
                "a: CONCURRENT_TRANSACTIONS",
                "markers abort 1000/1 t-0",
            ]),
            at(3, marked(&[(0, OK)])).says(&["log app CompleteAbort 1000/1"]),
            at(4, recover("a")).says(&["log app Empty 1000/1", "a is 1000/1"]),
        ],
    );
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_another_id() {
    let rows = vec![
        at(0, start("a")).says(&["log app Empty 900/32766", "a is 900/32766"]),
        at(1, start("b")).says(&["log app Empty 1000/0", "b is 1000/0"]),
        // The id before is remembered, so this one is known to be fenced.
        at(2, commit("a")).says(&["a: PRODUCER_FENCED"]),
        at(3, recover("a")).says(&["a: PRODUCER_FENCED"]),
        at(4, add("a", &[0])).says(&["a: INVALID_PRODUCER_ID_MAPPING"]),
    ];
    check_on("a new producer", stage_after(after_many(TransactionState::Empty, 32_765)), rows);
    let rows = vec![
        at(0, Deed::Lose(recover("a").of_producer(900, 32_766)))
            .says(&["log app Empty 1000/0", "a is 1000/0"]),
        // It never heard of its new id, and is known by the old one.
        at(1, recover("a").of_producer(900, 32_766)).says(&["log app Empty 1000/0", "a is 1000/0"]),
        at(2, recover("a").of_producer(900, 32_765)).says(&["a: PRODUCER_FENCED"]),
        at(3, recover("a")).says(&["log app Empty 1000/1", "a is 1000/1"]),
    ];
    check_on("one that goes on", stage_after(after_many(TransactionState::Empty, 32_766)), rows);
    let rows = vec![
        at(0, Deed::Lose(recover("a").of_producer(900, 32_765)))
            .says(&["log app Empty 900/32766", "a is 900/32766"]),
        at(1, recover("a").of_producer(900, 32_765)).says(&["log app Empty 900/32766", "a is 900/32766"]),
    ];
    check_on(
        "one that was given its last epoch",
        stage_after(after_many(TransactionState::Empty, 32_765)),
        rows,
    );
}

#[test]
fn fencing_with_the_last_epoch_leaves_one_for_the_fence() {
    let rows = vec![
        at(0, start("b")).says(&[
            "log app PrepareAbort 900/32767 then 1000 t-0",
            "b: CONCURRENT_TRANSACTIONS",
            "markers abort 900/32767 t-0",
        ]),
        at(1, marked(&[(0, OK)])).says(&["log app CompleteAbort 1000/0"]),
        at(2, start("b")).says(&["log app Empty 1000/1", "b is 1000/1"]),
    ];
    check_on(
        "it takes an id for the next one",
        stage_after(after_many(TransactionState::Ongoing, 32_766)),
        rows,
    );
    let mut stage = Stage::new(Settings::default(), TransactionVersion::ORIGINAL);
    let last = TransactionMetadata {
        client_version: TransactionVersion::ORIGINAL,
        ..after_many(TransactionState::Ongoing, 32_766)
    };
    stage.log.push(TransactionRecord { transactional_id: app(), value: Some(last) });
    stage.reload(0);
    let rows = vec![
        at(0, start("b")).says(&[
            "log app PrepareAbort 900/32767 t-0",
            "b: CONCURRENT_TRANSACTIONS",
            "markers abort 900/32767 t-0",
        ]),
        at(1, marked(&[(0, OK)])).says(&["log app CompleteAbort 900/32767"]),
        at(2, start("b")).says(&["log app Empty 1000/0", "b is 1000/0"]),
    ];
    check_on("before KIP-890 the next one gets it when it comes", stage, rows);
}

#[test]
fn a_request_that_cannot_be_served_is_told_why() {
    let within = |ms| start("a").init(|init| init.timeout_ms = ms);
    check(
        "timeouts, no name, two-phase commit",
        vec![
            at(0, within(0)).says(&["a: INVALID_TRANSACTION_TIMEOUT"]),
            at(0, within(-1)).says(&["a: INVALID_TRANSACTION_TIMEOUT"]),
            at(0, within(900_001)).says(&["a: INVALID_TRANSACTION_TIMEOUT"]),
            at(0, start("a").of("")).says(&["a: INVALID_REQUEST"]),
            at(0, start("a").init(|init| init.enable_two_phase_commit = true))
                .says(&["a: TRANSACTIONAL_ID_AUTHORIZATION_FAILED"]),
            at(0, start("a").init(|init| init.keep_prepared_transaction = true))
                .says(&["a: UNSUPPORTED_VERSION"]),
            at(0, within(900_000)).says(&["log app Empty 1000/0", "a is 1000/0"]),
        ],
    );
    let settings = Settings { two_phase_commit: true, ..Settings::default() };
    let two_phase = |ask: Ask| ask.init(|init| init.enable_two_phase_commit = true);
    let rows = vec![
        at(0, two_phase(start("a")).init(|init| init.keep_prepared_transaction = true))
            .says(&["a: UNSUPPORTED_VERSION"]),
        at(0, two_phase(start("a")).init(|init| init.timeout_ms = 0))
            .says(&["log app Empty 1000/0", "a is 1000/0"]),
        at(1, add("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
        // However long it takes.
        at(9_000_000_000, describe()).says(&["op Ongoing 1000/0 since 1 within 2147483647 t-0"]),
    ];
    check_on("where it is allowed", Stage::new(settings, TransactionVersion::EPOCH_BUMP), rows);
}

#[test]
fn without_a_producer_id_nobody_starts() {
    check(
        "and it can try again",
        vec![
            at(0, Deed::RefuseIds(ErrorCode::CoordinatorLoadInProgress)),
            at(1, start("a")).says(&["a: COORDINATOR_LOAD_IN_PROGRESS"]),
            at(2, start("a")).says(&["a: COORDINATOR_LOAD_IN_PROGRESS"]),
            at(3, describe()).says(&["op: TRANSACTIONAL_ID_NOT_FOUND"]),
        ],
    );
}
