//! An open loop at a fixed rate, for longer than the kernel puts off writing: producers, consumers that follow them on
//! connections of their own, and a reader from the beginning if asked. Segments roll and retention deletes meanwhile.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::engine::{Engine, Outcome, Pace, Until};
use crate::fetch::{Ends, Fetching, Then};
use crate::produce::{Producing, Shape};
use crate::reading::{Aim, Readings};
use crate::section::{Section, Target};
use crate::setup::Topic;
use crate::timeline::Timeline;
use crate::usage::Spent;
use crate::workload::{CONNECTIONS, DEPTH, PARTITIONS};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    pub megabytes_per_second: f64,
    pub segment_bytes: u64,
    /// Written before the clock starts, and put out of the page cache, for a reader from the beginning.
    pub old_bytes: Option<f64>,
    pub aims: &'static [(&'static str, Aim)],
}

/// What the threads bring home.
struct Ran {
    produced: Outcome,
    tail: Fetching,
    old: Option<OldRead>,
}

struct OldRead {
    bytes: u64,
    passes: usize,
    elapsed: Duration,
}

pub fn run(
    target: &Target<'_>,
    name: &str,
    steady: &Steady,
    shape: Shape,
    time: Duration,
) -> Result<Readings> {
    let segment = steady.segment_bytes.to_string();
    // Half a segment beside the active one, or what was written before with a whole one.
    let old_bytes = steady.old_bytes.unwrap_or(0.0) / PARTITIONS as f64;
    let retained = (steady.segment_bytes as f64 / 2.0 + old_bytes).round().to_string();
    let configs = [
        ("segment.bytes", &segment[..]),
        ("retention.bytes", &retained[..]),
        // The broker's default is a minute: what is deleted has to go while we look.
        ("file.delete.delay.ms", "1000"),
    ];
    let topic = target.topic_with(name, PARTITIONS, &configs)?;
    if let Some(bytes) = steady.old_bytes {
        let requests = Until::Requests((bytes / (shape.records * shape.record_bytes) as f64) as u64);
        target.produce(&topic, shape, CONNECTIONS, Pace::Closed { depth: DEPTH }, requests)?;
        rustix::fs::sync();
    }
    let firsts = target.end_offsets(&topic)?;
    let load = Producing::new(&topic, shape, CONNECTIONS).alone_from(firsts.clone());
    let batch_bytes = load.batch_bytes() as u64;
    let timeline = Timeline {
        start: Instant::now() + HEAD_START,
        batches_per_second: steady.megabytes_per_second * 1e6 / batch_bytes as f64,
        records_per_batch: shape.records,
        firsts,
    };
    let (ran, spent) = target.measure(|| run_threads(target, &topic, load, timeline, steady, time))?;
    let produced = Section { bytes: ran.produced.requests * batch_bytes, outcome: ran.produced, spent };
    Ok(read(steady, time, &produced, ran.tail, ran.old, spent))
}

