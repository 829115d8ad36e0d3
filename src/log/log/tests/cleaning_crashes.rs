//! Cleanings that a kill or a loss of power ends: at each change on disk, and in random lives, compared with a map.
//! `LOG_SEEDS=100..5000` runs these seeds instead of the usual ones.

use std::collections::BTreeMap;

use super::cleaning::{compacted, map};
use super::crashing::{Reproduce, seeds, usual};
use super::*;

type Model = BTreeMap<String, String>;

impl World {
    fn model(&self) -> Model {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        self.state().iter().map(|(key, value)| (text(key), text(value))).collect()
    }

    /// Cleans until something fails. Retired files are removed at once, as if `file.delete.delay.ms` had passed.
    pub fn try_clean(&mut self, checkpoint: Option<Offset>) -> Result<Option<Cleaned>, String> {
        let told = |e: &dyn std::fmt::Display| e.to_string();
        let dirt = self.log.reader().dirt(&self.config, checkpoint, self.now_ms).map_err(|e| told(&e))?;
        let begun = self.log.begin_cleaning(&dirt, map(), self.now_ms).map_err(|e| told(&e))?;
        let Some(mut cleaning) = begun else { return Ok(None) };
        loop {
            match cleaning.step(300).map_err(|e| told(&e))? {
                Step::Working { .. } => {}
                Step::Swap(swap) => {
                    let retired = self.log.swap_cleaned(*swap, self.now_ms).map_err(|e| told(&e))?;
                    retired.into_iter().try_for_each(Retired::run).map_err(|e| told(&e))?;
                }
                Step::Done(cleaned) => return Ok(Some(cleaned)),
            }
        }
    }
}

/// A log with each kind of batch that a cleaning treats differently, in several groups of several segments.
pub fn busy() -> World {
    let mut world = World::memory(compacted());
    for n in 0..18 {
        if n % 2 == 0 {
            // The segment is half full, so that two of them become one.
            world.seal();
        }
        let (key, value) = ((n * n % 23).to_string(), n.to_string());
        world.put_keys(&[(&key, (n % 7 > 0).then_some(&value)), (&(100 + n % 3).to_string(), Some(&value))]);
        if n % 8 == 0 {
            let builder = super::cleaning::keyed(Compression::Lz4, world.now_ms, &[("t", Some(&value))]);
            let builder = builder.producer(ProducerId(n), ProducerEpoch(0), 0).transactional();
            let batch = world.checked(builder, Origin::Client);
            world.append(&batch).unwrap();
            let result = if n % 16 == 0 { TransactionResult::Abort } else { TransactionResult::Commit };
            let marker = world.checked(end_of_txn(n, 0, result, 0, world.now_ms), Origin::Coordinator);
            world.append(&marker).unwrap();
        }
    }
    world.seal();
    world.log.close().expect("the log closes");
    world
}

/// A copy of that log on a disk of its own, open.
fn again(busy: &World) -> World {
    let mut world = World::memory(compacted());
    let memory = busy.memory.as_ref().expect("in memory").fork(7);
    memory.kill();
    memory.write_back();
    (world.disk, world.memory) = (Arc::new(memory.clone()), Some(memory));
    world.reopen(|opening| opening.clean_shutdown = true);
    world.log.advance_high_watermark(world.log.log_end_offset());
    world
}

#[test]
fn a_cleaning_may_end_at_any_change_on_disk() {
    let busy = busy();
    let before = (committed(&again(&busy)), busy.log.log_end_offset());
    let (mut changes, mut finished) = (0, false);
    while !finished {
        let mut world = again(&busy);
        let memory = world.memory.clone().expect("in memory");
        memory.cut_power_after(changes);
        finished = world.try_clean(None).is_ok();
        // A kill has one outcome, a loss of power has many.
        for face in 0..FACES {
            let fork = memory.fork(face + 101 * changes);
            let end = match face {
                0 => MemoryDisk::kill,
                _ => MemoryDisk::crash,
            };
            end(&fork);
            (world.disk, world.memory) = (Arc::new(fork.clone()), Some(fork.clone()));
            if face % 2 == 1 {
                // The power fails a second time, during the recovery from the first loss.
                fork.cut_power_after((changes + face * 5) % 24);
                let _ = Log::open(world.opening());
                fork.crash();
            }
            check_again(&mut world, &format!("{changes} changes, face {face}"), face % 3 == 0, &before);
        }
        changes += 1;
    }
    assert!(changes > 40, "{changes}: too few for several groups");
}

