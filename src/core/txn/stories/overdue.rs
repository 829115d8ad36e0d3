//! Stories of time: transactions that stay open for too long, and transactional ids that nobody uses any more.

use super::*;

fn open() -> Vec<Row> {
    vec![
        at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
        at(1, add("a", &[0])).says(&["log app Ongoing 1000/0 t-0", "a ok"]),
    ]
}

fn after_open(rows: Vec<Row>) -> Vec<Row> {
    open().into_iter().chain(rows).collect()
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted() {
    check(
        "at the next look after its timeout, which is counted from its beginning",
        after_open(vec![
            at(59_000, add("a", &[1])).says(&["log app Ongoing 1000/0 t-0 t-1", "a ok"]),
            at(69_999, Deed::Wait),
            at(70_000, Deed::Wait)
                .says(&["log app PrepareAbort 1000/1 t-0 t-1", "markers abort 1000/1 t-0 t-1"]),
            at(70_001, commit("a")).says(&["a: CONCURRENT_TRANSACTIONS"]),
            at(70_002, marked(&[(0, OK), (1, OK)])).says(&["log app CompleteAbort 1000/1"]),
            // A client of KIP-890 takes this for its lost answer, and hears that its commit cannot be.
            at(70_003, commit("a")).says(&["a: INVALID_TXN_STATE"]),
            at(70_004, add("a", &[0])).says(&["a: PRODUCER_FENCED"]),
            at(70_005, recover("a")).says(&["log app Empty 1000/1", "a is 1000/1"]),
        ]),
    );
}

#[test]
fn one_whose_epochs_are_used_up_waits_for_an_id() {
    let rows = vec![
        at(69_000, Deed::RefuseIds(ErrorCode::CoordinatorLoadInProgress)),
        at(90_000, describe()).says(&["op Ongoing 900/32766 since 0 within 60000 t-0"]),
    ];
    check_on("and is looked at again", stage_after(after_many(TransactionState::Ongoing, 32_766)), rows);
    let rows = vec![
        at(70_000, Deed::Wait)
            .says(&["log app PrepareAbort 900/32767 then 1000 t-0", "markers abort 900/32767 t-0"]),
    ];
    check_on("and is aborted with it", stage_after(after_many(TransactionState::Ongoing, 32_766)), rows);
}

#[test]
fn an_abort_that_cannot_be_written_is_tried_at_the_next_look() {
    check(
        "and the producer may commit until then",
        after_open(vec![
            at(69_000, Deed::FailNext(ErrorCode::NotEnoughReplicas)),
            at(70_000, Deed::Wait).says(&["no log: NOT_ENOUGH_REPLICAS"]),
            at(79_999, Deed::Wait),
            at(80_000, Deed::Wait).says(&["log app PrepareAbort 1000/1 t-0", "markers abort 1000/1 t-0"]),
        ]),
    );
}

#[test]
fn a_transaction_that_ends_in_time_is_left_alone() {
    check(
        "also if its partitions take long to hear of it",
        after_open(vec![
            at(59_000, commit("a")).says(&[
                "log app PrepareCommit 1000/1 t-0",
                "a goes on as 1000/1",
                "markers commit 1000/1 t-0",
            ]),
            at(500_000, describe()).says(&["op PrepareCommit 1000/1 since 1 within 60000 t-0"]),
            at(500_001, marked(&[(0, OK)])).says(&["log app CompleteCommit 1000/1"]),
            at(900_000, Deed::Wait),
        ]),
    );
}

#[test]
fn an_id_that_nobody_uses_is_forgotten() {
    let week_ms = 7 * 24 * 3_600_000;
    let week_and_an_hour_ms = week_ms + 3_600_000;
    check(
        "a week after its last change",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, start("b").of("other")).says(&["log other Empty 1001/0", "b is 1001/0"]),
            at(2, add("b", &[0]).of("other")).says(&["log other Ongoing 1001/0 t-0", "b ok"]),
            at(3, commit("b").of("other")).says(&[
                "log other PrepareCommit 1001/1 t-0",
                "b goes on as 1001/1",
                "markers commit 1001/1 t-0",
            ]),
            at(week_ms - 1, Deed::Wait),
            at(week_ms, Deed::Wait).says(&["log app gone"]),
            at(week_ms, add("a", &[0])).says(&["a: INVALID_PRODUCER_ID_MAPPING"]),
            // Not one whose transaction is not complete.
            at(week_and_an_hour_ms, marked(&[(0, OK)])).says(&["log other CompleteCommit 1001/1"]),
            at(week_and_an_hour_ms, start("a")).says(&["log app Empty 1002/0", "a is 1002/0"]),
        ],
    );
    check(
        "unless that cannot be written",
        vec![
            at(0, start("a")).says(&["log app Empty 1000/0", "a is 1000/0"]),
            at(1, Deed::FailNext(ErrorCode::NotEnoughReplicas)),
            at(week_ms, Deed::Wait).says(&["no log: NOT_ENOUGH_REPLICAS"]),
            at(week_ms, describe()).says(&["op Empty 1000/0 within 60000"]),
            at(week_and_an_hour_ms, Deed::Wait).says(&["log app gone"]),
        ],
    );
}

#[test]
fn many_are_forgotten_a_thousand_at_a_time() {
    let mut stage = Stage::new(Settings::default(), TransactionVersion::EPOCH_BUMP);
    let value = after_many(TransactionState::CompleteCommit, 3);
    stage.log = (0..2_500)
        .map(|number| TransactionRecord {
            transactional_id: Arc::from(format!("app-{number}")),
            value: Some(value.clone()),
        })
        .collect();
    stage.reload(0);
    let week_ms = 7 * 24 * 3_600_000;
    let mut offsets = 2_500..;
    for forgotten in [1_000, 1_000, 500] {
        assert!(stage.transactions.next_deadline_ms().is_some_and(|due_ms| due_ms <= week_ms));
        let mut out = Vec::new();
        stage.transactions.step(week_ms, Input::Tick, &mut out);
        assert_eq!(out.len(), forgotten);
        for (effect, offset) in out.into_iter().zip(&mut offsets) {
            let Effect::Write { ticket, .. } = effect else { panic!("{effect:?}") };
            let written = Input::Written { ticket, result: Ok(offset) };
            stage.transactions.step(week_ms, written, &mut Vec::new());
        }
    }
    assert_eq!(stage.transactions.next_deadline_ms(), None);
}
