//! What a workload says of a broker: numbers, what is better, and what we aim at.

use std::time::Duration;

use crate::engine::Outcome;
use crate::histogram::Histogram;
use crate::section::Section;
use crate::statistics::number;

#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub what: String,
    pub unit: &'static str,
    pub value: f64,
    pub better: Better,
    pub aim: Option<Aim>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
    /// A circumstance of the measurement.
    Neither,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    AtMost(f64),
    /// So many times better than the other broker.
    Times(f64),
}

/// What came of one workload in one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    pub readings: Vec<Reading>,
    /// What a reader has to know about these numbers.
    pub notes: Vec<String>,
    /// The load was asked for at a rate that it did not keep, so its latencies only say that they grew.
    pub rate_missed: bool,
    /// The share of the machine that neither broker nor client used but others.
    pub others: f64,
}

impl Readings {
    pub fn less(&mut self, what: &str, unit: &'static str, value: f64) -> &mut Reading {
        self.add(what, unit, value, Better::Less)
    }

    pub fn more(&mut self, what: &str, unit: &'static str, value: f64) -> &mut Reading {
        self.add(what, unit, value, Better::More)
    }

    pub fn tell(&mut self, what: &str, unit: &'static str, value: f64) -> &mut Reading {
        self.add(what, unit, value, Better::Neither)
    }

    /// p50, p99, p99.9 and max of `of`.
    pub fn latencies(&mut self, of: &str, latency: &Histogram) {
        for (name, share) in QUANTILES {
            self.less(&format!("{of} {name}"), "ms", latency.quantile_ms(share));
        }
        self.less(&format!("{of} max"), "ms", latency.max_ms());
    }

    /// Sets the aim of a reading that is there.
    pub fn aim(&mut self, what: &str, aim: Aim) {
        let reading = self.readings.iter_mut().find(|reading| reading.what == what);
        reading.unwrap_or_else(|| panic!("no reading {what}")).aim = Some(aim);
    }

    /// What the client and others took while `section` was measured.
    pub fn circumstances(&mut self, section: &Section) {
        self.tell("client's share of the machine", "%", section.spent.client_share() * 100.0);
        self.others = section.spent.others();
    }

    /// Says so if an open loop took longer than it was meant to, or could not send all.
    pub fn check_rate(&mut self, outcome: &Outcome, time: Duration, asked: &str) {
        let wanted = time.mul_f64(1.0 + SLACK) + Duration::from_millis(500);
        if outcome.abandoned == 0 && outcome.elapsed <= wanted {
            return;
        }
        let meant = outcome.requests + outcome.abandoned;
        let came =
            outcome.requests as f64 / meant as f64 * time.as_secs_f64() / outcome.elapsed.as_secs_f64();
        self.rate_missed = true;
        self.notes.push(format!(
            "rate not held: {asked} were asked for {} s, {:.0} % of that came; {} requests were never sent",
            time.as_secs(),
            came * 100.0,
            outcome.abandoned,
        ));
    }

    fn add(&mut self, what: &str, unit: &'static str, value: f64, better: Better) -> &mut Reading {
        self.readings.push(Reading { what: what.into(), unit, value, better, aim: None });
        self.readings.last_mut().expect("it was pushed")
    }
}

impl std::fmt::Display for Readings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for reading in &self.readings {
            writeln!(f, "{:<32} {:>12} {}", reading.what, number(reading.value), reading.unit)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

impl Reading {
    pub fn aim(&mut self, aim: Aim) {
        self.aim = Some(aim);
    }
}

/// How much longer than asked a run may take whose rate was held.
const SLACK: f64 = 0.01;
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_held_or_said_to_be_missed() {
        let check = |requests, abandoned, elapsed| {
            let (latency, late) = (Histogram::default(), Histogram::default());
            let elapsed = Duration::from_secs_f64(elapsed);
            let mut readings = Readings::default();
            let outcome = Outcome { elapsed, requests, abandoned, latency, late };
            readings.check_rate(&outcome, Duration::from_secs(100), "10 MB/s");
            (readings.rate_missed, readings.notes.first().cloned().unwrap_or_default())
        };
        assert_eq!(check(1000, 0, 101.0), (false, String::new()));
        let late =
            "rate not held: 10 MB/s were asked for 100 s, 80 % of that came; 0 requests were never sent";
        assert_eq!(check(1000, 0, 125.0), (true, late.into()));
        let unsent =
            "rate not held: 10 MB/s were asked for 100 s, 45 % of that came; 500 requests were never sent";
        assert_eq!(check(500, 500, 111.0), (true, unsent.into()));
    }
}
