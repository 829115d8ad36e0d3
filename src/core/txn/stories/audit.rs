//! What must hold of a shard after every step, however it came about, and of the log that it has written.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::txn::Partitions;

use super::super::*;

/// Markers of which it is not known whether they arrived, beside what the shard knows.
pub fn check(transactions: &Transactions<usize>, under_way: &[Markers]) {
    for (id, entry) in &transactions.entries {
        let state = entry.transaction.state();
        assert_eq!(transactions.ongoing.contains(id), state == TransactionState::Ongoing, "{id}");
        assert_eq!(entry.ending.is_some(), state.is_prepared(), "{id}");
        let partitions = &entry.transaction.metadata.partitions;
        let has_partitions = state == TransactionState::Ongoing || state.is_prepared();
        assert!(has_partitions || partitions.is_empty(), "{id} is {state} with {partitions:?}");
        let Some(ending) = &entry.ending else { continue };
        if let Some(at_ms) = ending.retry_at_ms {
            assert!(transactions.retries.contains(&(at_ms, id.clone())), "{id} is never tried again");
        }
        let is_of_this = |markers: &&Markers| {
            markers.transactional_id == *id && markers.prepared_at == entry.at && !ending.unmarked.is_empty()
        };
        let mut sent = BTreeSet::new();
        for markers in under_way.iter().filter(is_of_this) {
            for partition in each(&markers.partitions) {
                assert!(sent.insert(partition.clone()), "{id}: two markers at once for {partition:?}");
            }
        }
        let unsent = each(&ending.unsent);
        assert!(unsent.is_disjoint(&sent), "{id}: {unsent:?} are sent");
        let known: BTreeSet<_> = unsent.union(&sent).cloned().collect();
        assert_eq!(known, each(&ending.unmarked), "{id}: some partitions never get their marker");
        let goes_on =
            ending.retry_at_ms.is_some() || !sent.is_empty() || transactions.being_written.contains(id);
        assert!(goes_on, "{id} is stuck");
    }
    assert!(transactions.ongoing.iter().all(|id| transactions.entries.contains_key(id)));
    for (at_ms, id) in &transactions.retries {
        let ending = transactions.entries[id].ending.as_ref().expect("what is tried again is prepared");
        assert_eq!(ending.retry_at_ms, Some(*at_ms), "{id}");
    }
}

/// The log, read as the history of each transactional id. `marked` are the partitions that answered that they had the
/// marker of a transaction, by its id and the offset at which it was prepared.
pub fn check_log(log: &[TransactionRecord], marked: &BTreeMap<(TransactionalId, Offset), Partitions>) {
    let mut before: BTreeMap<&TransactionalId, (Offset, &TransactionRecord)> = BTreeMap::new();
    let mut producer_ids: BTreeMap<ProducerId, &TransactionalId> = BTreeMap::new();
    for (offset, record) in (0..).zip(log) {
        let id = &record.transactional_id;
        let last = before.insert(id, (offset, record));
        let last = last.and_then(|(offset, record)| Some((offset, record.value.as_ref()?)));
        let state = last.map(|(_, last)| last.state);
        assert!(
            follows(state, record.value.as_ref().map(|value| value.state)),
            "{offset}: {state:?} {record:?}"
        );
        let Some(value) = &record.value else { continue };
        match last.filter(|(_, last)| last.producer_id == value.producer_id) {
            Some((_, last)) => {
                assert!(last.producer_epoch <= value.producer_epoch, "{offset}: an epoch goes back")
            }
            None => {
                let owner = producer_ids.insert(value.producer_id, id);
                assert_eq!(owner, None, "{offset}: the producer id {} was used before", value.producer_id);
            }
        }
        if let Some((prepared_at, last)) = last.filter(|(_, last)| last.state.is_prepared()) {
            let marked = marked.get(&(id.clone(), prepared_at));
            assert_eq!(each(&last.partitions), marked.map(each).unwrap_or_default(), "{offset}: {id}");
        }
    }
}

/// Whether a transactional id may go from one state to the other. `None`: nothing is known of it.
fn follows(from: Option<TransactionState>, to: Option<TransactionState>) -> bool {
    use TransactionState::*;
    let is_closed = matches!(from, Some(Empty | CompleteCommit | CompleteAbort));
    match to {
        Some(Empty) => is_closed || from.is_none(),
        Some(Ongoing) => is_closed || from == Some(Ongoing),
        Some(PrepareCommit) => from == Some(Ongoing),
        Some(PrepareAbort) => is_closed || from == Some(Ongoing),
        Some(CompleteCommit) => from == Some(PrepareCommit),
        Some(CompleteAbort) => from == Some(PrepareAbort),
        None => is_closed,
    }
}

fn each(partitions: &Partitions) -> BTreeSet<(ottla_model::TopicName, i32)> {
    partitions.iter().flat_map(|(topic, ids)| ids.iter().map(|id| (topic.clone(), *id))).collect()
}
