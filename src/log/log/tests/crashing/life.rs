//! Consecutive lives of one log: what its owner does, what fails, and how each life ends.

use super::super::*;
use super::Seen;
use super::model::{Batch, Kind, next_sequences, transactions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Kill,
    PowerLoss,
    Either,
}

pub struct Life {
    pub dice: u64,
    pub end: End,
    pub world: World,
    pub memory: MemoryDisk,
    /// What the log has, as far as its owner knows, from offset 0 on.
    pub written: Vec<Batch>,
    /// The batches of an append that a crash has interrupted.
    pub unsure: Vec<Batch>,
    /// Batches that a full disk refused, and that were cut off again by a cut that no flush has covered: a loss of power
    /// may undo the cut. The log appends nothing before that flush, so no acknowledged batch can have their offsets.
    pub refused: Vec<Batch>,
    /// Where an interrupted truncation was to cut.
    pub unsure_cut: Option<Offset>,
    pub flushed: Offset,
    /// The offsets in the checkpoint files, which a broker writes from time to time.
    pub recovery_point: Offset,
    pub log_start: Offset,
    /// The highest log start so far. Records below it may come back if no checkpoint has it, but without their epochs and
    /// transactions.
    pub known_from: Offset,
    pub epoch: i32,
    counter: u64,
    /// Producers that only send transactions.
    transactional: [i64; 3],
    /// A fault is planned: an error is expected.
    pub armed: bool,
    /// The fault is a full disk.
    pub full: bool,
    /// The log must not be used any more, whatever it says of itself.
    over: bool,
}

impl Life {
    pub fn new(seed: u64, end: End) -> Life {
        let config = TopicConfig {
            segment_bytes: 600,
            segment_ms: 1000,
            index_interval_bytes: 100,
            retention_bytes: 1500,
            retention_ms: -1,
            ..TopicConfig::default()
        };
        let mut world = World::memory(config);
        let memory = world.memory.as_ref().expect("in memory").fork(seed);
        memory.set_short_reads(seed.is_multiple_of(2));
        (world.disk, world.memory) = (Arc::new(memory.clone()), Some(memory.clone()));
        memory.kill();
        (world.log, _) = Log::open(world.opening()).expect("a new log");
        Life {
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995,
            end,
            world,
            memory,
            written: Vec::new(),
            unsure: Vec::new(),
            refused: Vec::new(),
            unsure_cut: None,
            flushed: 0,
            recovery_point: 0,
            log_start: 0,
            known_from: 0,
            epoch: 0,
            counter: 0,
            transactional: [11, 12, 13],
            armed: false,
            full: false,
            over: false,
        }
    }

    pub fn run(mut self, seen: &mut Seen) {
        for _ in 0..4 {
            let killed = match self.end {
                End::Kill => true,
                End::PowerLoss => false,
                End::Either => self.below(2) == 0,
            };
            // Most lives end in the middle of an operation. A life in which a sync fails ends in a kill only if no loss
            // of power comes later, which would show what the failed sync has lost (fsyncgate).
            match self.below(8) {
                0 | 1 => {}
                2 | 3 => self.plan_a_fault(),
                _ if killed && self.end == End::Either => {}
                _ => {
                    let changes = self.below(120);
                    self.memory.cut_power_after(changes);
                    (self.armed, self.over) = (true, true);
                }
            }
            self.live(seen);
            self.die(killed, seen);
            self.die_while_opening(killed, seen);
            if self.below(3) == 0 {
                self.harm_side_files(killed);
                seen.harmed += 1;
            }
            self.check_what_is_left(killed, seen);
            self.check_lookups();
            self.check_transactions();
            self.retry_producers();
        }
    }

    fn live(&mut self, seen: &mut Seen) {
        for _ in 0..60 {
            let failed = self.step().err();
            if let Some(e) = &failed {
                assert!(self.armed, "nothing was to fail, and this did: {e}");
            }
            if self.world.log.is_offline() {
                assert!(self.armed, "offline, and nothing was to fail");
                seen.offline += 1;
                return;
            }
            if failed.is_none() {
                continue;
            }
            if self.over || self.unsure_cut.is_some() {
                return;
            }
            // The failed append has changed nothing, and the log goes on.
            let unsure = std::mem::take(&mut self.unsure);
            if self.refused.is_empty() && self.world.log.needs_flush_to_append() {
                self.refused = unsure;
            }
            assert_eq!(self.world.log.log_end_offset(), self.written.last().map_or(0, Batch::end));
            seen.survived += 1;
        }
    }

