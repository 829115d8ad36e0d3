//! What must hold of replicas. It must never influence what is judged: it reads logs as they are.

use std::collections::{BTreeMap, BTreeSet};

use ottla_log::log::{Isolation, LogReader};
use ottla_model::NodeId;
use ottla_protocol::{LeaderEpoch, Offset};

use super::process::Process;
use super::promises::Promises;
use super::registry::View;
use crate::invariants::copy::{Copied, LogCopy, marker_of, read_from, with_markers};
use crate::invariants::dense;
use crate::invariants::ledger::RecordId;
use crate::verdict::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What anybody may have been given: below a high watermark, and the epoch under which it was there first.
    pub(super) safe: BTreeMap<Offset, (RecordId, LeaderEpoch)>,
    /// Of each process: the high watermark up to which that was looked at, and the epoch under which it was there.
    looked: BTreeMap<(NodeId, u64), (Offset, LeaderEpoch)>,
    /// Which process led under which epoch.
    led: BTreeSet<(NodeId, u64, LeaderEpoch)>,
    leaders: BTreeMap<LeaderEpoch, NodeId>,
    pub(super) acknowledged: usize,
    /// What was promised to those who commit offsets.
    pub(super) promises: Promises,
    /// Where the records of idempotent producers are safe. `None`: producers are not idempotent.
    places: Option<BTreeMap<RecordId, Offset>>,
    /// Who is in sync.
    isr: Vec<NodeId>,
    /// Nothing is promised below the highest log start that a leader has had. What a follower has there is not compared with
    /// its leader, as in Kafka: it may be other records, which a crash may show again.
    deleted: Offset,
    /// Promises were off once: a leader from before may still show what is lost.
    pub lossy: bool,
    /// What was safe under an epoch before this one, or becomes so at a leader that has not heard of it, is promised no more.
    promised_since: Option<LeaderEpoch>,
}

impl Judge {
    pub fn new(idempotent: bool) -> Judge {
        Judge { places: idempotent.then(BTreeMap::new), ..Judge::default() }
    }

