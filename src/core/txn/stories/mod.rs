//! What happens to transactional ids, told as rows: at some time somebody asks something, and this is all that comes of it.
//! Actors are producers of the transactional id `app`, and know who they are by what they were answered.

mod admin;
mod audit;
mod endings;
mod epochs;
mod failures;
mod original;
mod overdue;
mod patience;
mod stage;
mod starts;
mod verification;
mod walk;

use std::sync::Arc;

use ottla_model::txn::{Layout, Partitions, TransactionMetadata};
use ottla_protocol::{ErrorCode, ProducerEpoch};

use super::*;
use stage::{Ask, Stage};

/// One line of a story: what is done at some time (in ms), and all that is said and written until it is over,
/// what was due before included.
struct Row {
    at_ms: i64,
    deed: Deed,
    outcome: Vec<&'static str>,
}

#[derive(Debug)]
enum Deed {
    Ask(Ask),
    /// The answer to the next one gets lost on its way.
    Lose(Ask),
    /// Time passes.
    Wait,
    /// Leaders of partitions of topic `t` answer for the markers that they were sent.
    Mark(&'static [(i32, ErrorCode)]),
    /// The log refuses the next write.
    FailNext(ErrorCode),
    /// Nobody gets a producer id from now on.
    RefuseIds(ErrorCode),
    DeleteTopic(&'static str),
    /// Another coordinator takes over, and loads what was written.
    Reload,
    Resign(ErrorCode),
}

impl From<Ask> for Deed {
    fn from(ask: Ask) -> Deed {
        Deed::Ask(ask)
    }
}

fn at(at_ms: i64, deed: impl Into<Deed>) -> Row {
    Row { at_ms, deed: deed.into(), outcome: Vec::new() }
}

impl Row {
    fn says(mut self, outcome: &[&'static str]) -> Row {
        self.outcome = outcome.to_vec();
        self
    }
}

/// On a cluster of Kafka 4's level of `transaction.version`.
fn check(story: &str, rows: Vec<Row>) {
    check_on(story, Stage::new(Settings::default(), TransactionVersion::EPOCH_BUMP), rows);
}

fn check_on(story: &str, mut stage: Stage, rows: Vec<Row>) {
    for (number, row) in rows.into_iter().enumerate() {
        let deed = format!("{:?}", row.deed);
        let seen = stage.perform(row.at_ms, row.deed);
        assert_eq!(seen, row.outcome, "{story}: row {number}, at {} ms: {deed}", row.at_ms);
    }
    stage.close(story);
}

/// What a log has of `app` at the beginning of a story, with an epoch that many transactions have led to.
fn after_many(state: TransactionState, epoch: i16) -> TransactionMetadata {
    let has_partition = matches!(
        state,
        TransactionState::Ongoing | TransactionState::PrepareCommit | TransactionState::PrepareAbort
    );
    TransactionMetadata {
        layout: Layout::Flexible,
        producer_id: ProducerId(900),
        previous_producer_id: ProducerId(900),
        next_producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch(epoch),
        timeout_ms: 60_000,
        state,
        partitions: if has_partition { of_t(&[0]) } else { Partitions::new() },
        last_update_ms: 0,
        start_ms: (state != TransactionState::Empty).then_some(0),
        client_version: TransactionVersion::EPOCH_BUMP,
    }
}

/// A stage whose log has that of `app`.
fn stage_after(metadata: TransactionMetadata) -> Stage {
    let mut stage = Stage::new(Settings::default(), TransactionVersion::EPOCH_BUMP);
    stage.log.push(TransactionRecord { transactional_id: Arc::from("app"), value: Some(metadata) });
    stage.reload(0);
    stage
}

/// Partitions of topic `t`.
fn of_t(ids: &[i32]) -> Partitions {
    Partitions::from([(Arc::from("t"), ids.iter().copied().collect())])
}

fn app() -> TransactionalId {
    Arc::from("app")
}

/// Stands for who the actor is.
const MYSELF: Producer = Producer { id: ProducerId::NONE, epoch: ProducerEpoch::NONE };

fn start(who: &'static str) -> Ask {
    let init = InitProducerId {
        transactional_id: app(),
        timeout_ms: 60_000,
        expected: None,
        enable_two_phase_commit: false,
        keep_prepared_transaction: false,
    };
    Ask { who, command: Command::InitProducerId(init) }
}

/// Goes on after an error, as whoever it was (KIP-360).
fn recover(who: &'static str) -> Ask {
    start(who).init(|init| init.expected = Some(MYSELF))
}

/// Adds partitions of topic `t`, as the partition's leader does for a client that bumps epochs.
fn add(who: &'static str, ids: &[i32]) -> Ask {
    let client_version = TransactionVersion::EPOCH_BUMP;
    let add =
        AddPartitions { transactional_id: app(), producer: MYSELF, partitions: of_t(ids), client_version };
    Ask { who, command: Command::AddPartitions(add) }
}

/// The same by a client of before KIP-890.
fn add_v1(who: &'static str, ids: &[i32]) -> Ask {
    let mut ask = add(who, ids);
    if let Command::AddPartitions(add) = &mut ask.command {
        add.client_version = TransactionVersion::ORIGINAL;
    }
    ask
}

fn verify(who: &'static str, ids: &[i32]) -> Ask {
    let verify = VerifyPartitions { transactional_id: app(), producer: MYSELF, partitions: of_t(ids) };
    Ask { who, command: Command::VerifyPartitions(verify) }
}

fn end(who: &'static str, result: TransactionResult, client_version: TransactionVersion) -> Ask {
    let end = EndTxn { transactional_id: app(), producer: MYSELF, result, client_version };
    Ask { who, command: Command::EndTxn(end) }
}

fn commit(who: &'static str) -> Ask {
    end(who, TransactionResult::Commit, TransactionVersion::EPOCH_BUMP)
}

fn abort(who: &'static str) -> Ask {
    end(who, TransactionResult::Abort, TransactionVersion::EPOCH_BUMP)
}

/// By a client of before KIP-890.
fn commit_v1(who: &'static str) -> Ask {
    end(who, TransactionResult::Commit, TransactionVersion::ORIGINAL)
}

fn abort_v1(who: &'static str) -> Ask {
    end(who, TransactionResult::Abort, TransactionVersion::ORIGINAL)
}

fn describe() -> Ask {
    Ask { who: "op", command: Command::DescribeTransaction { transactional_id: app() } }
}

fn list(filters: ListTransactions) -> Ask {
    Ask { who: "op", command: Command::ListTransactions(filters) }
}

/// All partitions that are named have their marker.
fn marked(partitions: &'static [(i32, ErrorCode)]) -> Deed {
    Deed::Mark(partitions)
}

const OK: ErrorCode = ErrorCode::None;

fn is_send<T: Send>() {}

#[test]
fn a_shard_may_move_between_threads() {
    is_send::<Transactions<u64>>();
}