/// A half-finished swap is finished when the log is opened, and a crash may end the opening at any change, too.
#[test]
fn finishing_a_cleaning_may_end_at_any_change_on_disk() {
    let busy = busy();
    let before = (committed(&again(&busy)), busy.log.log_end_offset());
    let (mut changes, mut tried) = (0, 0);
    loop {
        let mut world = again(&busy);
        let memory = world.memory.clone().expect("in memory");
        memory.cut_power_after(changes);
        if world.try_clean(None).is_ok() {
            break;
        }
        changes += 1;
        memory.kill();
        memory.write_back();
        let files = memory.list(&world.dir).expect("the folder is there");
        let finished = |name: &str| name.ends_with(".log.swap");
        if !files.iter().any(|e| finished(&e.name)) || files.iter().any(|e| e.name.ends_with(".cleaned")) {
            continue;
        }
        tried += 1;
        if tried % 3 > 0 {
            continue;
        }
        for cut in 0..20 {
            for face in 0..FACES {
                let fork = memory.fork(face + 101 * changes);
                (world.disk, world.memory) = (Arc::new(fork.clone()), Some(fork.clone()));
                fork.cut_power_after(cut);
                let _ = Log::open(world.opening());
                fork.crash();
                let what = format!("{changes} changes, then {cut}, face {face} of it");
                check_again(&mut world, &what, false, &before);
            }
        }
    }
    assert!(tried > 12, "{tried}");
}

/// `stale`: the recovery point in the checkpoint is far below the real one.
fn check_again(world: &mut World, what: &str, stale: bool, before: &(Model, Offset)) {
    let end = before.1;
    let mut opening = world.opening();
    opening.recovery_point = if stale { 20 } else { end };
    let (log, recovery) = Log::open(opening).unwrap_or_else(|e| panic!("{what}: {e}"));
    world.log = log;
    world.log.advance_high_watermark(end);
    assert_eq!(recovery.truncated_to, None, "{what}");
    assert_eq!(world.log.log_end_offset(), end, "{what}");
    assert_eq!(committed(world), before.0, "{what}");
    let files = world.files();
    assert!(
        !files.iter().any(|name| name.ends_with(".swap") || name.ends_with(".cleaned")),
        "{what}: {files:?}"
    );
    // No segment overlaps with the next one: the inputs of a merged segment are gone.
    for pair in world.log.segments.windows(2) {
        let mut scan = pair[0].scan(0, pair[0].sealed_bytes().expect("a sealed segment"), 1000);
        while let Some(found) = scan.next().expect("whole batches") {
            assert!(found.header.last_offset() < pair[1].base, "{what}: {:?}", world.files());
        }
    }
    if what.ends_with("face 1") {
        world.flush();
        world.flush();
        world.try_clean(None).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(committed(world), before.0, "{what}, cleaned once more");
    }
}

/// The newest value of each key, as a read_committed consumer sees it.
fn committed(world: &World) -> Model {
    let reader = world.log.reader();
    let mut ahead = reader.aborted_transactions(0, Offset::MAX).unwrap();
    let (mut aborting, mut model) = (Vec::new(), Model::new());
    for (header, bytes) in read_batches(&reader, Isolation::Committed) {
        ahead.retain(|(id, first)| {
            let begun = *first <= header.last_offset();
            aborting.extend(begun.then_some(id.0));
            !begun
        });
        if header.is_control() {
            aborting.retain(|id| *id != header.producer_id);
            continue;
        }
        if header.is_transactional() && aborting.contains(&header.producer_id) {
            continue;
        }
        for record in records(&bytes, DecompressLimit(1 << 20)).unwrap() {
            let record = record.unwrap();
            let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
            match (record.key.map(text), record.value.map(text)) {
                (Some(key), Some(value)) => drop(model.insert(key, value)),
                (Some(key), None) => drop(model.remove(&key)),
                _ => {}
            }
        }
    }
    model
}