    /// After a turn of a lane, in which it may have led and then not any more.
    pub fn watch(&mut self, id: NodeId, process: &Process) -> Verdict {
        let (leads, epoch) = (process.lane.leads(), process.lane.leader_epoch());
        let log = process.lane.log();
        let high_watermark = log.high_watermark();
        if leads && process.epoch.is_none() {
            let what = format!("{id} leads under {epoch}, and does not know of its registration");
            return Err(Violation::new("a process acts on news of itself only", what));
        }
        // A log that has failed inside a truncation is neither here nor there: nobody is served from it any more.
        let inside = log.log_start_offset()..=log.log_end_offset();
        if !log.is_offline() && !inside.contains(&high_watermark) {
            let what = format!("{id}: {:?}", log.offsets());
            return Err(Violation::new("the high watermark is inside the log", what));
        }
        if leads && self.led.insert((id, process.life, epoch)) {
            let leader = *self.leaders.entry(epoch).or_insert(id);
            if leader != id {
                let what = format!("{id} and {leader} lead under epoch {epoch}");
                return Err(Violation::new("one leader per epoch", what));
            }
            self.audit(id, process)?;
        }
        if leads && log.log_start_offset() > self.deleted {
            self.deleted = log.log_start_offset();
            self.safe = self.safe.split_off(&self.deleted);
        }
        let looked = self.looked.entry((id, process.life)).or_insert((0, epoch));
        let (seen, under) = std::mem::replace(looked, (high_watermark, epoch));
        if leads && high_watermark < seen {
            let what = format!("{id}: from {seen} to {high_watermark}");
            return Err(Violation::new("a leader's high watermark only moves forward", what));
        }
        if Some(under) < self.promised_since {
            return Ok(());
        }
        let mut next = seen.max(log.log_start_offset());
        while next < high_watermark {
            let found =
                with_markers(read_from(&process.lane.reader(), next, 64 << 10, Isolation::HighWatermark)?);
            let Some(last) = found.last() else { break };
            next = last.header.next_offset();
            for (offset, record) in found.iter().flat_map(|batch| batch.records.iter().copied()) {
                if offset >= self.deleted {
                    self.note(id, offset, record, epoch)?;
                    self.place(offset, record)?;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, id: NodeId, offset: Offset, record: RecordId, epoch: LeaderEpoch) -> Verdict {
        let (known, _) = *self.safe.entry(offset).or_insert((record, epoch));
        if known == record {
            return Ok(());
        }
        let what = format!("offset {offset} was {known}, and {record} at {id}");
        Err(Violation::new(STAYS, what))
    }

    // A replica that began at its leader's start, as in Kafka, does not know who sent what is deleted.
    fn place(&mut self, offset: Offset, record: RecordId) -> Verdict {
        let Some(places) = &mut self.places else { return Ok(()) };
        let known = places.insert(record, offset).unwrap_or(offset);
        if known == offset || known < self.deleted {
            return Ok(());
        }
        let what = format!("{record} is safe at offset {known} and at {offset}");
        Err(Violation::new("idempotent records are there once", what))
    }

    // Whoever begins to lead has everything that was safe before its epoch. It may hear of that late.
    fn audit(&mut self, id: NodeId, process: &Process) -> Verdict {
        let copy = LogCopy::read(&process.lane.reader(), Isolation::LogEnd)?.with_markers();
        dense::check(&copy)?;
        let has: BTreeMap<Offset, RecordId> = copy.records().collect();
        let epoch = process.lane.leader_epoch();
        for (offset, (record, since)) in self.safe.range(copy.offsets.log_start..) {
            if *since < epoch && has.get(offset) != Some(record) {
                let found = has.get(offset);
                let what =
                    format!("{record} at {offset} is not with {id}, leader of epoch {epoch}: {found:?}");
                return Err(Violation::new(STAYS, what));
            }
        }
        Ok(())
    }

    /// What a process answers to a producer.
    pub fn acknowledged(&mut self, (id, life): (NodeId, u64), record: RecordId, offset: Offset) -> Verdict {
        self.acknowledged += 1;
        let led = self.led.range((id, life, LeaderEpoch(0))..=(id, life, LeaderEpoch(i32::MAX)));
        let promises = led.last().is_none_or(|(_, _, epoch)| Some(*epoch) >= self.promised_since);
        match self.safe.get(&offset) {
            Some((known, _)) if *known == record => Ok(()),
            _ if !promises => Ok(()),
            // It was safe before promises were off, and its leader still has it.
            None if self.lossy || offset < self.deleted => Ok(()),
            other => {
                let what = format!("{record} was acknowledged at {offset}, where {other:?} is safe");
                Err(Violation::new("acknowledged is safe", what))
            }
        }
    }

    /// What a consumer is given. It asked for what begins at `from`. `committed`: it wants no record whose transaction is open.
    pub fn consumed(&self, from: Offset, found: &[Copied], committed: bool) -> Verdict {
        let records = found.iter().flat_map(|batch| batch.records.iter().map(move |record| (batch, *record)));
        for ((batch, (offset, record)), next) in records.skip_while(|(_, (at, _))| *at < from).zip(from..) {
            if offset != next {
                let what = format!("{record} at offset {offset} came where {next} was to come");
                return Err(Violation::new("a consumer misses nothing", what));
            }
            let known = self.safe.get(&offset).map(|(known, _)| *known);
            if known != Some(record) && !self.lossy && offset >= self.deleted {
                let what = format!("{record} at offset {offset}, where {known:?} is safe");
                return Err(Violation::new("a consumer sees only what is safe", what));
            }
            let marker = marker_of(batch.header.producer_id);
            let of_transaction = batch.header.is_transactional() && record != marker;
            let ended = || self.lossy || self.safe.range(offset..).any(|(_, (known, _))| *known == marker);
            if committed && of_transaction && !ended() {
                let what = format!("{record} at offset {offset}, and no marker of its transaction is safe");
                return Err(Violation::new("a committed record has a marker that is safe", what));
            }
        }
        Ok(())
    }

    /// What the controller says now.
    pub fn agreed(&mut self, view: &View) -> Verdict {
        let joined = view.isr.iter().filter(|id| !self.isr.contains(id));
        let fenced: Vec<&NodeId> = joined.filter(|id| view.is_fenced(**id)).collect();
        if !fenced.is_empty() {
            return Err(Violation::new("a fenced broker does not join", format!("{fenced:?} in {view:?}")));
        }
        self.isr = view.isr.clone();
        Ok(())
    }

    /// Somebody leads under that epoch who is known to lack records, since nobody else was left: all promises are off.
    pub fn forget(&mut self, epoch: LeaderEpoch) {
        self.safe.clear();
        self.promises.forget();
        self.places.iter_mut().for_each(BTreeMap::clear);
        self.lossy = true;
        self.promised_since = Some(epoch);
    }

    /// At the end: all logs are the same, byte for byte, and safe to their end. One may have deleted more than another.
    pub fn finish(&self, processes: &[&Process]) -> Verdict {
        let starts = processes.iter().map(|process| process.lane.log().log_start_offset());
        let start = starts.max().unwrap_or(0).max(self.deleted);
        let mut first: Option<Vec<u8>> = None;
        for process in processes {
            let bytes = bytes_from(&process.lane.reader(), start)?;
            match &first {
                None => first = Some(bytes),
                Some(known) if *known == bytes => {}
                Some(known) => {
                    let what = format!("{} bytes and {} bytes", known.len(), bytes.len());
                    return Err(Violation::new("replicas are the same", what));
                }
            }
        }
        Ok(())
    }

    /// How many records are safe.
    #[cfg(test)]
    pub fn safe(&self) -> usize {
        self.safe.len()
    }

    pub fn summary(&self) -> (usize, usize) {
        (self.acknowledged, self.safe.len())
    }
}

// Everything from there to the end of the log, segment by segment.
fn bytes_from(reader: &LogReader, start: Offset) -> Result<Vec<u8>, Violation> {
    let broken = |what: String| Violation::new("a log reads back", what);
    let (mut bytes, mut next) = (Vec::new(), start);
    while next < reader.offsets().log_end {
        let slice = reader.read(next, 1 << 30, Isolation::LogEnd, true).map_err(|e| broken(e.to_string()))?;
        let Some(range) = slice.range else { break };
        bytes.extend(range.read().map_err(|e| broken(e.to_string()))?);
        next = slice.next_offset;
    }
    Ok(bytes)
}

const STAYS: &str = "what was safe stays";
