//! What came of all rounds, and what a reader wants of it: medians, ratios of neighbours, and whether an aim is met.

use crate::broker::Kind;
use crate::reading::{Aim, Better, Reading, Readings};
use crate::statistics::median;
use crate::workload::Workload;

#[derive(Default)]
pub struct Results {
    pub entries: Vec<Entry>,
}

pub struct Entry {
    pub workload: &'static Workload,
    pub kind: Kind,
    /// From 1.
    pub round: usize,
    /// Or why there is nothing.
    pub came: Result<Readings, String>,
}

/// One reading of one workload over all rounds.
pub struct Row {
    pub workload: &'static Workload,
    pub what: String,
    pub unit: &'static str,
    pub aim: Option<Aim>,
    pub ottla: Option<f64>,
    pub kafka: Option<f64>,
    pub ratio: Option<Ratio>,
    /// A rate that was not held makes these numbers mean little: Ottla's, Kafka's.
    pub rate_missed: (bool, bool),
}

/// How many times better Ottla is; paired by round, so that a machine that slows down slows both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Results {
    pub fn workloads(&self) -> Vec<&'static Workload> {
        let mut workloads: Vec<&'static Workload> = Vec::new();
        for entry in &self.entries {
            if workloads.iter().all(|workload| workload.name != entry.workload.name) {
                workloads.push(entry.workload);
            }
        }
        workloads
    }

    pub fn rows(&self, workload: &'static Workload) -> Vec<Row> {
        let mut kinds: Vec<Reading> = Vec::new();
        for reading in self.readings_of(workload).flat_map(|(_, _, readings)| &readings.readings) {
            if kinds.iter().all(|kind| (&kind.what, kind.unit) != (&reading.what, reading.unit)) {
                kinds.push(reading.clone());
            }
        }
        kinds.iter().map(|kind| self.row(workload, kind)).collect()
    }

    fn row(&self, workload: &'static Workload, kind: &Reading) -> Row {
        let values = |side: Kind| -> Vec<(usize, f64)> {
            let of_side = self.readings_of(workload).filter(|(of, _, _)| *of == side);
            let find = |(_, round, readings): (Kind, usize, &Readings)| {
                let same = |reading: &&Reading| (&reading.what, reading.unit) == (&kind.what, kind.unit);
                Some((round, readings.readings.iter().find(same)?.value))
            };
            of_side.filter_map(find).collect()
        };
        let rate_missed =
            |side| self.readings_of(workload).any(|(of, _, readings)| of == side && readings.rate_missed);
        let (ottla, kafka) = (values(Kind::Ottla), values(Kind::Kafka));
        Row {
            workload,
            what: kind.what.clone(),
            unit: kind.unit,
            aim: kind.aim,
            ratio: ratio_of(kind.better, &ottla, &kafka),
            ottla: median_of(&ottla),
            kafka: median_of(&kafka),
            rate_missed: (rate_missed(Kind::Ottla), rate_missed(Kind::Kafka)),
        }
    }

    /// Notes and failures, each with what it belongs to.
    pub fn notes(&self) -> Vec<String> {
        let of = |entry: &Entry| format!("{}, {:?}, round {}", entry.workload.name, entry.kind, entry.round);
        let notes = |entry: &Entry| match &entry.came {
            Ok(readings) => readings.notes.iter().map(|note| format!("{}: {note}", of(entry))).collect(),
            Err(error) => {
                let first = error.lines().next().unwrap_or_default();
                vec![format!("{}: FAILED: {first}", of(entry))]
            }
        };
        self.entries.iter().flat_map(notes).collect::<Vec<String>>()
    }

    /// The shares of the machine that others used: the middle and the most.
    pub fn others(&self) -> Option<(f64, f64)> {
        let came = self.entries.iter().filter_map(|entry| entry.came.as_ref().ok());
        let mut others: Vec<f64> = came.map(|readings| readings.others).collect();
        (!others.is_empty()).then(|| (median(&mut others), others[others.len() - 1]))
    }

    pub fn has_failed(&self) -> bool {
        self.entries.iter().any(|entry| entry.came.is_err())
    }

    fn readings_of(&self, workload: &Workload) -> impl Iterator<Item = (Kind, usize, &Readings)> {
        let of = |entry: &&Entry| entry.workload.name == workload.name;
        self.entries
            .iter()
            .filter(of)
            .filter_map(|entry| Some((entry.kind, entry.round, entry.came.as_ref().ok()?)))
    }
}