#[test]
fn a_compacted_log_is_the_map_that_was_written() {
    let mut ends = 0;
    for seed in seeds() {
        let _told = Reproduce { test: "a_compacted_log_is_the_map_that_was_written", seed };
        ends += Keeper::new(seed).run();
    }
    assert!(ends >= 400 || !usual(), "only {ends} ends of a log");
}

/// Appends to a compacted log and keeps the map that the log stands for, while the log is cleaned and crashes.
struct Keeper {
    seed: u64,
    dice: u64,
    world: World,
    /// Each record as it was appended: offset, key, value.
    written: Vec<(Offset, String, Option<String>)>,
    flushed: Offset,
    checkpoint: Option<Offset>,
    recovery_point: Offset,
    counter: u64,
}

impl Keeper {
    fn new(seed: u64) -> Keeper {
        let mut world = World::memory(TopicConfig { delete_retention_ms: 50, ..compacted() });
        let memory = world.memory.as_ref().expect("in memory").fork(seed);
        (world.disk, world.memory) = (Arc::new(memory.clone()), Some(memory.clone()));
        memory.set_short_reads(seed.is_multiple_of(2));
        memory.kill();
        (world.log, _) = Log::open(world.opening()).expect("a new log");
        Keeper {
            seed,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678,
            world,
            written: Vec::new(),
            flushed: 0,
            checkpoint: None,
            recovery_point: 0,
            counter: 0,
        }
    }

    /// Runs the lives and returns how many times the log crashed.
    fn run(mut self) -> u64 {
        let mut ends = 0;
        for _ in 0..4 {
            let memory = self.world.memory.clone().expect("in memory");
            // After a failed sync, a later loss of power may undo the renames that the sync covered (fsyncgate). So a
            // life with a failing disk that ends in a kill has no loss of power afterwards.
            let killed = match self.seed % 3 {
                0 => true,
                1 => false,
                _ => self.below(2) == 0,
            };
            let either = self.seed % 3 == 2;
            if self.below(4) > 0 && !(killed && either) {
                memory.cut_power_after(self.below(400));
            }
            for _ in 0..80 {
                if self.step().is_err() {
                    break;
                }
            }
            let end = if killed { MemoryDisk::kill } else { MemoryDisk::crash };
            end(&memory);
            if self.below(3) == 0 && !(killed && either) {
                memory.cut_power_after(self.below(30));
                let _ = Log::open(self.opening());
                end(&memory);
                ends += 1;
            }
            ends += 1;
            self.check();
        }
        ends
    }

    fn opening(&self) -> Opening {
        Opening { recovery_point: self.recovery_point, ..self.world.opening() }
    }

