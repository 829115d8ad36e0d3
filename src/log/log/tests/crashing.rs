//! Random lives of a log, each ended by a kill or a loss of power at a random moment, against a model of what must be
//! left: flushed is never lost, what is left is a prefix of what was appended, and producers that try again append
//! nothing twice. `LOG_SEEDS=100..5000` lives others than the usual ones.

use std::collections::BTreeMap;

use super::*;

#[test]
fn lives_that_end_in_a_kill() {
    seeds().for_each(|seed| Life::new(seed, End::Kill).run());
}

#[test]
fn lives_that_end_in_a_loss_of_power() {
    seeds().for_each(|seed| Life::new(seed, End::PowerLoss).run());
}

#[test]
fn lives_that_end_either_way() {
    seeds().for_each(|seed| Life::new(seed, End::Either).run());
}

pub fn seeds() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("LOG_SEEDS") else { return 0..SEEDS };
    let (from, to) = asked.split_once("..").expect("LOG_SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    PowerLoss,
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Batch {
    base: Offset,
    epoch: i32,
    producer: Option<(i64, i32)>,
    timestamps: Vec<i64>,
    values: Vec<String>,
}

impl Batch {
    fn end(&self) -> Offset {
        self.base + self.values.len() as i64
    }

    fn builder(&self) -> BatchBuilder {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, sequence)) = self.producer {
            builder = builder.producer(ProducerId(id), ProducerEpoch(0), sequence);
        }
        for (timestamp, value) in self.timestamps.iter().zip(&self.values) {
            builder.append(*timestamp, None, Some(value.as_bytes()), &[]);
        }
        builder
    }
}

struct Life {
    seed: u64,
    dice: u64,
    end: End,
    world: World,
    memory: MemoryDisk,
    /// What the log holds as far as its owner knows, from offset 0 on.
    written: Vec<Batch>,
    /// What an append was to add when the end came.
    unsure: Vec<Batch>,
    /// Where a truncation was to cut when the end came.
    unsure_cut: Option<Offset>,
    flushed: Offset,
    /// The checkpoint files, which a broker writes from time to time.
    recovery_point: Offset,
    log_start: Offset,
    epoch: i32,
    counter: u64,
}

impl Life {
    fn new(seed: u64, end: End) -> Life {
        let config = TopicConfig {
            segment_bytes: 600,
            index_interval_bytes: 100,
            retention_bytes: 1500,
            retention_ms: -1,
            ..TopicConfig::default()
        };
        let mut world = World::memory(config.clone());
        let memory = world.memory.as_ref().expect("in memory").fork(seed);
        (world.disk, world.memory) = (Arc::new(memory.clone()), Some(memory.clone()));
        memory.kill();
        (world.log, _) = Log::open(world.opening()).expect("a new log");
        Life {
            seed,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995,
            end,
            world,
            memory,
            written: Vec::new(),
            unsure: Vec::new(),
            unsure_cut: None,
            flushed: 0,
            recovery_point: 0,
            log_start: 0,
            epoch: 0,
            counter: 0,
        }
    }

    fn run(mut self) {
        for _ in 0..4 {
            let killed = match self.end {
                End::Kill => true,
                End::PowerLoss => false,
                End::Either => self.below(2) == 0,
            };
            // Most ends come in the middle of something. Syncs that fail on the way are followed by a kill only where
            // no loss of power comes later: it would bring to light what they have lost (fsyncgate).
            if self.below(4) > 0 && !(killed && self.end == End::Either) {
                let changes = self.below(120);
                self.memory.cut_power_after(changes);
            }
            for _ in 0..60 {
                if self.step().is_err() {
                    break;
                }
            }
            self.die(killed);
            // It may come again while the log is being opened.
            if !(killed && self.end == End::Either) && self.below(3) == 0 {
                let changes = self.below(30);
                self.memory.cut_power_after(changes);
                let _ = Log::open(self.opening());
                self.die(killed);
            }
            self.check_what_is_left(killed);
            self.check_lookups();
            self.retry_producers();
        }
    }

    fn die(&self, killed: bool) {
        match killed {
            true => self.memory.kill(),
            false => self.memory.crash(),
        }
    }