    fn die(&mut self, killed: bool, seen: &mut Seen) {
        self.memory.heal();
        (self.armed, self.full, self.over) = (false, false, false);
        self.known_from = self.known_from.max(self.world.log.log_start_offset());
        self.forget_refused();
        seen.ends += 1;
        match killed {
            true => self.memory.kill(),
            false => self.memory.crash(),
        }
    }

    /// A crash or a disk error may come again while the log is being opened.
    fn die_while_opening(&mut self, killed: bool, seen: &mut Seen) {
        match self.below(6) {
            0 | 1 if !(killed && self.end == End::Either) => {
                let changes = self.below(30);
                self.memory.cut_power_after(changes);
            }
            2 => {
                self.plan_a_fault();
                // As before a truncation, a recovery that cuts has to write the lowered recovery point first.
                if self.full {
                    self.memory.heal();
                }
            }
            _ => return,
        }
        let _ = Log::open(self.opening());
        self.die(killed, seen);
    }

    /// One operation. An error says that the disk has failed during it.
    fn step(&mut self) -> Result<(), String> {
        self.forget_refused();
        let failed = |e: &dyn std::fmt::Display| e.to_string();
        match self.below(24) {
            0..=9 => {
                let batches = (0..1 + self.below(4)).map(|_| self.next_batch()).collect::<Vec<_>>();
                self.append(batches)
            }
            10..=12 => self.append_to_transaction(),
            13 | 14 => {
                let ticket = self.world.log.flush_begin().map_err(|e| failed(&e))?;
                let up_to = ticket.up_to;
                if self.below(2) == 0 {
                    let batch = self.next_batch();
                    self.append(vec![batch])?;
                }
                let synced = ticket.run();
                assert_eq!(synced.is_err(), self.world.log.is_offline(), "no sync is tried again");
                synced.map_err(|e| failed(&e))?;
                self.world.log.flush_end(up_to);
                self.flushed = self.world.log.recovery_point();
                Ok(())
            }
            15 => {
                self.recovery_point = self.world.log.recovery_point();
                self.log_start = self.world.log.log_start_offset();
                Ok(())
            }
            16 | 17 => {
                let end = self.world.log.log_end_offset();
                let to = self.below(end as u64 + 1) as i64;
                self.world.log.advance_high_watermark(to.max(end - 5));
                Ok(())
            }
            18 => {
                let retired = self.world.log.delete_old_segments(START_MS).map_err(|e| failed(&e))?;
                if self.below(2) == 0 {
                    retired.into_iter().try_for_each(Retired::run).map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            // If the disk is full, the lowered recovery point may not be written, and a crash after a truncation is then
            // not safe (see `Lowered`). So no truncation is tried.
            19 if self.full => Ok(()),
            19 => self.truncate(),
            20 => {
                self.epoch += 1;
                let end = self.world.log.log_end_offset();
                self.world.log.assign_epoch(LeaderEpoch(self.epoch), end).map_err(|e| failed(&e))
            }
            21 => {
                // DeleteRecords may be given any offset.
                let Offsets { log_start, high_watermark, .. } = self.world.log.offsets();
                let to = (log_start + self.below(8) as i64).min(high_watermark);
                let advanced = self.world.log.advance_log_start(to);
                assert_eq!(advanced.map_err(|e| e.code), Ok(to > log_start));
                Ok(())
            }
            22 => {
                self.world.log.roll_if_due(START_MS + 2000).map_err(|e| failed(&e))?;
                if !self.armed {
                    self.check_transactions();
                    self.retry_producers();
                }
                Ok(())
            }
            _ => {
                let over = std::mem::replace(&mut self.over, true);
                self.known_from = self.known_from.max(self.world.log.log_start_offset());
                self.world.log.close().map_err(|e| failed(&e))?;
                self.flushed = self.world.log.log_end_offset();
                let opening = Opening { clean_shutdown: true, ..self.opening() };
                (self.world.log, _) = Log::open(opening).map_err(|e| failed(&e))?;
                self.over = over;
                Ok(())
            }
        }
    }

    /// Forgets the refused batches, after a flush has covered the cut.
    fn forget_refused(&mut self) {
        if !self.world.log.needs_flush_to_append() {
            self.refused.clear();
        }
    }

    fn truncate(&mut self) -> Result<(), String> {
        let Offsets { log_start, log_end, .. } = self.world.log.offsets();
        let wanted = log_end - self.below(12) as i64;
        let bases = self.written.iter().rev().map(|batch| batch.base);
        let to = bases.filter(|base| *base >= log_start).find(|base| *base <= wanted).unwrap_or(log_end);
        self.unsure_cut = Some(to);
        self.world.log.truncate_to(to, START_MS).map_err(|e| e.to_string())?;
        self.written.retain(|batch| batch.base < to);
        self.flushed = self.flushed.min(to);
        self.unsure_cut = None;
        Ok(())
    }

    fn next_batch(&mut self) -> Batch {
        let producer = self.below(4) as i64;
        self.batch(Kind::Plain, producer)
    }

    /// Appends to a transaction. At times it is ended instead, by a commit or an abort.
    fn append_to_transaction(&mut self) -> Result<(), String> {
        let one = self.below(3) as usize;
        // Records below an earlier log start may be back, without their producer state.
        let known_from = self.known_from.max(self.world.log.log_start_offset());
        let mut batches = self.written.iter().rev();
        let last = batches.find(|batch| batch.is_of(self.transactional[one]) && !batch.is_marker());
        let is_open = transactions(self.written.iter()).open.contains_key(&self.transactional[one]);
        // If retention has removed a producer's records, perhaps only a marker of it is left, which says nothing about
        // sequences (as in Kafka). So its transaction is ended, and another producer takes its place.
        let is_gone = last.is_some_and(|last| last.base < known_from);
        let kind = match self.below(4) {
            0 if is_open => Kind::Marker(TransactionResult::Commit),
            1 if is_open => Kind::Marker(TransactionResult::Abort),
            _ if is_gone && is_open => Kind::Marker(TransactionResult::Abort),
            _ => Kind::InTransaction,
        };
        if is_gone && !is_open {
            self.transactional[one] += 10;
        }
        let producer = self.transactional[one];
        let batch = self.batch(kind, producer);
        self.append(vec![batch])
    }

    fn batch(&mut self, kind: Kind, producer: i64) -> Batch {
        self.counter += 1;
        let (base, epoch) = (-1, self.epoch);
        let producer = (producer > 0).then_some((producer, 0));
        if let Kind::Marker(_) = kind {
            let values = vec!["marker".to_owned()];
            return Batch { base, epoch, kind, producer, timestamps: vec![MARKED_MS], values };
        }
        let records = 1 + self.below(3);
        let timestamps = (0..records).map(|_| START_MS - self.below(50) as i64).collect();
        let values = (0..records).map(|n| format!("{}.{n}", self.counter)).collect();
        Batch { base, epoch, kind, producer, timestamps, values }
    }

    fn append(&mut self, batches: Vec<Batch>) -> Result<(), String> {
        let mut base = self.world.log.log_end_offset();
        self.unsure.clear();
        // Several of these batches may be of the same producer: then their sequences follow each other.
        for mut batch in batches {
            if let Some((id, sequence)) = &mut batch.producer {
                let known = next_sequences(self.written.iter().chain(&self.unsure));
                *sequence = known.get(id).copied().unwrap_or(0);
            }
            (batch.base, base) = (base, base + batch.values.len() as i64);
            self.unsure.push(batch);
        }
        let checked = self.unsure.iter().map(|batch| batch.checked(&self.world)).collect::<Vec<_>>();
        let results = self.world.log.append(&checked, LeaderEpoch(self.epoch), START_MS);
        for result in results.map_err(|e| e.to_string())? {
            let appended = result.map_err(|e| format!("{:?}: {}", e.code, e.message))?;
            let batch = self.unsure.remove(0);
            assert_eq!((appended.base_offset, appended.duplicate), (batch.base, false));
            self.written.push(batch);
        }
        Ok(())
    }

    pub fn opening(&self) -> Opening {
        let mut opening = self.world.opening();
        (opening.recovery_point, opening.log_start) = (self.recovery_point, self.log_start);
        opening
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.dice >> 33) % bound.max(1)
    }
}

/// Older than every record, so that a search by timestamp never finds a marker.
const MARKED_MS: i64 = START_MS - 1000;
