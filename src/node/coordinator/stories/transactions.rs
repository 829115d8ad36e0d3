//! Transactions between their machine and their log: what is done elsewhere waits for replication, as replies do.

use ottla_core::txn::{
    AddPartitions, Command, EndTxn, Errand, InitProducerId, MarkersWritten, Reply, Settings, Transactions,
};
use ottla_model::txn::{Partitions, TransactionVersion};
use ottla_protocol::ProducerEpoch;

use super::*;

const PRODUCER: Producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(0) };

fn empty() -> Shard<Transactions<u32>> {
    let terms =
        ShardSettings { compression: Compression::None, linger: Linger::Ms(0), write_timeout_ms: 5_000 };
    Shard::new(Transactions::new(Arc::new(Settings::default()), 3), terms)
}

fn partitions() -> Partitions {
    Partitions::from([("t".into(), [0].into())])
}

/// A producer that has a transaction open, all of it replicated.
fn open() -> Stage<Transactions<u32>> {
    let mut story = Stage::new(empty());
    let out = story.ask(Command::InitProducerId(InitProducerId {
        transactional_id: "app".into(),
        timeout_ms: 60_000,
        expected: None,
        enable_two_phase_commit: false,
        keep_prepared_transaction: false,
    }));
    assert!(out.is_empty(), "it needs a producer id first");
    let allocate = Errand::AllocateProducerId { transactional_id: "app".into() };
    assert_eq!(story.shard.take_errands(), [allocate]);
    let out =
        story.ask(Command::ProducerIdAllocated { transactional_id: "app".into(), result: Ok(PRODUCER.id) });
    let replies = told(story.settle(out));
    assert_eq!(replies, [(2, Reply::Noted(ErrorCode::None)), (1, Reply::ProducerInitialized(Ok(PRODUCER)))]);
    let out = story.ask(Command::AddPartitions(AddPartitions {
        transactional_id: "app".into(),
        producer: PRODUCER,
        partitions: partitions(),
        client_version: TransactionVersion::ORIGINAL,
    }));
    assert_eq!(told(story.settle(out)), [(3, Reply::PartitionsAdded(ErrorCode::None))]);
    story
}

fn commit() -> Command {
    Command::EndTxn(EndTxn {
        transactional_id: "app".into(),
        producer: PRODUCER,
        result: TransactionResult::Commit,
        client_version: TransactionVersion::ORIGINAL,
    })
}

fn told(out: Outputs<Transactions<u32>>) -> Vec<(u32, Reply)> {
    let each = out.into_iter().filter_map(|output| match output {
        Output::Reply { token, reply } => Some((token, reply)),
        Output::Append(_) => panic!("nothing more is to be written"),
        Output::Note(_) => None,
    });
    each.collect()
}

#[test]
fn no_partition_hears_of_an_end_that_may_yet_be_lost() {
    let mut story = open();
    let out = story.ask(commit());
    let out = story.append(out);
    assert_eq!((told(out), story.shard.take_errands()), (vec![], vec![]));
    assert_eq!(story.shard.awaits(), Some(3));
    let out = story.feed(Input::Replicated(3));
    assert_eq!(told(out), [(4, Reply::TransactionEnds(Ok(None)))]);
    let errands = story.shard.take_errands();
    let [Errand::WriteMarkers(markers)] = &errands[..] else { panic!("{errands:?}") };
    let expected = (2, 3, partitions());
    assert_eq!((markers.prepared_at, markers.coordinator_epoch, markers.partitions.clone()), expected);
    assert_eq!(story.shard.take_errands(), [], "each is done once");
    let out = story.ask(Command::MarkersWritten(MarkersWritten {
        transactional_id: "app".into(),
        prepared_at: markers.prepared_at,
        results: vec![("t".into(), 0, ErrorCode::None)],
    }));
    assert_eq!(told(story.settle(out)), [(5, Reply::Noted(ErrorCode::None))]);
    assert_eq!(story.log_end, 4, "the transaction is complete");
}

#[test]
fn an_end_goes_on_where_the_shard_goes() {
    let mut story = open();
    let out = story.ask(commit());
    let out = story.append(out);
    assert_eq!(told(out), []);
    let out = story.feed(Input::Resign(ErrorCode::NotCoordinator));
    assert_eq!(told(out), [(4, Reply::TransactionEnds(Err(ErrorCode::NotCoordinator)))]);
    story.feed(Input::Replicated(3));
    assert_eq!(story.shard.take_errands(), [], "that is its successor's now");
    let mut successor = story.loaded_into(empty());
    assert_eq!(successor.shard.next_deadline_ms(), Some(successor.now_ms));
    assert_eq!(told(successor.feed(Input::Tick)), []);
    let errands = successor.shard.take_errands();
    assert!(
        matches!(&errands[..], [Errand::WriteMarkers(markers)] if markers.prepared_at == 2),
        "{errands:?}"
    );
}
