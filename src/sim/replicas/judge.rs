//! What must hold of replicas. It must never influence what is judged: it reads logs as they are.

use std::collections::{BTreeMap, BTreeSet};

use ottla_log::log::Isolation;
use ottla_model::NodeId;
use ottla_protocol::{LeaderEpoch, Offset};

use super::process::Process;
use crate::invariants::copy::{LogCopy, read_from};
use crate::invariants::ledger::RecordId;
use crate::verdict::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What anybody may have been given: below a high watermark, and the epoch under which it was there first.
    safe: BTreeMap<Offset, (RecordId, LeaderEpoch)>,
    /// Of each process: the high watermark up to which that was looked at.
    looked: BTreeMap<(NodeId, u64), Offset>,
    /// Which process led under which epoch.
    led: BTreeSet<(NodeId, u64, LeaderEpoch)>,
    leaders: BTreeMap<LeaderEpoch, NodeId>,
    acknowledged: usize,
}

impl Judge {
    /// After a turn of a lane, in which it may have led and then not any more.
    pub fn watch(&mut self, id: NodeId, process: &Process) -> Verdict {
        let (leads, epoch) = (process.lane.leads(), process.lane.leader_epoch());
        let log = process.lane.log();
        let high_watermark = log.high_watermark();
        if leads && self.led.insert((id, process.life, epoch)) {
            let leader = *self.leaders.entry(epoch).or_insert(id);
            if leader != id {
                let what = format!("{id} and {leader} lead under epoch {epoch}");
                return Err(Violation::new("one leader per epoch", what));
            }
            self.audit(id, process)?;
        }
        let looked = self.looked.entry((id, process.life)).or_insert(0);
        if leads && high_watermark < *looked {
            let what = format!("{id}: from {looked} to {high_watermark}");
            return Err(Violation::new("a leader's high watermark only moves forward", what));
        }
        let mut next = std::mem::replace(looked, high_watermark).max(log.log_start_offset());
        while next < high_watermark {
            let found = read_from(&process.lane.reader(), next, 64 << 10, Isolation::HighWatermark)?;
            let Some(last) = found.last() else { break };
            next = last.header.next_offset();
            for (offset, record) in found.iter().flat_map(|batch| batch.records.iter().copied()) {
                self.note(id, offset, record, epoch)?;
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

    // Whoever begins to lead has everything that was safe before its epoch. It may hear of that late.
    fn audit(&mut self, id: NodeId, process: &Process) -> Verdict {
        let copy = LogCopy::read(&process.lane.reader(), Isolation::LogEnd)?;
        let has: BTreeMap<Offset, RecordId> = copy.records().collect();
        let epoch = process.lane.leader_epoch();
        for (offset, (record, since)) in &self.safe {
            if *since < epoch && has.get(offset) != Some(record) {
                let found = has.get(offset);
                let what =
                    format!("{record} at {offset} is not with {id}, leader of epoch {epoch}: {found:?}");
                return Err(Violation::new(STAYS, what));
            }
        }
        Ok(())
    }

    pub fn acknowledged(&mut self, record: RecordId, offset: Offset) -> Verdict {
        self.acknowledged += 1;
        match self.safe.get(&offset) {
            Some((known, _)) if *known == record => Ok(()),
            other => {
                let what = format!("{record} was acknowledged at {offset}, where {other:?} is safe");
                Err(Violation::new("acknowledged is safe", what))
            }
        }
    }

    /// Somebody leads who is known to lack records, since nobody else was left: all promises are off.
    pub fn forget(&mut self) {
        self.safe.clear();
    }

    /// At the end: all logs are the same, byte for byte, and safe to their end.
    pub fn finish<'a>(&self, processes: impl Iterator<Item = &'a Process>) -> Verdict {
        let mut first: Option<Vec<u8>> = None;
        for process in processes {
            let reader = process.lane.reader();
            let slice = reader.read(reader.offsets().log_start, 1 << 30, Isolation::LogEnd, true);
            let broken = |what: String| Violation::new("a log reads back", what);
            let range = slice.map_err(|e| broken(e.to_string()))?.range;
            let bytes = range.map(|range| range.read()).transpose().map_err(|e| broken(e.to_string()))?;
            let bytes = bytes.unwrap_or_default();
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

    pub fn summary(&self) -> (usize, usize) {
        (self.acknowledged, self.safe.len())
    }
}

const STAYS: &str = "what was safe stays";