    /// An error says that the end has come.
    fn step(&mut self) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| e.to_string();
        match self.below(20) {
            0..=10 => {
                let batches = (0..1 + self.below(4)).map(|_| self.next_batch()).collect::<Vec<_>>();
                self.append(batches)
            }
            11 | 12 => {
                let ticket = self.world.log.flush_begin().map_err(|e| failed(&e))?;
                let up_to = ticket.up_to;
                if self.below(2) == 0 {
                    let batch = self.next_batch();
                    self.append(vec![batch])?;
                }
                ticket.run().map_err(|e| failed(&e))?;
                self.world.log.flush_end(up_to);
                self.flushed = self.world.log.recovery_point();
                Ok(())
            }
            13 => {
                self.recovery_point = self.world.log.recovery_point();
                self.log_start = self.world.log.log_start_offset();
                Ok(())
            }
            14 | 15 => {
                let end = self.world.log.log_end_offset();
                let to = self.below(end as u64 + 1) as i64;
                self.world.log.advance_high_watermark(to.max(end - 5));
                Ok(())
            }
            16 => {
                let retired = self.world.log.delete_old_segments(START_MS).map_err(|e| failed(&e))?;
                if self.below(2) == 0 {
                    retired.into_iter().try_for_each(Retired::run).map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            17 => {
                let start = self.world.log.log_start_offset();
                let end = self.world.log.log_end_offset();
                let to = (end - self.below(12) as i64).max(start);
                let to =
                    self.written.iter().rev().map(|batch| batch.base).find(|base| *base <= to).unwrap_or(to);
                self.unsure_cut = Some(to);
                self.world.log.truncate_to(to, START_MS).map_err(|e| failed(&e))?;
                self.written.retain(|batch| batch.base < to);
                self.flushed = self.flushed.min(to);
                self.unsure_cut = None;
                Ok(())
            }
            18 => {
                self.epoch += 1;
                let end = self.world.log.log_end_offset();
                self.world.log.assign_epoch(LeaderEpoch(self.epoch), end).map_err(|e| failed(&e))
            }
            _ => {
                self.world.log.close().map_err(|e| failed(&e))?;
                self.flushed = self.world.log.log_end_offset();
                let opening = Opening { clean_shutdown: true, ..self.opening() };
                (self.world.log, _) = Log::open(opening).map_err(|e| failed(&e))?;
                Ok(())
            }
        }
    }

    fn next_batch(&mut self) -> Batch {
        let producer = self.below(4) as i64;
        let sequence = self.next_sequences().get(&producer).copied().unwrap_or(0);
        let records = 1 + self.below(3);
        self.counter += 1;
        Batch {
            base: -1,
            epoch: self.epoch,
            producer: (producer > 0).then_some((producer, sequence)),
            timestamps: (0..records).map(|_| START_MS - self.below(50) as i64).collect(),
            values: (0..records).map(|n| format!("{producer}:{}.{n}", self.counter)).collect(),
        }
    }

    /// Of the producers, after what is written and what is being written now.
    fn next_sequences(&self) -> BTreeMap<i64, i32> {
        let batches = self.written.iter().chain(&self.unsure);
        let known = batches.filter_map(|batch| Some((batch.producer?, batch.values.len())));
        known.map(|((id, sequence), records)| (id, sequence + records as i32)).collect()
    }

    fn append(&mut self, batches: Vec<Batch>) -> Result<(), String> {
        let mut base = self.world.log.log_end_offset();
        self.unsure.clear();
        // Drawn all at once, they may be of one producer: then they follow each other.
        for mut batch in batches {
            if let Some((id, sequence)) = &mut batch.producer {
                *sequence = self.next_sequences().get(id).copied().unwrap_or(0);
            }
            (batch.base, base) = (base, base + batch.values.len() as i64);
            self.unsure.push(batch);
        }
        let checked =
            self.unsure.iter().map(|b| self.world.checked(b.builder(), Origin::Client)).collect::<Vec<_>>();
        let results = self.world.log.append(&checked, LeaderEpoch(self.epoch), START_MS);
        for result in results.map_err(|e| e.to_string())? {
            let appended = result.map_err(|e| e.to_string())?;
            let batch = self.unsure.remove(0);
            assert_eq!((appended.base_offset, appended.duplicate), (batch.base, false), "seed {}", self.seed);
            self.written.push(batch);
        }
        Ok(())
    }

    fn opening(&self) -> Opening {
        let mut opening = self.world.opening();
        (opening.recovery_point, opening.log_start) = (self.recovery_point, self.log_start);
        opening
    }

    fn check_what_is_left(&mut self, killed: bool) {
        let seed = self.seed;
        let (log, recovery) = Log::open(self.opening()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        self.world.log = log;
        let start = self.world.log.log_start_offset();
        let end = self.world.log.log_end_offset();
        let cut = self.unsure_cut.take().unwrap_or(Offset::MAX);
        let must = if killed { self.written.last().map_or(0, Batch::end) } else { self.flushed };
        let must = must.min(cut);
        assert!(end >= must, "seed {seed}: the log ends at {end}, {must} were promised: {recovery:?}");
        let appended = self.written.iter().chain(&self.unsure).cloned().collect::<Vec<_>>();
        let left = appended.iter().filter(|batch| batch.end() <= end).cloned().collect::<Vec<_>>();
        // What was appended may be lost up to a log start that was checkpointed: the log begins anew there.
        assert!(
            left.last().map_or(0, Batch::end) == end || start == end,
            "seed {seed}: {start} {end} {:?} {recovery:?} {:?}",
            appended.last(),
            self.world.files()
        );
        let read = read_batches(&self.world.log.reader(), Isolation::LogEnd);
        let expected = left.iter().filter(|batch| batch.end() > start);
        assert_eq!(read.len(), expected.clone().count(), "seed {seed}: {start} to {end}, {recovery:?}");
        for ((header, bytes), batch) in read.iter().zip(expected) {
            let values = values_of(bytes).into_iter().map(|(_, value)| value).collect::<Vec<_>>();
            assert_eq!((header.base_offset, &values), (batch.base, &batch.values), "seed {seed}");
            let epoch = LeaderEpoch(header.partition_leader_epoch);
            assert_eq!(epoch, LeaderEpoch(batch.epoch), "seed {seed}");
            let (found, until) = self.world.log.epoch_end_offset(epoch);
            assert!(found == epoch && until > header.last_offset(), "seed {seed}: {epoch} ends at {until}");
        }
        self.written = left;
        self.unsure.clear();
        self.flushed = self.flushed.min(end);
        self.world.log.advance_high_watermark(end);
    }

    fn check_lookups(&mut self) {
        let (seed, reader) = (self.seed, self.world.log.reader());
        let Offsets { log_start, log_end, .. } = reader.offsets();
        let written =
            self.written.iter().filter(|batch| batch.end() > log_start).cloned().collect::<Vec<_>>();
        let records = || {
            let each = |b: &Batch| (b.base..).zip(b.timestamps.clone()).collect::<Vec<_>>();
            written.iter().flat_map(each).filter(|(offset, _)| *offset >= log_start)
        };
        for offset in log_start..log_end {
            let slice = reader.read(offset, 1, Isolation::HighWatermark, true).unwrap();
            let bytes = Bytes::from(slice.range.expect("a batch").read().unwrap());
            let header = BatchHeader::parse(&bytes).unwrap();
            assert!((header.base_offset..=header.last_offset()).contains(&offset), "seed {seed}: {offset}");
        }
        for _ in 0..10 {
            let timestamp = START_MS - self.below(60) as i64;
            let found = reader.offset_for_timestamp(timestamp, Isolation::LogEnd).unwrap();
            let expected = records().find(|(_, t)| *t >= timestamp);
            assert_eq!(found.map(|f| (f.offset, f.timestamp)), expected, "seed {seed}: {timestamp}");
        }
        let largest = reader.max_timestamp(Isolation::LogEnd).unwrap();
        // What is below the log start counts while its segment is there, as in Kafka.
        let at_least = records().map(|(_, t)| t).max();
        assert!(largest.map(|l| l.timestamp) >= at_least, "seed {seed}: {largest:?} {at_least:?}");
    }

    /// Each producer sends its last batch once more, which is a duplicate, and one too far, which is refused.
    fn retry_producers(&mut self) {
        let start = self.world.log.log_start_offset();
        for id in 1..4 {
            let last = self.written.iter().rev().find(|batch| batch.producer.is_some_and(|(p, _)| p == id));
            // Of a producer whose batches retention took nothing may be known.
            let Some(last) = last.filter(|batch| batch.base >= start).cloned() else { continue };
            let mut too_far = last.clone();
            too_far.producer = last.producer.map(|(id, sequence)| (id, sequence + 7));
            let batches = [&last, &too_far].map(|batch| self.world.checked(batch.builder(), Origin::Client));
            let results = self.world.log.append(&batches, LeaderEpoch(self.epoch), START_MS).unwrap();
            let results =
                results.into_iter().map(|r| r.map(|a| (a.base_offset, a.duplicate)).map_err(|e| e.code));
            let expected = [Ok((last.base, true)), Err(ErrorCode::OutOfOrderSequenceNumber)];
            assert_eq!(results.collect::<Vec<_>>(), expected, "seed {}: producer {id}", self.seed);
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.dice >> 33) % bound.max(1)
    }
}

const SEEDS: u64 = 100;
