//! The way from a prepared transaction to a complete one: each of its partitions gets a marker, however often that has
//! to be tried, and then the log says that all have it. It must never know who leads a partition.

use ottla_model::TopicName;
use ottla_model::image::Image;
use ottla_model::txn::{Partitions, TransactionState, TransactionalId};
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::control::TransactionResult;

use super::command::MarkersWritten;
use super::errand::{Errand, Markers};
use super::{Effect, Step, Transactions};
use crate::coordinator::Note;

/// How far the partitions of a prepared transaction have been told.
#[derive(Debug)]
pub(super) struct Ending {
    /// Those that may not have their marker.
    pub unmarked: Partitions,
    /// Those of them that no errand is out for. There is never more than one errand for a partition: a marker of before
    /// KIP-890 that arrived twice could end the producer's next transaction.
    pub unsent: Partitions,
    /// When it is tried again.
    pub retry_at_ms: Option<i64>,
}

/// What an answer says of one partition.
enum Verdict {
    /// The transaction is no longer open there.
    Done,
    Retry,
    /// Another coordinator has taken over. It ends the transaction.
    Replaced,
}

impl Ending {
    pub fn of(partitions: &Partitions) -> Ending {
        Ending { unmarked: partitions.clone(), unsent: partitions.clone(), retry_at_ms: None }
    }

    /// A partition that was deleted has no transaction to end.
    fn forget_deleted(&mut self, image: &Image) {
        let mut deleted = Vec::new();
        for (topic, partitions) in &self.unsent {
            let gone = partitions.iter().filter(|partition| image.partition(topic, **partition).is_none());
            deleted.extend(gone.map(|partition| (topic.clone(), *partition)));
        }
        for (topic, partition) in deleted {
            remove(&mut self.unsent, &topic, partition);
            remove(&mut self.unmarked, &topic, partition);
        }
    }
}

impl<T> Transactions<T> {
    /// If the transaction is prepared: sends the markers that have to be sent, and completes it when none is left.
    pub(super) fn go_on_ending(&mut self, step: &mut Step<'_, T>, id: &TransactionalId) {
        let change = self.change(step.now_ms);
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(ending) = &mut entry.ending else { return };
        if let Some(image) = &self.image {
            ending.forget_deleted(image);
        }
        if ending.unmarked.is_empty() {
            let next = entry.transaction.completed(change);
            return self.write(step, id, Some(next), None);
        }
        let partitions = std::mem::take(&mut ending.unsent);
        if partitions.is_empty() {
            return;
        }
        let result = match entry.transaction.state() {
            TransactionState::PrepareCommit => TransactionResult::Commit,
            _ => TransactionResult::Abort,
        };
        step.out.push(Effect::Errand(Errand::WriteMarkers(Markers {
            transactional_id: id.clone(),
            prepared_at: entry.at,
            producer: entry.transaction.producer(),
            result,
            coordinator_epoch: self.coordinator_epoch,
            client_version: entry.transaction.metadata.client_version,
            partitions,
        })));
    }

    pub(super) fn markers_written(&mut self, step: &mut Step<'_, T>, written: MarkersWritten) {
        let id = &written.transactional_id;
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.at == written.prepared_at) else {
            // Of another transaction, or of another life of this shard.
            return;
        };
        let Some(ending) = &mut entry.ending else { return };
        for (topic, partition, error) in written.results {
            let is_expected =
                contains(&ending.unmarked, &topic, partition) && !contains(&ending.unsent, &topic, partition);
            if !is_expected {
                continue;
            }
            match verdict(error) {
                Verdict::Done => remove(&mut ending.unmarked, &topic, partition),
                Verdict::Retry => {
                    ending.unsent.entry(topic).or_default().insert(partition);
                }
                Verdict::Replaced => {
                    let note =
                        format!("transactional id {id}: {topic}-{partition} knows a newer coordinator");
                    step.out.push(Effect::Note(Note(note)));
                }
            }
        }
        match (ending.unmarked.is_empty(), ending.unsent.is_empty()) {
            (true, _) => self.go_on_ending(step, id),
            (false, false) => self.end_later(step.now_ms, id),
            (false, true) => {}
        }
    }

    /// Has another try after a while, if the transaction is prepared.
    pub(super) fn end_later(&mut self, now_ms: i64, id: &TransactionalId) {
        self.end_at(now_ms + self.settings.ending_backoff_ms, id);
    }

    pub(super) fn end_at(&mut self, at_ms: i64, id: &TransactionalId) {
        let Some(ending) = self.entries.get_mut(id).and_then(|entry| entry.ending.as_mut()) else { return };
        if ending.retry_at_ms.is_none() {
            ending.retry_at_ms = Some(at_ms);
            self.retries.insert((at_ms, id.clone()));
        }
    }

    /// Tries again what is due.
    pub(super) fn retry_endings(&mut self, step: &mut Step<'_, T>) {
        while let Some((at_ms, id)) = self.retries.first().cloned()
            && at_ms <= step.now_ms
        {
            self.retries.remove(&(at_ms, id.clone()));
            if let Some(ending) = self.entries.get_mut(&id).and_then(|entry| entry.ending.as_mut()) {
                ending.retry_at_ms = None;
                self.go_on_ending(step, &id);
            }
        }
    }
}

fn verdict(error: ErrorCode) -> Verdict {
    match error {
        ErrorCode::None => Verdict::Done,
        // The producer could not write there.
        ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion => Verdict::Done,
        // A newer epoch of the producer is there already: what is open there, if anything, is not of this transaction.
        // (Kafka sends no more markers then, and leaves the transaction prepared until its coordinator moves.)
        ErrorCode::InvalidProducerEpoch => Verdict::Done,
        ErrorCode::TransactionCoordinatorFenced => Verdict::Replaced,
        _ => Verdict::Retry,
    }
}

fn contains(partitions: &Partitions, topic: &TopicName, partition: i32) -> bool {
    partitions.get(topic).is_some_and(|partitions| partitions.contains(&partition))
}

fn remove(partitions: &mut Partitions, topic: &TopicName, partition: i32) {
    if let Some(of_topic) = partitions.get_mut(topic) {
        of_topic.remove(&partition);
        if of_topic.is_empty() {
            partitions.remove(topic);
        }
    }
}
