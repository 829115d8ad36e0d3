//! Short requests, light or flat out, and whole batches in and out as fast as they go.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::engine::{Outcome, Pace, Until};
use crate::histogram::Histogram;
use crate::produce::{Shape, batch_of};
use crate::reading::{Aim, Readings};
use crate::section::{Section, Target};
use crate::setup::Topic;
use crate::workload::{CONNECTIONS, DEPTH, MANY_CONNECTIONS, PARTITIONS};

/// Batches at a fixed rate and nobody who reads them.
pub fn produce_at(
    target: &Target<'_>,
    name: &str,
    shape: Shape,
    megabytes_per_second: f64,
    time: Duration,
) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    let per_second = megabytes_per_second * 1e6 / batch_of(shape).len() as f64;
    let pace = Pace::Open { per_second };
    let section = target.produce(&topic, shape, CONNECTIONS, pace, Until::Elapsed(time))?;
    let mut readings = Readings::default();
    readings.more("acknowledged", "MB/s", section.megabytes_per_second());
    readings.latencies("produce", &section.outcome.latency);
    of_gigabytes(&mut readings, &section).aim(Aim::Times(3.0));
    readings.circumstances(&section);
    readings.check_rate(&section.outcome, time, &format!("{megabytes_per_second:.0} MB/s"));
    Ok(readings)
}

pub fn produce(target: &Target<'_>, name: &str, shape: Shape, bytes: f64) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    let section = fill(target, &topic, shape, bytes)?;
    let mut readings = Readings::default();
    readings.more("produce", "MB/s", section.megabytes_per_second());
    of_gigabytes(&mut readings, &section).aim(Aim::Times(3.0));
    readings.circumstances(&section);
    Ok(readings)
}

/// Out of the page cache, over and over.
pub fn consume(
    target: &Target<'_>,
    name: &str,
    shape: Shape,
    bytes: f64,
    time: Duration,
) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    fill(target, &topic, shape, bytes)?;
    rustix::fs::sync();
    let section = target.consume_for(&topic, CONNECTIONS, time)?;
    let mut readings = Readings::default();
    readings.more("consume", "MB/s", section.megabytes_per_second()).aim(Aim::Times(1.0));
    of_gigabytes(&mut readings, &section).aim(Aim::Times(2.0));
    let both = section.spent.both() / section.gigabytes();
    readings.less("broker's and client's CPU", "s/GB", both);
    readings.circumstances(&section);
    Ok(readings)
}

/// The same to several consumers at once, each a thread with connections of its own.
pub fn fan_out(
    target: &Target<'_>,
    name: &str,
    shape: Shape,
    bytes: f64,
    time: Duration,
) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    fill(target, &topic, shape, bytes)?;
    rustix::fs::sync();
    let (address, pid) = (target.address, target.pid);
    let consumer = || Target::new(address, pid, None).consume_for(&topic, CONNECTIONS, time);
    let begun = Instant::now();
    let (sections, spent) = target.measure(|| {
        thread::scope(|scope| {
            let consumers: Vec<_> = (0..CONSUMERS).map(|_| scope.spawn(consumer)).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<Section>>| {
                thread.join().map_err(|_| anyhow!("a consumer panicked"))?
            };
            consumers.into_iter().map(join).collect::<Result<Vec<Section>>>()
        })
    })?;
    let outcome = Outcome {
        elapsed: begun.elapsed(),
        requests: sections.iter().map(|section| section.outcome.requests).sum(),
        abandoned: 0,
        latency: Histogram::default(),
        late: Histogram::default(),
    };
    let bytes = sections.iter().map(|section| section.bytes).sum();
    let section = Section { outcome, spent, bytes };
    let mut readings = Readings::default();
    readings.more("all consumers together", "MB/s", section.megabytes_per_second()).aim(Aim::Times(1.0));
    of_gigabytes(&mut readings, &section).aim(Aim::Times(2.0));
    readings.circumstances(&section);
    Ok(readings)
}

/// Requests with one record, few enough that nobody has to wait for anybody.
pub fn light(
    target: &Target<'_>,
    name: &str,
    shape: Shape,
    per_second: f64,
    time: Duration,
) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    let pace = Pace::Open { per_second };
    let section = target.produce(&topic, shape, MANY_CONNECTIONS, pace, Until::Elapsed(time))?;
    let mut readings = Readings::default();
    readings.latencies("produce", &section.outcome.latency);
    readings.aim("produce p99", Aim::Times(2.0));
    readings.aim("produce p99.9", Aim::Times(2.0));
    of_requests(&mut readings, &section);
    readings.tell("client late at p99", "ms", section.outcome.late.quantile_ms(0.99));
    readings.circumstances(&section);
    readings.check_rate(&section.outcome, time, &format!("{per_second:.0} requests/s"));
    Ok(readings)
}

pub fn small(target: &Target<'_>, name: &str, shape: Shape, time: Duration) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    let pace = Pace::Closed { depth: DEPTH };
    let section = target.produce(&topic, shape, MANY_CONNECTIONS, pace, Until::Elapsed(time))?;
    let mut readings = Readings::default();
    readings.more("requests", "1/s", section.requests() / section.seconds());
    of_requests(&mut readings, &section);
    readings.circumstances(&section);
    Ok(readings)
}

/// A topic's worth of batches, flat out.
pub fn fill(target: &Target<'_>, topic: &Topic, shape: Shape, bytes: f64) -> Result<Section> {
    let requests = Until::Requests((bytes / (shape.records * shape.record_bytes) as f64) as u64);
    target.produce(topic, shape, CONNECTIONS, Pace::Closed { depth: DEPTH }, requests)
}

fn of_gigabytes<'a>(readings: &'a mut Readings, section: &Section) -> &'a mut crate::reading::Reading {
    readings.less("broker's CPU", "s/GB", section.spent.broker / section.gigabytes())
}

fn of_requests(readings: &mut Readings, section: &Section) {
    readings.less("broker's CPU", "us/request", section.spent.broker * 1e6 / section.requests());
}

/// That read the same topic at once.
const CONSUMERS: usize = 5;
