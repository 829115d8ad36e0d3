//! Who uses the partition: producers, consumers, and admins who delete records and move it. They must never know more than a
//! client is told.

use ottla_core::partition::Acks;
use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, Offset};

use super::process::{Message, To};
use super::serving::{How, Sent};
use super::{CONSUMERS, Global, PRODUCERS, Replicas};
use crate::bus::Place;
use crate::invariants::ledger::RecordId;
use crate::marks::mark;
use crate::verdict::Verdict;

/// One record at a time; without a word in time it is sent again, to whoever leads then.
#[derive(Debug, Default)]
pub(super) struct Producer {
    pub attempt: u64,
    pub record: u32,
    pub acknowledged: u32,
    pub heard: Option<Result<Offset, ErrorCode>>,
    /// Of a story: it sends what it is told to, once.
    pub told: bool,
    /// Of a story: with acks=1, which promises nothing.
    pub asks_the_leader_alone: bool,
    /// The epoch under which it sends with sequences, and its first record under that. `None`: it does not.
    pub session: Option<(i16, u32)>,
}

/// Reads from the beginning.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    next: Offset,
}

impl Producer {
    pub fn new(idempotent: bool) -> Producer {
        Producer { session: idempotent.then_some((0, 1)), ..Producer::default() }
    }

    /// What that attempt was about, if it is the last one, and is to be safe when it is acknowledged.
    pub fn asked(&self, me: usize, attempt: u64) -> Option<RecordId> {
        let counts = self.attempt == attempt && !self.asks_the_leader_alone;
        counts.then_some(RecordId { client: me as u32, number: self.record })
    }

    fn how(&self) -> How {
        match self.session {
            None => How::Plainly,
            Some((epoch, first)) => How::Idempotently { epoch, sequence: (self.record - first) as i32 },
        }
    }
}

impl Replicas {
    // To whoever leads, or is believed to: clients look it up anew each time, and hear of it late.
    pub(super) fn believed_leader(&mut self) -> NodeId {
        let anybody = self.cluster.anybody();
        let knows = !self.cluster.dice.percent(5);
        let leader = self.registry.view().leader.filter(|_| knows);
        leader.unwrap_or(self.cluster.machines[anybody].id)
    }

    pub(super) fn produce(&mut self, producer: usize, attempt: u64) {
        let this = &mut self.producers[producer];
        if this.attempt != attempt
            || this.told
            || (self.cluster.finishing && this.acknowledged == this.record)
        {
            return;
        }
        if this.acknowledged == this.record {
            this.record += 1;
        }
        this.attempt += 1;
        let (attempt, number, how) = (this.attempt, this.record, this.how());
        let sent = Sent { record: RecordId { client: producer as u32, number }, acks: Acks::All, how };
        let to = To::Broker(self.believed_leader());
        self.send(PRODUCERS + producer as Place, to, Message::Produce { producer, attempt, sent });
        self.cluster.global(PRODUCER_PATIENCE_MS, Global::Produce { producer, attempt });
    }

    pub(super) fn produced(&mut self, producer: usize, message: &Message) {
        let Message::Produced { attempt, outcome } = message else { return };
        self.cluster.note(|| format!("producer {producer} hears of try {attempt}: {outcome:?}"));
        let this = &mut self.producers[producer];
        if this.attempt != *attempt {
            return;
        }
        this.heard = Some(*outcome);
        if outcome.is_ok() {
            this.acknowledged = this.record;
        }
        // Records that it was told of are lost, as nobody else was left: it begins again.
        if *outcome == Err(ErrorCode::OutOfOrderSequenceNumber) && self.judge.lossy {
            mark("a producer began again, as its records were lost");
            this.session = this.session.map(|(epoch, _)| (epoch + 1, this.record));
        }
        let pause_ms = self.cluster.dice.between(0, self.plan.produce_ms_max);
        self.cluster.global(pause_ms, Global::Produce { producer, attempt: *attempt });
    }

    pub(super) fn consume(&mut self, consumer: usize) {
        let to = To::Broker(self.believed_leader());
        let from = self.consumers[consumer].next;
        self.send(CONSUMERS + consumer as Place, to, Message::Consume { consumer, from });
        let pause_ms = self.cluster.dice.between(1, CONSUME_MS);
        self.cluster.global(pause_ms, Global::Consume(consumer));
    }

    pub(super) fn consumed(&mut self, consumer: usize, message: Message) {
        let Message::Consumed { from, found } = message else { return };
        let this = &mut self.consumers[consumer];
        if this.next != from {
            return;
        }
        match found {
            Ok(found) => this.next = found.last().map_or(from, |last| last.header.next_offset()),
            Err(Some(start)) => this.next = start,
            Err(None) => {}
        }
    }

    pub(super) fn delete_records(&mut self) {
        if self.cluster.finishing {
            return;
        }
        let to = To::Broker(self.believed_leader());
        let eighths = self.cluster.dice.between(1, 8);
        self.send(PRODUCERS, to, Message::DeleteRecords { eighths });
        let pause_ms = self.cluster.dice.between(1, DELETE_MS);
        self.cluster.global(pause_ms, Global::Delete);
    }

    // One broker gives the partition to another that does not have it.
    pub(super) fn reassign(&mut self) -> Verdict {
        if self.cluster.finishing {
            return Ok(());
        }
        let pause_ms = self.cluster.dice.between(1, REASSIGN_MS);
        self.cluster.global(pause_ms, Global::Reassign);
        let at = self.cluster.anybody();
        let (id, view) = (self.cluster.machines[at].id, self.registry.view());
        if view.target.is_some() || view.replicas.contains(&id) {
            return Ok(());
        }
        let mut to = view.replicas.clone();
        let place = self.cluster.dice.below(to.len() as u64) as usize;
        to[place] = id;
        self.registry.reassign(to);
        self.publish()
    }
}

const PRODUCER_PATIENCE_MS: i64 = 3_000;
const CONSUME_MS: i64 = 200;
const DELETE_MS: i64 = 1_000;
const REASSIGN_MS: i64 = 4_000;