    fn step(&mut self) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| e.to_string();
        self.world.now_ms += self.below(20) as i64;
        match self.below(20) {
            0..=12 => self.append(),
            13 | 14 => self.flush(),
            15 => {
                self.recovery_point = self.world.log.recovery_point();
                Ok(())
            }
            16 => {
                self.world.log.roll_if_due(self.world.now_ms).map_err(|e| failed(&e))?;
                let retired =
                    self.world.log.delete_old_segments(self.world.now_ms).map_err(|e| failed(&e))?;
                retired.into_iter().try_for_each(Retired::run).map_err(|e| failed(&e))
            }
            17 => {
                self.world.log.close().map_err(|e| failed(&e))?;
                self.flushed = self.world.log.log_end_offset();
                let opening = Opening { clean_shutdown: true, ..self.opening() };
                (self.world.log, _) = Log::open(opening).map_err(|e| failed(&e))?;
                self.world.log.advance_high_watermark(self.world.log.log_end_offset());
                Ok(())
            }
            _ => {
                if let Some(cleaned) = self.world.try_clean(self.checkpoint)?
                    && self.below(3) > 0
                {
                    self.checkpoint = Some(cleaned.up_to);
                }
                Ok(())
            }
        }
    }

    fn append(&mut self) -> Result<(), String> {
        let codec = Compression::ALL[self.below(5) as usize];
        let mut builder = BatchBuilder::new(codec);
        let base = self.world.log.log_end_offset();
        for n in 0..1 + self.below(4) as i64 {
            self.counter += 1;
            let key = self.below(12).to_string();
            let value = (self.below(4) > 0).then(|| self.counter.to_string());
            builder.append(self.world.now_ms, Some(key.as_bytes()), value.as_deref().map(str::as_bytes), &[]);
            self.written.push((base + n, key, value));
        }
        let batch = self.world.checked(builder, Origin::Client);
        let log = &mut self.world.log;
        log.append(&[batch], LeaderEpoch(0), self.world.now_ms).map_err(|e| e.to_string())?;
        log.advance_high_watermark(log.log_end_offset());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        let ticket = self.world.log.flush_begin().map_err(|e| e.to_string())?;
        let up_to = ticket.up_to;
        ticket.run().map_err(|e| e.to_string())?;
        self.world.log.flush_end(up_to);
        self.flushed = self.flushed.max(up_to);
        Ok(())
    }

    fn check(&mut self) {
        let seed = self.seed;
        let (log, recovery) = Log::open(self.opening()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        self.world.log = log;
        let end = self.world.log.log_end_offset();
        assert!(end >= self.flushed, "seed {seed}: ends at {end}, {} is flushed: {recovery:?}", self.flushed);
        self.world.log.advance_high_watermark(end);
        self.written.retain(|(offset, ..)| *offset < end);
        self.flushed = self.flushed.min(end);
        let mut model = Model::new();
        for (_, key, value) in &self.written {
            match value {
                Some(value) => drop(model.insert(key.clone(), value.clone())),
                None => drop(model.remove(key)),
            }
        }
        assert_eq!(self.world.model(), model, "seed {seed}: {recovery:?}");
        // Every record that is there was written, and has the offset that it was written with.
        for record in self.world.records() {
            let at = self.written.partition_point(|(offset, ..)| *offset < record.offset);
            let (offset, key, value) = &self.written[at];
            assert_eq!(*offset, record.offset, "seed {seed}");
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(
                (record.key.as_ref().map(text), record.value.as_ref().map(text)),
                (Some(key.clone()), value.clone())
            );
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.dice >> 33) % bound.max(1)
    }
}

/// How many outcomes are tried for each crash of a cleaning.
const FACES: u64 = 12;

/// What a producer sent last may be lost with the power. It goes on behind what it was told of, and must not be turned away,
/// whether that is in what is cleaned now or was cleaned before.
#[test]
fn a_producer_goes_on_after_the_power_took_what_it_sent_last() {
    for (unflushed, cleaned_before) in (0..7).flat_map(|unflushed| [(unflushed, false), (unflushed, true)]) {
        let mut world = World::memory(compacted());
        let send = |world: &mut World, sequence: i32| {
            let batch = super::cleaning::keyed(Compression::None, world.now_ms, &[("a", Some("1"))]);
            let batch = batch.producer(ProducerId(1), ProducerEpoch(0), sequence);
            let batch = world.checked(batch, Origin::Client);
            world.append(&batch).expect("it follows");
        };
        (0..3).for_each(|sequence| send(&mut world, sequence));
        world.put_keys(&[("a", Some("2"))]);
        world.seal();
        let checkpoint = cleaned_before.then(|| {
            let up_to = world.clean(None).up_to;
            world.put_keys(&[("a", Some("3"))]);
            world.seal();
            up_to
        });
        (0..unflushed).for_each(|more| send(&mut world, 3 + more));
        world.clean(checkpoint);
        world.memory.clone().expect("in memory").crash();
        world.reopen(|opening| opening.recovery_point = 0);
        let last = world.log.active_producers().first().map(|producer| producer.last_sequence);
        let last = last.expect("it is remembered");
        assert!(
            (2..3 + unflushed).contains(&last),
            "{unflushed} {cleaned_before}: its last sequence is {last}"
        );
        send(&mut world, last + 1);
    }
}
