//! What many connections cost: thousands that have asked once and rest, a few hundred that go on asking.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use ottla_client::connection::request_frame;
use ottla_protocol::messages::ApiVersionsRequest;

use crate::engine::{Engine, Load, Outcome, Pace, Until};
use crate::produce::{Producing, Shape};
use crate::reading::{Aim, Readings};
use crate::section::{Section, Target};
use crate::setup::CLIENT_ID;
use crate::usage::resident_mb;
use crate::workload::PARTITIONS;

/// Every connection asks once.
struct Once {
    frame: Bytes,
    has_asked: Vec<bool>,
}

impl Once {
    fn new(connections: usize) -> Result<Once> {
        let request = ApiVersionsRequest::default();
        let frame = request_frame(&request, 0, 0, Some(CLIENT_ID)).map_err(anyhow::Error::msg)?;
        Ok(Once { frame, has_asked: vec![false; connections] })
    }
}

impl Load for Once {
    fn request(&mut self, connection: usize) -> Option<Bytes> {
        let has_asked = std::mem::replace(&mut self.has_asked[connection], true);
        (!has_asked).then(|| self.frame.clone())
    }

    fn answer(&mut self, _: usize, answer: &[u8]) -> Result<()> {
        // Correlation id and error code.
        ensure!(answer.starts_with(&[0; 6]), "ApiVersions is answered with {answer:?}");
        Ok(())
    }
}

pub fn run(
    target: &Target<'_>,
    name: &str,
    shape: Shape,
    per_second: f64,
    time: Duration,
) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    std::thread::sleep(REST);
    let before = resident_mb(target.pid)?;
    let begun = Instant::now();
    // All ask at the same moment, the ones that stay active too.
    let mut resting = Engine::begin_to_connect(target.address, CONNECTIONS - ACTIVE)?;
    let mut active = Engine::begin_to_connect(target.address, ACTIVE)?;
    let ask = |engine: &mut Engine, count| -> Result<Outcome> {
        engine.run(&mut Once::new(count)?, Pace::Closed { depth: 1 }, Until::Exhausted)
    };
    let asked = ask(&mut resting, CONNECTIONS - ACTIVE)?;
    ask(&mut active, ACTIVE)?;
    let all_answered = begun.elapsed();
    std::thread::sleep(REST);
    let after = resident_mb(target.pid)?;

    let mut load = Producing::new(&topic, shape, ACTIVE);
    let (pace, warm_up) = (Pace::Open { per_second }, Until::Elapsed(time / 2));
    active.run(&mut load, pace, warm_up)?;
    let (outcome, spent) = target.measure(|| active.run(&mut load, pace, Until::Elapsed(time)))?;
    let section = Section { bytes: outcome.requests * load.batch_bytes() as u64, outcome, spent };

    let mut readings = Readings::default();
    let each = (after - before) * 1e3 / CONNECTIONS as f64;
    readings.less("memory for each", "KB", each).aim(Aim::AtMost(4.0));
    readings.less("memory with all at rest", "MB", after).aim(Aim::AtMost(60.0));
    readings.less("until all were answered", "s", all_answered.as_secs_f64()).aim(Aim::AtMost(2.0));
    readings.less("first answer p50", "ms", asked.latency.quantile_ms(0.5));
    readings.latencies("active produce", &section.outcome.latency);
    readings.less("broker's CPU", "us/request", section.spent.broker * 1e6 / section.requests());
    readings.circumstances(&section);
    readings.check_rate(&section.outcome, time, &format!("{per_second:.0} requests/s"));
    Ok(readings)
}

const CONNECTIONS: usize = 5_000;
const ACTIVE: usize = 200;
/// Lets a broker give back what it only needed for a moment.
const REST: Duration = Duration::from_secs(2);
