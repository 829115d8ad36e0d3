//! A producer as Java's: batches with sequences, at most five in flight, sent again in order until they are stored; or
//! one without idempotence that sends each batch once.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_core::partition::Acks;
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId};

use super::around::{Around, Request, Response, client_topics};
use crate::invariants::compacted::{Compaction, is_tombstone, key_of};
use crate::invariants::copy::write_id;
use crate::invariants::ledger::RecordId;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::node::{Answer, Key, Produce};
use crate::verdict::{Verdict, Violation};

/// One producer, with one partition at a time.
pub(crate) struct Producer {
    idempotent: bool,
    acks: Acks,
    timeout_ms: i64,
    /// Of the process that it is connected to.
    life: u64,
    target: Option<Key>,
    /// The topic is compacted: records have keys, and some delete theirs.
    keyed: bool,
    identity: Identity,
    next_number: u32,
    next_sequence: i32,
    /// A batch of this producer id is stored.
    established: bool,
    batches: VecDeque<Batch>,
    not_before_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    None,
    Asked { request: u64, at_ms: i64 },
    Is { id: ProducerId, epoch: ProducerEpoch },
}

#[derive(Clone, Debug)]
struct Batch {
    first: u32,
    count: u32,
    sequence: i32,
    bytes: usize,
    timestamp: i64,
    codec: Compression,
    sent: Option<(u64, i64)>,
    /// It may be in the log already.
    attempted: bool,
}

impl Producer {
    pub fn new(idempotent: bool, acks: Acks, timeout_ms: i64) -> Producer {
        Producer {
            idempotent,
            acks,
            timeout_ms,
            life: 0,
            target: None,
            keyed: false,
            identity: Identity::None,
            next_number: 0,
            next_sequence: 0,
            established: false,
            batches: VecDeque::new(),
            not_before_ms: 0,
        }
    }