impl Row {
    /// Whether Ottla meets the aim; none without an aim or what it needs.
    pub fn is_met(&self) -> Option<bool> {
        match self.aim? {
            Aim::AtMost(most) => Some(self.ottla? <= most && !self.rate_missed.0),
            Aim::Times(times) => Some(self.ratio?.median >= times),
        }
    }
}

fn median_of(values: &[(usize, f64)]) -> Option<f64> {
    let mut values: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    (!values.is_empty()).then(|| median(&mut values))
}

fn ratio_of(better: Better, ottla: &[(usize, f64)], kafka: &[(usize, f64)]) -> Option<Ratio> {
    let pair = |(round, ours): &(usize, f64)| {
        let (_, theirs) = kafka.iter().find(|(of, _)| of == round)?;
        match better {
            Better::Less => Some(theirs / ours),
            Better::More => Some(ours / theirs),
            Better::Neither => None,
        }
    };
    let mut ratios: Vec<f64> = ottla.iter().filter_map(pair).filter(|ratio| ratio.is_finite()).collect();
    if ratios.is_empty() {
        return None;
    }
    let median = median(&mut ratios);
    Some(Ratio { median, least: ratios[0], most: ratios[ratios.len() - 1] })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::workload::select;

    /// Two rounds of one workload in which Ottla takes 2 and 4 ms, Kafka 10 and 12, and misses the rate once.
    pub fn example() -> Results {
        let workload = select(&["steady-100".into()]).unwrap()[0];
        let entry = |kind, round, ms, rate_missed| {
            let mut readings = Readings { others: 0.02, rate_missed, ..Readings::default() };
            readings.more("acknowledged", "MB/s", 100.0);
            readings.less("produce p50", "ms", ms / 4.0);
            readings.less("produce p99", "ms", ms).aim(Aim::AtMost(5.0));
            readings.less("produce max", "ms", ms * 100.0).aim(Aim::AtMost(100.0));
            readings.less("broker's CPU", "s/GB", ms).aim(Aim::Times(3.0));
            readings.tell("client late at p99", "ms", 0.1);
            Entry { workload, kind, round, came: Ok(readings) }
        };
        let failed = Entry { workload, kind: Kind::Kafka, round: 3, came: Err("it\nbroke".into()) };
        Results {
            entries: vec![
                entry(Kind::Ottla, 1, 2.0, false),
                entry(Kind::Kafka, 1, 10.0, false),
                entry(Kind::Kafka, 2, 12.0, true),
                entry(Kind::Ottla, 2, 4.0, false),
                failed,
            ],
        }
    }

    #[test]
    fn medians_ratios_of_neighbours_and_aims() {
        let results = example();
        let rows = results.rows(results.workloads()[0]);
        let p99 = &rows[2];
        assert_eq!((p99.ottla, p99.kafka), (Some(3.0), Some(11.0)));
        assert_eq!(p99.ratio, Some(Ratio { median: 4.0, least: 3.0, most: 5.0 }));
        assert_eq!(p99.rate_missed, (false, true));
        let met: Vec<Option<bool>> = rows.iter().map(Row::is_met).collect();
        assert_eq!(met, [None, None, Some(true), Some(false), Some(true), None]);
        assert_eq!(rows[5].ratio, None, "a circumstance has no better");
        assert_eq!(results.notes(), ["steady-100, Kafka, round 3: FAILED: it"]);
        assert_eq!(results.others(), Some((0.02, 0.02)));
        assert!(results.has_failed());
    }
}
