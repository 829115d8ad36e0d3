//! One broker's life on an empty disk: its start, warming up, the workloads of a group one after the other, with the
//! disk brought to rest in between.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::broker::{Broker, Kind, Programs};
use crate::engine::{Pace, Until};
use crate::machine::settle;
use crate::progress::Progress;
use crate::reading::{Aim, Readings};
use crate::section::Target;
use crate::statistics::median;
use crate::usage::{busy_during, resident_mb};
use crate::workload::{CONNECTIONS, DEPTH, Group, Load, MANY_CONNECTIONS, PARTITIONS, Plan, Workload};
use crate::{clients, connections, flat, krabka, steady};

pub struct Lives<'a> {
    pub programs: &'a Programs,
    pub plan: Plan,
    pub progress: &'a Progress,
}

impl Lives<'_> {
    /// Hands what came of each workload to `take`. What fails takes its broker with it; the rest gets another.
    pub fn run(
        &self,
        kind: Kind,
        workloads: &[&'static Workload],
        mut take: impl FnMut(&'static Workload, Result<Readings>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = workloads;
        while let Some(next) = rest.first() {
            let broker = match self.begin(kind, next.group) {
                Ok(broker) => broker,
                Err(error) => {
                    take(next, Err(error))?;
                    rest = &rest[1..];
                    continue;
                }
            };
            while let Some((workload, others)) = rest.split_first() {
                rest = others;
                self.progress.measures(kind, workload, self.plan.time(workload));
                let came = self.workload(kind, &broker, workload);
                let failed = came.is_err();
                take(workload, came)?;
                if failed {
                    break;
                }
            }
        }
        Ok(())
    }

    fn begin(&self, kind: Kind, group: Group) -> Result<Broker> {
        self.progress.says(&format!("{kind:?}: waiting for a calm machine, then warming up"));
        settle(self.plan.calm_within())?;
        let calm_by = Instant::now() + self.plan.calm_within();
        while Instant::now() < calm_by && busy_during(Duration::from_secs(1))? > CALM {}
        let broker = Broker::start(kind, self.programs)?;
        let target = target_of(&broker);
        match group {
            // They are about a broker that has done nothing yet.
            Group::Start | Group::Connections => {}
            Group::Steady | Group::Flat => self.warm_up(&target)?,
            Group::Krabka => krabka::warm_up(&target, self.programs, self.plan.warm_up_records())?,
        }
        self.clear(&target, broker.data())?;
        Ok(broker)
    }

    /// The median of several starts, of which only the first rests.
    fn start(&self, kind: Kind, first: &Broker, idle: Duration) -> Result<Readings> {
        std::thread::sleep(idle);
        let memory = resident_mb(first.pid())?;
        let mut starts = vec![first.started_within.as_secs_f64() * 1e3];
        while starts.len() < STARTS {
            starts.push(Broker::start(kind, self.programs)?.started_within.as_secs_f64() * 1e3);
        }
        let mut readings = Readings::default();
        readings.less("to the first acknowledged record", "ms", median(&mut starts)).aim(Aim::AtMost(15.0));
        readings.less("idle memory", "MB", memory).aim(Aim::AtMost(15.0));
        Ok(readings)
    }

    fn workload(&self, kind: Kind, broker: &Broker, workload: &Workload) -> Result<Readings> {
        let (target, name, plan) = (target_of(broker), workload.name, &self.plan);
        let time = plan.time(workload);
        let (batches, singles) = (plan.batches(), plan.singles());
        let mut readings = match &workload.load {
            Load::Start => self.start(kind, broker, time),
            Load::Steady(steady) => {
                let old_bytes = steady.old_bytes.map(|bytes| plan.bytes(bytes));
                let steady = steady::Steady { old_bytes, ..*steady };
                steady::run(&target, name, &steady, batches, time)
            }
            Load::ProduceAt { megabytes_per_second } => {
                flat::produce_at(&target, name, batches, *megabytes_per_second, time)
            }
            Load::Light { per_second } => flat::light(&target, name, singles, *per_second, time),
            Load::Produce { bytes } => flat::produce(&target, name, batches, plan.bytes(*bytes)),
            Load::Consume { bytes } => flat::consume(&target, name, batches, plan.bytes(*bytes), time),
            Load::FanOut { bytes } => flat::fan_out(&target, name, batches, plan.bytes(*bytes), time),
            Load::ConsumeByOthers { bytes } => {
                clients::consume(&target, self.programs, name, batches, plan.bytes(*bytes))
            }
            Load::Small => flat::small(&target, name, singles, time),
            Load::IdleConnections { per_second } => {
                connections::run(&target, name, singles, *per_second, time)
            }
            Load::Krabka(case) => krabka::run(&target, self.programs, name, case, plan.records(case)),
        }
        .map_err(|error| anyhow!("{error:#}\nThe broker's last lines:\n{}", broker.log_tail()))?;
        if !matches!(workload.load, Load::Start) {
            let memory = readings.less("memory afterwards", "MB", resident_mb(broker.pid())?);
            if workload.load == Load::Small {
                memory.aim(Aim::AtMost(40.0));
            }
        }
        if readings.others > NOISY {
            readings.notes.push(format!("others used {:.0} % of the machine", readings.others * 100.0));
        }
        self.clear(&target, broker.data())?;
        Ok(readings)
    }

    /// Deletes the topics, waits until their files are gone and nothing waits to be written: what follows pays for nothing
    /// that went before.
    fn clear(&self, target: &Target<'_>, data: &Path) -> Result<()> {
        let names = target.delete_topics()?;
        let gone_by = Instant::now() + self.plan.files_gone_within();
        let is_left = || -> Result<bool> {
            let folders = std::fs::read_dir(data)?.flatten().map(|folder| folder.file_name());
            let is_of = |folder: &str, name: &String| {
                folder.strip_prefix(&name[..]).is_some_and(|rest| rest.starts_with(['-', '.']))
            };
            Ok(folders.into_iter().any(|folder| {
                let folder = folder.to_string_lossy().into_owned();
                names.iter().any(|name| is_of(&folder, name))
            }))
        };
        while is_left()? && Instant::now() < gone_by {
            std::thread::sleep(Duration::from_millis(100));
        }
        settle(SETTLES_WITHIN)
    }

    /// A third of the time each: produce, consume over and over, small requests.
    fn warm_up(&self, target: &Target<'_>) -> Result<()> {
        let (batches, singles) = (self.plan.batches(), self.plan.singles());
        let third = self.plan.warm_up() / 3;
        let topic = target.topic("warm-up", PARTITIONS)?;
        let per_second = WARM_UP_BYTES_PER_SECOND / (batches.records * batches.record_bytes) as f64;
        target.produce(&topic, batches, CONNECTIONS, Pace::Open { per_second }, Until::Elapsed(third))?;
        target.consume_for(&topic, CONNECTIONS, third)?;
        let topic = target.topic("warm-up-small", PARTITIONS)?;
        let pace = Pace::Closed { depth: DEPTH };
        target.produce(&topic, singles, MANY_CONNECTIONS, pace, Until::Elapsed(third))?;
        Ok(())
    }
}

fn target_of(broker: &Broker) -> Target<'_> {
    Target::new(&broker.address, broker.pid(), Some(broker.data()))
}

const WARM_UP_BYTES_PER_SECOND: f64 = 100e6;
const STARTS: usize = 5;
/// The share of the machine that others may take before it is said.
const NOISY: f64 = 0.15;
/// The share of the machine that may be busy before a life begins.
const CALM: f64 = 0.1;
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