    pub fn is_done(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn under_way(&self, request: u64) -> Option<(Key, Vec<RecordId>)> {
        let batch = self.batches.iter().find(|b| b.sent.is_some_and(|(sent, _)| sent == request))?;
        // The client's number is filled in by whoever knows it.
        let records = (0..batch.count).map(|n| RecordId { client: 0, number: batch.first + n });
        Some((self.target?, records.collect()))
    }

    pub fn wake(&mut self, around: &mut Around<'_>) -> i64 {
        self.notice_broken_connection(around);
        let pause = around.dice.between(1, 40);
        if around.now_ms < self.not_before_ms || !self.aim(around) || !self.identify(around) {
            return pause;
        }
        while self.batches.len() < IN_FLIGHT_MAX && !around.finishing && around.dice.percent(60) {
            self.begin_batch(around);
        }
        self.send(around);
        pause
    }

    // After a reset every batch may or may not be stored.
    fn notice_broken_connection(&mut self, around: &Around<'_>) {
        let patience = self.timeout_ms + PATIENCE_MS;
        let overdue = |(_, at_ms): (u64, i64)| at_ms + patience < around.now_ms;
        let broken = self.life != around.life || self.batches.iter().any(|b| b.sent.is_some_and(overdue));
        if broken {
            self.life = around.life;
            self.batches.iter_mut().for_each(|batch| batch.sent = None);
            if !self.idempotent {
                self.batches.retain(|batch| !batch.attempted);
            }
        }
        if let Identity::Asked { at_ms, .. } = self.identity
            && (broken || at_ms + patience < around.now_ms)
        {
            self.identity = Identity::None;
        }
    }

    // A topic that is gone takes along what was under way to it.
    fn aim(&mut self, around: &mut Around<'_>) -> bool {
        let Some(node) = around.node else { return false };
        let there = |(topic, _): &Key| node.image.topic_by_id(*topic).is_some();
        if self.target.as_ref().is_some_and(there) {
            return true;
        }
        self.batches.clear();
        let topics = client_topics(node);
        let keys: Vec<Key> =
            topics.flat_map(|topic| topic.partitions.keys().map(|index| (topic.id, *index))).collect();
        if keys.is_empty() {
            self.target = None;
            return false;
        }
        let key = *around.dice.pick(&keys);
        self.target = Some(key);
        self.keyed = Compaction::of_topic(&node.image, key.0).is_some();
        self.identity = Identity::None;
        self.next_sequence = 0;
        if self.idempotent {
            around.judge.ledger(key).idempotent.insert(around.client as u32);
        }
        true
    }

    fn identify(&mut self, around: &mut Around<'_>) -> bool {
        if self.idempotent && self.identity == Identity::None {
            self.established = false;
            let request = around.send(Request::InitProducerId);
            self.identity = Identity::Asked { request, at_ms: around.now_ms };
        }
        !self.idempotent || matches!(self.identity, Identity::Is { .. })
    }

    fn begin_batch(&mut self, around: &mut Around<'_>) {
        let count = around.dice.between(1, 4) as u32;
        self.batches.push_back(Batch {
            first: self.next_number,
            count,
            sequence: self.next_sequence,
            bytes: *around.dice.pick(&[0, 10, 40, 100]),
            timestamp: around.now_ms,
            codec: if around.dice.percent(10) { Compression::Lz4 } else { Compression::None },
            sent: None,
            attempted: false,
        });
        self.next_number += count;
        self.next_sequence += count as i32;
    }

    fn send(&mut self, around: &mut Around<'_>) {
        let Some(key) = self.target else { return };
        let forgets = around.mutation == Some(Mutation::ForgetSequences);
        for index in 0..self.batches.len() {
            if self.batches[index].sent.is_some() {
                continue;
            }
            // As in Java's accumulator, what is sent again goes alone. And nothing overtakes a first batch that may
            // yet fail: Kafka takes any sequence from a producer of whom it knows nothing.
            let waits = self.batches[index].attempted || !self.established;
            if self.idempotent && index > 0 && waits {
                break;
            }
            mark_if(self.batches[index].attempted, "a batch was sent again");
            if forgets && self.batches[index].attempted {
                let renumbered = self.next_sequence;
                self.next_sequence += self.batches[index].count as i32;
                self.batches[index].sequence = renumbered;
            }
            let records = self.encode(&self.batches[index], around.client);
            let (acks, timeout_ms) = (self.acks, self.timeout_ms);
            let request = around.send(Request::Produce(Produce { key, records, acks, timeout_ms }));
            self.batches[index].sent = Some((request, around.now_ms));
            self.batches[index].attempted = true;
        }
    }

    fn encode(&self, batch: &Batch, client: usize) -> Bytes {
        let mut builder = BatchBuilder::new(batch.codec);
        if let Identity::Is { id, epoch } = self.identity {
            builder = builder.producer(id, epoch, batch.sequence);
        }
        for number in batch.first..batch.first + batch.count {
            let record = RecordId { client: client as u32, number };
            let mut value = write_id(record).to_vec();
            value.resize(8 + batch.bytes, number as u8);
            if self.keyed {
                let value = (!is_tombstone(record)).then_some(&value[..]);
                let id = [(&b"id"[..], Some(&write_id(record)[..]))];
                builder.append(batch.timestamp, Some(&[key_of(record)]), value, &id);
            } else {
                builder.append(batch.timestamp, None, Some(&value), &[]);
            }
        }
        builder.build(0, LeaderEpoch::NONE)
    }

    pub fn hear(&mut self, request: u64, response: &Response, around: &mut Around<'_>) -> Verdict {
        match response {
            Response::Produced(outcome) => {
                let at = self.batches.iter().position(|b| b.sent.is_some_and(|(sent, _)| sent == request));
                match (at, outcome) {
                    (None, _) => Ok(()),
                    (Some(at), Ok(_)) => {
                        self.batches.remove(at);
                        self.established = true;
                        Ok(())
                    }
                    (Some(at), Err(code)) => self.refused(at, *code, around),
                }
            }
            Response::Answered(Answer::ProducerId(given)) => {
                if matches!(self.identity, Identity::Asked { request: asked, .. } if asked == request) {
                    self.identity = match given {
                        Ok(id) => Identity::Is { id: *id, epoch: ProducerEpoch(0) },
                        Err(_) => Identity::None,
                    };
                }
                Ok(())
            }
            Response::Answered(Answer::Controller(_) | Answer::Group(_) | Answer::Transaction(_)) => Ok(()),
        }
    }

    fn refused(&mut self, at: usize, code: ErrorCode, around: &mut Around<'_>) -> Verdict {
        self.not_before_ms = around.now_ms + around.dice.between(1, 100);
        if !self.idempotent {
            self.batches.remove(at);
            return Ok(());
        }
        self.batches[at].sent = None;
        match code {
            // An earlier one has failed: this one is sent again behind it.
            ErrorCode::OutOfOrderSequenceNumber if at > 0 => Ok(()),
            ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId => {
                self.begin_again(code, around)
            }
            code if code.is_retriable() => Ok(()),
            code => {
                let what = format!("client {} was told {}", around.client, code.name());
                Err(Violation::new(NAME, what))
            }
        }
    }

    // Where records may be lost, what came before is gone: the epoch is bumped, and sequences begin again (KIP-360).
    // Otherwise only a batch that is stored may be turned away: a restart knows each producer's last batch and no
    // earlier one, because Kafka's snapshots have no room for more. An application closes such a producer.
    fn begin_again(&mut self, code: ErrorCode, around: &mut Around<'_>) -> Verdict {
        let (Some(key), Some(head)) = (self.target, self.batches.front()) else { return Ok(()) };
        let ledger = around.judge.ledger(key);
        let mutated = around.mutation == Some(Mutation::ForgetSequences);
        if !ledger.lossy && !mutated {
            let record = RecordId { client: around.client as u32, number: head.first };
            if !ledger.places.contains_key(&record) {
                return Err(Violation::new(NAME, format!("{record} is new and was told {}", code.name())));
            }
            self.batches.clear();
            self.identity = Identity::None;
        }
        if let Identity::Is { epoch, .. } = &mut self.identity {
            mark("a producer began a new epoch");
            epoch.0 += 1;
        }
        self.next_sequence = 0;
        self.established = false;
        for batch in &mut self.batches {
            batch.sent = None;
            batch.sequence = self.next_sequence;
            self.next_sequence += batch.count as i32;
        }
        Ok(())
    }
}

/// Kafka's limit for idempotent producers.
const IN_FLIGHT_MAX: usize = 5;
/// How long a reply may take beyond what the node was asked to take.
const PATIENCE_MS: i64 = 400;
const NAME: &str = "a producer that retries is not turned away";
