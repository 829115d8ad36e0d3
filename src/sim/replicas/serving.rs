//! How a process of this world leads: it serves fetches of followers and consumers, and takes what producers send, as a
//! broker's handlers do around a lane. It must never decide what a lane decides.

use ottla_core::coordinator::Producer as Identity;
use ottla_core::partition::{Acks, Diverging, Fetched};
use ottla_log::CheckedBatch;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::log::{ActiveProducer, Isolation, LogReader};
use ottla_model::{NodeId, VerificationGuard};
use ottla_node::lane::{Answered, Append, FetchPosition, Input, Upcoming};
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::home::partition;
use super::process::{Ask, Fetch, Found, Message, Process, To, Wish};
use crate::invariants::copy::{Copied, read_from, with_markers, write_id};
use crate::invariants::ledger::RecordId;
use crate::marks::mark;
use crate::mutation::Mutation;

/// What a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub record: RecordId,
    pub acks: Acks,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Plainly,
    Idempotently {
        epoch: i16,
        sequence: i32,
    },
    /// The first record of a transaction.
    InTransaction,
    /// The marker that commits its producer's transaction, from the coordinator.
    #[cfg_attr(not(test), expect(dead_code, reason = "so far only stories have transactions"))]
    Commit,
}

impl Process {
    pub(super) fn tell_start(&self, replica: NodeId, position: FetchPosition) -> Vec<Wish> {
        if !self.lane.leads() || position.under != self.lane.leader_epoch() {
            return Vec::new();
        }
        let start = self.lane.log().log_start_offset();
        vec![Wish::Send(To::Broker(replica), Message::Start { position, start })]
    }

    // Reads first, and answers once the lane, which may have been told that it leads no more, has taken note of it.
    pub(super) fn serve(&mut self, fetch: Fetch, now_ms: i64) -> Vec<Wish> {
        let position = fetch.position;
        let (found, fetched) = match self.look(&fetch, now_ms) {
            Ok(noted) => noted,
            Err(found) => {
                return vec![Wish::Send(To::Broker(fetch.replica), Message::Fetched { position, found })];
            }
        };
        self.next_fetch += 1;
        self.found.insert(self.next_fetch, (fetch.replica, position, found));
        self.enqueue(Input::ReplicaFetched { token: Ask::Fetch(self.next_fetch), fetched })
    }

    /// What a follower finds, and what the lane is to note of it. An error: an answer that says nothing of its progress.
    pub(super) fn look(&self, fetch: &Fetch, now_ms: i64) -> Result<(Found, Fetched), Found> {
        let position = fetch.position;
        let Some(view) = self.view.as_ref().filter(|_| self.lane.leads()) else {
            return Err(Found::Refused(ErrorCode::NotLeaderOrFollower));
        };
        if position.under != self.lane.leader_epoch() {
            mark("a fetch under another leader epoch was refused");
            if !self.makes(Mutation::ServeAnyEpoch) {
                return Err(Found::Refused(ErrorCode::FencedLeaderEpoch));
            }
        }
        let standing = view.standing(fetch.replica);
        let reader = self.lane.reader();
        let leader_end = reader.offsets().log_end;
        let found = self.read(&reader, fetch)?;
        let believes_ahead = self.makes(Mutation::BelieveFollowersAhead);
        let fetched = Fetched {
            replica: fetch.replica,
            believed: if self.makes(Mutation::ServeAnyEpoch) { LeaderEpoch::NONE } else { position.under },
            log_end: if believes_ahead { leader_end } else { position.log_end },
            log_start: fetch.log_start,
            broker_epoch: if self.makes(Mutation::BelieveOldBrokers) { -1 } else { fetch.broker_epoch },
            standing,
            leader_end,
            at_ms: now_ms,
        };
        Ok((found, fetched))
    }

    // The records; an answer that says nothing of the follower's progress is an error.
    fn read(&self, reader: &LogReader, fetch: &Fetch) -> Result<Found, Found> {
        let offsets = reader.offsets();
        let outside = Found::Ends(offsets.log_start, offsets.log_end);
        let from = fetch.position.log_end;
        if let Some(last) = fetch.last {
            let (epoch, end_offset) = self.epoch_end(reader, last);
            let undefined = !epoch.is_some() && self.makes(Mutation::ForgetEpochStarts);
            if (!epoch.is_some() || end_offset < 0 || from < offsets.log_start) && !undefined {
                return Err(outside);
            }
            if epoch < last || end_offset < from {
                mark("a follower's log had parted from its leader's");
                let (diverging, high_watermark) = (Diverging { epoch, end_offset }, offsets.high_watermark);
                let log_start = offsets.log_start;
                return Err(Found::Parted { diverging, high_watermark, log_start });
            }
        }
        let place =
            if self.makes(Mutation::SkipRestOfSegment) { self.home.behind_segment(from) } else { from };
        let slice = reader.read(place, FETCH_BYTES, Isolation::LogEnd, true).map_err(|_| outside)?;
        let bytes = slice.range.map(|range| range.read()).transpose();
        let bytes = bytes.map_err(|_| Found::Refused(ErrorCode::KafkaStorageError))?;
        Ok(Found::Records {
            bytes: bytes.unwrap_or_default().into(),
            high_watermark: slice.offsets.high_watermark,
            log_start: slice.offsets.log_start,
        })
    }

    fn epoch_end(&self, reader: &LogReader, last: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let written = self.lane.log().last_epoch().unwrap_or(LeaderEpoch::NONE);
        match self.makes(Mutation::ForgetEpochStarts) && last > written {
            true => (LeaderEpoch::NONE, -1),
            false => reader.epoch_end_under(self.lane.leader_epoch(), last),
        }
    }

