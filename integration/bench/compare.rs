//! Two brokers in turn, A B B A within each group of workloads, and what is written about it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};

use crate::broker::{Kind, Programs};
use crate::life::Lives;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::report::Report;
use crate::results::{Entry, Results};
use crate::table;
use crate::workload::{Group, Plan, Workload};

pub struct Comparison {
    pub kinds: Vec<Kind>,
    pub pairs: usize,
    pub workloads: Vec<&'static Workload>,
    pub plan: Plan,
    pub out: PathBuf,
}

impl Comparison {
    /// Prints the table, and writes the files after each broker's life, so that a run that is cut short leaves something.
    pub fn run(&self, programs: &Programs) -> Result<()> {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let machine = Machine::of(&std::env::temp_dir(), self.plan.bytes(DISK_BYTES) as u64)?;
        let version = |kind: &Kind| Ok((kind.name().to_string(), programs.version(*kind)?));
        let versions = self.kinds.iter().map(version).collect::<Result<Vec<_>>>()?;
        let progress = Progress::new(self.count() as u64, self.expected());
        let lives = Lives { programs, plan: self.plan, progress: &progress };
        let mut results = Results::default();
        let report = |results: &Results| -> Result<String> {
            let report = Report {
                results,
                plan: self.plan,
                pairs: self.pairs,
                machine: machine.clone(),
                versions: versions.clone(),
                began_unix_seconds: began.as_secs(),
            };
            report.write(&self.out)?;
            Ok(table::markdown(&report))
        };
        for group in self.groups() {
            let workloads: Vec<&'static Workload> =
                self.workloads.iter().filter(|workload| workload.group == group).copied().collect();
            for round in 1..=self.pairs {
                progress.round(round, self.pairs);
                for kind in in_turn(&self.kinds, round) {
                    lives.run(kind, &workloads, |workload, came| {
                        let came = came.map_err(|error| format!("{error:#}"));
                        if let Err(error) = &came {
                            progress.says(&format!("{}, {kind:?}: FAILED: {error}", workload.name));
                        }
                        results.entries.push(Entry { workload, kind, round, came });
                        Ok(())
                    })?;
                    report(&results)?;
                }
            }
        }
        print!("{}", report(&results)?);
        progress.says(&format!("written to {}", self.out.display()));
        if results.has_failed() {
            bail!("some workloads failed");
        }
        Ok(())
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.workloads.iter().map(|workload| workload.group).collect();
        groups.dedup();
        groups
    }

    fn count(&self) -> usize {
        self.workloads.len() * self.pairs * self.kinds.len()
    }

    /// Starts, warming up and the disk's rest included.
    fn expected(&self) -> Duration {
        let around = Duration::from_secs(if self.plan.quick { 5 } else { 12 });
        let measured: Duration =
            self.workloads.iter().map(|workload| self.plan.time(workload) + around).sum();
        let warming = |group: &Group| match group {
            Group::Start | Group::Connections => around,
            Group::Steady | Group::Flat | Group::Krabka => around + self.plan.warm_up(),
        };
        let warming: Duration = self.groups().iter().map(warming).sum();
        (measured + warming) * (self.pairs * self.kinds.len()) as u32
    }
}

/// More than a disk's own cache takes.
const DISK_BYTES: f64 = 4e9;

/// Every second round the other way round.
fn in_turn(kinds: &[Kind], round: usize) -> Vec<Kind> {
    let mut order = kinds.to_vec();
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}
