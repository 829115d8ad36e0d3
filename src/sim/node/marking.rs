//! Markers that this node writes, as the broker's task of an errand does. It must never decide: `node::marking` does.

use ottla_core::partition::Acks;
use ottla_core::txn::{Command, Markers, MarkersWritten};
use ottla_log::log::Appended;
use ottla_model::txn::Partitions;
use ottla_node::coordinator::{Ending, Input};
use ottla_node::lane::{Answered, Append, Input as LaneInput};
use ottla_node::marking::{Writer, Written, batch, by_leader, ending, for_coordinators, writer};
use ottla_protocol::ErrorCode;

use super::holding::GroupMachine;
use super::holding::Transactor;
use super::holding::{Caller, Marking};
use super::said::{Step, Waits};
use super::{Node, Said, Waiter};
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;

impl Node {
    /// The shard hears of each leader by itself.
    pub(super) fn write_markers(&mut self, now_ms: i64, shard: i32, markers: Markers, said: &mut Vec<Said>) {
        let ending = ending(&markers);
        let Markers { transactional_id, prepared_at, partitions, .. } = markers;
        for (leader, partitions) in by_leader(&self.image, &partitions) {
            let Some(transactions) = &mut self.transactions else { return };
            transactions.begun += 1;
            let (share, id) = (transactions.begun, transactional_id.clone());
            let names: Vec<_> = each(&partitions);
            // Until something is heard of it, none of them is said to be there.
            let written: Written = names
                .iter()
                .map(|(topic, index)| (topic.clone(), *index, ErrorCode::NetworkException))
                .collect();
            let missing = names.len();
            let marking = Marking { shard, transactional_id: id, prepared_at, written, missing };
            transactions.marking.insert(share, marking);
            for (at, (topic, index)) in names.into_iter().enumerate() {
                let refused = match leader {
                    Some(leader) if leader == self.me => {
                        self.write_marker(now_ms, (share, at), ending, &topic, index, said)
                    }
                    _ => Err(ErrorCode::LeaderNotAvailable),
                };
                if let Err(code) = refused {
                    mark("a marker could not be written");
                    self.marked(share, at, code, said);
                }
            }
        }
    }

    fn write_marker(
        &mut self,
        now_ms: i64,
        (share, at): (u64, usize),
        ending: Ending,
        topic: &str,
        index: i32,
        said: &mut Vec<Said>,
    ) -> Result<(), ErrorCode> {
        let key = match writer(&self.image, topic, index)? {
            Writer::Lane(topic, index) => (topic, index),
            Writer::Shard(shard) => {
                let sent = Input::EndTransaction { token: Caller::Marker(share, at), ending };
                let sent = self.tell_shard::<GroupMachine>(shard, sent, said);
                return sent.map_err(|_| ErrorCode::NotLeaderOrFollower);
            }
        };
        let led = self.partitions.get(&key).filter(|partition| !partition.resigned);
        let partition = led.ok_or(ErrorCode::NotLeaderOrFollower)?;
        let config = partition.config.clone();
        let batch = batch(now_ms, &ending, &partition.id, &config)?;
        let append = |token| Append {
            token,
            batch: batch.clone(),
            acks: Acks::All,
            answered: Answered::WhenSafe,
            checked_against: config.clone(),
            deadline_ms: now_ms + i64::from(self.config.request_timeout_ms),
        };
        let again = (self.mutation == Some(Mutation::MarkTwice)).then(|| append(Waiter::Nobody));
        let append = append(Waiter::Marker(share, at));
        self.submit(key, LaneInput::Append(append), said);
        if let Some(again) = again {
            said.push(Said::Transact {
                step: Step::AppendAgain(key, Box::new(again)),
                waits: Waits::ForLong,
            });
        }
        Ok(())
    }

    /// The lane says what became of a marker.
    pub(super) fn marked_by_lane(
        &mut self,
        (share, at): (u64, usize),
        outcome: Result<Appended, ErrorCode>,
        said: &mut Vec<Said>,
    ) {
        self.marked(share, at, outcome.err().unwrap_or(ErrorCode::None), said);
    }

    pub(super) fn marked_by_shard(&mut self, share: u64, at: usize, code: ErrorCode, said: &mut Vec<Said>) {
        mark_if(code == ErrorCode::None, "offsets of a transaction had their marker");
        self.marked(share, at, for_coordinators(code), said);
    }

    fn marked(&mut self, share: u64, at: usize, code: ErrorCode, said: &mut Vec<Said>) {
        let Some(transactions) = &mut self.transactions else { return };
        let Some(marking) = transactions.marking.get_mut(&share) else { return };
        marking.written[at].2 = code;
        marking.missing -= 1;
        if marking.missing == 0 {
            said.push(Said::Transact { step: Step::Marked(share), waits: Waits::ForATask });
        }
    }

    pub(super) fn tell_marked(&mut self, share: u64, said: &mut Vec<Said>) {
        let Some(transactions) = &mut self.transactions else { return };
        let Some(marking) = transactions.marking.remove(&share) else { return };
        let Marking { shard, transactional_id, prepared_at, written: results, .. } = marking;
        let command = Command::MarkersWritten(MarkersWritten { transactional_id, prepared_at, results });
        // A shard that does not hear of it has begun anew, and sends all markers again.
        let _ = self.tell_shard::<Transactor>(shard, Input::Ask { token: Caller::Nobody, command }, said);
    }
}

fn each(partitions: &Partitions) -> Vec<(ottla_model::TopicName, i32)> {
    let each =
        partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |i| (topic.clone(), *i)));
    each.collect()
}