    pub(super) fn consume(&mut self, consumer: usize, from: Offset) -> Vec<Wish> {
        if !self.lane.leads() {
            return vec![Wish::Send(To::Consumer(consumer), Message::Consumed { from, found: Err(None) })];
        }
        let found = self.read_for_consumer(from, Isolation::HighWatermark);
        let found = found.map_err(|()| Some(self.lane.log().log_start_offset()));
        vec![Wish::Send(To::Consumer(consumer), Message::Consumed { from, found })]
    }

    /// What a consumer is given. An error: there is nothing from there on.
    pub(super) fn read_for_consumer(&self, from: Offset, upto: Isolation) -> Result<Vec<Copied>, ()> {
        let is_open = |of: &ActiveProducer| of.current_transaction_start.is_some();
        let upto = match upto {
            _ if self.makes(Mutation::ReadPastHighWatermark) => Isolation::LogEnd,
            Isolation::Committed if self.makes(Mutation::CountMarkersEarly) => {
                match self.lane.log().active_producers().iter().any(is_open) {
                    true => Isolation::Committed,
                    false => Isolation::HighWatermark,
                }
            }
            upto => upto,
        };
        let from =
            if self.makes(Mutation::SkipRestOfSegment) { self.home.behind_segment(from) } else { from };
        read_from(&self.lane.reader(), from, CONSUME_BYTES, upto).map(with_markers).map_err(drop)
    }

    pub(super) fn produce(&mut self, producer: usize, attempt: u64, sent: Sent, now_ms: i64) -> Vec<Wish> {
        let batch = self.batch(producer, sent, now_ms);
        if sent.how != How::InTransaction {
            return self.append(producer, attempt, batch, sent.acks, now_ms);
        }
        let upcoming = Upcoming {
            producer: Identity { id: id_of(producer), epoch: ProducerEpoch(0) },
            base_sequence: 0,
            bumps_epoch: false,
        };
        self.verifying.push((producer, attempt, batch));
        self.enqueue(Input::Verify { token: Ask::Producer { producer, attempt }, upcoming })
    }

    /// The coordinator would be asked now; here it knows of every transaction.
    pub(super) fn verified(
        &mut self,
        producer: usize,
        attempt: u64,
        outcome: Result<Option<VerificationGuard>, ErrorCode>,
    ) -> Vec<Wish> {
        let place = self.verifying.iter().position(|(who, which, _)| (*who, *which) == (producer, attempt));
        let Some((.., mut batch)) = place.map(|place| self.verifying.remove(place)) else {
            return Vec::new();
        };
        match outcome {
            Ok(guard) => {
                batch.guard = guard;
                let now_ms = batch.header.max_timestamp;
                self.append(producer, attempt, batch, Acks::All, now_ms)
            }
            Err(code) => {
                let outcome = Err(code);
                vec![Wish::Send(To::Producer(producer), Message::Produced { attempt, outcome })]
            }
        }
    }

    fn append(
        &mut self,
        producer: usize,
        attempt: u64,
        batch: CheckedBatch,
        acks: Acks,
        now_ms: i64,
    ) -> Vec<Wish> {
        let early = self.makes(Mutation::AnswerWhenAppended);
        self.enqueue(Input::Append(Append {
            token: Ask::Producer { producer, attempt },
            batch,
            acks,
            answered: if early { Answered::WhenAppended } else { Answered::WhenSafe },
            checked_against: self.config.clone(),
            deadline_ms: now_ms + PRODUCE_MS,
        }))
    }

    fn batch(&self, producer: usize, sent: Sent, now_ms: i64) -> CheckedBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        let mut origin = Origin::Client;
        match sent.how {
            How::Plainly => {}
            How::Idempotently { epoch, sequence } => {
                builder = builder.producer(id_of(producer), ProducerEpoch(epoch), sequence);
            }
            How::InTransaction => {
                builder = builder.producer(id_of(producer), ProducerEpoch(0), 0).transactional();
            }
            How::Commit => {
                builder = builder.producer(id_of(producer), ProducerEpoch(0), -1).transactional().control();
                origin = Origin::Coordinator;
            }
        }
        match sent.how {
            How::Commit => {
                builder.append_control(now_ms, &ControlRecord::end_txn(TransactionResult::Commit, 0));
            }
            _ => {
                builder.append(now_ms, None, Some(&write_id(sent.record)), &[]);
            }
        }
        let partition = partition();
        let topic = &self.config;
        let rules = Rules { partition: &partition, topic, origin, now_ms, produce_version: 13 };
        check(builder.build(0, LeaderEpoch(0)), &rules).expect("a good batch").remove(0)
    }

    pub(super) fn delete_records(&mut self, eighths: i64, now_ms: i64) -> Vec<Wish> {
        let offsets = self.lane.log().offsets();
        let before = offsets.log_start + (offsets.high_watermark - offsets.log_start) * eighths / 8;
        let deadline_ms = now_ms + PRODUCE_MS;
        self.enqueue(Input::DeleteRecords { token: Ask::Own, before: Some(before), deadline_ms })
    }
}

/// Of that producer. The batch of a marker has the id of the producer whose transaction ends.
pub(super) fn id_of(producer: usize) -> ProducerId {
    ProducerId(producer as i64)
}

const FETCH_BYTES: usize = 600;
const CONSUME_BYTES: usize = 600;
const PRODUCE_MS: i64 = 2_000;