fn run_threads(
    target: &Target<'_>,
    topic: &Topic,
    mut load: Producing,
    timeline: Timeline,
    steady: &Steady,
    time: Duration,
) -> Result<Ran> {
    let ends: Ends = Arc::new(OnceLock::new());
    let (start, per_second) = (timeline.start, timeline.batches_per_second);
    let firsts = timeline.firsts.clone();
    let tail = Fetching::new(
        target.address,
        topic,
        firsts.clone(),
        firsts.clone(),
        CONNECTIONS,
        Then::Follow(timeline, ends.clone()),
    );
    let data = target.data;
    thread::scope(|scope| {
        let tail = scope.spawn(|| follow(target.address, tail));
        let old = steady.old_bytes.map(|_| {
            let (address, ends) = (target.address, ends.clone());
            scope.spawn(move || read_old(address, topic, data, &ends))
        });
        let produced = Engine::connect(target.address, CONNECTIONS).and_then(|mut engine| {
            engine.run_from(start, &mut load, Pace::Open { per_second }, Until::Elapsed(time))
        });
        // Consumers read on to what was acknowledged; after an error they need not.
        let reached = if produced.is_ok() { load.ends() } else { vec![0; firsts.len()] };
        ends.set(reached).map_err(|_| anyhow!("the ends were set twice"))?;
        let tail = join(tail, "the consumers")?;
        let old = old.map(|old| join(old, "the reader from the beginning")).transpose()?;
        Ok(Ran { produced: produced.context("the producers")?, tail, old })
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>, who: &str) -> Result<T> {
    thread.join().map_err(|_| anyhow!("{who} panicked"))?.with_context(|| who.to_string())
}

fn follow(address: &str, mut tail: Fetching) -> Result<Fetching> {
    let mut engine = Engine::connect(address, CONNECTIONS)?;
    engine.run(&mut tail, Pace::Closed { depth: 1 }, Until::Exhausted)?;
    Ok(tail)
}

/// Over and over from where the topic starts to where it ends, out of the disk if the data is ours to evict.
fn read_old(address: &str, topic: &Topic, data: Option<&Path>, until: &Ends) -> Result<OldRead> {
    let mut engine = Engine::connect(address, 1)?;
    let (started, mut bytes, mut passes) = (Instant::now(), 0, 0);
    while until.get().is_none() {
        if let Some(data) = data {
            evict(data, &topic.name)?;
        }
        let target = Target::new(address, 0, None);
        let (starts, ends) = (target.start_offsets(topic)?, target.end_offsets(topic)?);
        let mut load = Fetching::new(address, topic, starts, ends, 1, Then::StopWith(until.clone()));
        engine.run(&mut load, Pace::Closed { depth: 1 }, Until::Exhausted)?;
        bytes += load.bytes();
        passes += 1;
    }
    Ok(OldRead { bytes, passes, elapsed: started.elapsed() })
}

/// Puts a topic's segments but the last of each partition out of the page cache.
fn evict(data: &Path, topic: &str) -> Result<()> {
    for folder in std::fs::read_dir(data)? {
        let folder = folder?;
        let name = folder.file_name();
        let is_ours = name.to_string_lossy().strip_prefix(topic).is_some_and(|rest| rest.starts_with('-'));
        if !is_ours {
            continue;
        }
        let mut segments: Vec<_> = std::fs::read_dir(folder.path())?
            .filter_map(|file| Some(file.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        segments.sort();
        segments.pop();
        for segment in segments {
            // Retention may have been faster.
            let Ok(file) = std::fs::File::open(segment) else { continue };
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn read(
    steady: &Steady,
    time: Duration,
    produced: &Section,
    tail: Fetching,
    old: Option<OldRead>,
    spent: Spent,
) -> Readings {
    let mut readings = Readings::default();
    let outcome = &produced.outcome;
    readings.more("acknowledged", "MB/s", produced.megabytes_per_second());
    readings.latencies("produce", &outcome.latency);
    let (lost, tailed) = (tail.lost(), tail.bytes());
    readings.latencies("end to end", &tail.into_latency());
    // Of old data, more or less is read: only what is moved in all can be compared.
    match &old {
        None => readings.less("broker's CPU", "s/GB", spent.broker / produced.gigabytes()),
        Some(old) => {
            let moved = produced.bytes + tailed + old.bytes;
            readings.less("broker's CPU for what went in and out", "s/GB", spent.broker * 1e9 / moved as f64)
        }
    };
    if let Some(old) = &old {
        readings.more(
            "reader from the beginning",
            "MB/s",
            old.bytes as f64 / 1e6 / old.elapsed.as_secs_f64(),
        );
        readings.tell("its passes", "", old.passes as f64);
    }
    readings.tell("client late at p99", "ms", outcome.late.quantile_ms(0.99));
    readings.circumstances(produced);
    readings.check_rate(outcome, time, &format!("{:.0} MB/s", steady.megabytes_per_second));
    if lost > 0 {
        readings
            .notes
            .push(format!("retention took {lost} records before the consumers at the tail had them"));
    }
    steady.aims.iter().for_each(|(what, aim)| readings.aim(what, *aim));
    readings
}

/// Consumers are there before the first batch.
const HEAD_START: Duration = Duration::from_millis(300);
