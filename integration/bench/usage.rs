//! CPU time and memory as /proc tells them: of the broker or brokers with all their threads, of this process, of the machine.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Readings at one moment, in clock ticks.
pub struct Usage {
    at: Instant,
    broker: u64,
    client: u64,
    machine: u64,
}

/// What was used between two moments, in CPU seconds.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: Duration,
    pub broker: f64,
    pub client: f64,
    pub machine: f64,
}

impl Usage {
    pub fn now(brokers: &[u32]) -> Result<Usage> {
        let at = Instant::now();
        let client = process_ticks(std::process::id(), Family::WithChildren)?;
        let broker = brokers.iter().map(|pid| process_ticks(*pid, Family::Alone)).sum::<Result<u64>>()?;
        Ok(Usage { at, broker, client, machine: machine_ticks()? })
    }

    pub fn until(&self, later: &Usage) -> Spent {
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / ticks_per_second();
        Spent {
            wall: later.at - self.at,
            broker: seconds(self.broker, later.broker),
            client: seconds(self.client, later.client),
            machine: seconds(self.machine, later.machine),
        }
    }
}

impl Spent {
    /// What broker and client used: on loopback either may do a part of the other's work.
    pub fn both(&self) -> f64 {
        self.broker + self.client
    }

    /// What the client used, as a share of the machine.
    pub fn client_share(&self) -> f64 {
        self.client / (self.wall.as_secs_f64() * cores())
    }

    /// What neither broker nor client used, as a share of the machine: the kernel's own threads and strangers.
    pub fn others(&self) -> f64 {
        (self.machine - self.both()).max(0.0) / (self.wall.as_secs_f64() * cores())
    }
}

/// Resident memory in MB.
pub fn resident_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? * 1024.0 / 1e6)
}

/// The share of the machine that is busy during `time`.
pub fn busy_during(time: Duration) -> Result<f64> {
    let before = machine_ticks()?;
    std::thread::sleep(time);
    Ok((machine_ticks()? - before) as f64 / ticks_per_second() / time.as_secs_f64() / cores())
}

#[derive(Clone, Copy)]
enum Family {
    Alone,
    /// Children count once they have ended and been waited for.
    WithChildren,
}

/// utime and stime, fields 14 and 15, of all threads alive or ended; the children's are the next two.
fn process_ticks(pid: u32, family: Family) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in brackets may hold anything, so the count starts behind it, with field 3.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let count = match family {
        Family::Alone => 2,
        Family::WithChildren => 4,
    };
    let times: Vec<u64> = fields.split_whitespace().skip(11).take(count).flat_map(str::parse).collect();
    if times.len() != count {
        anyhow::bail!("{path} cannot be read: {stat}");
    }
    Ok(times.iter().sum())
}

/// Everything but idle, waiting for disks and stolen by other guests.
fn machine_ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).flat_map(str::parse).collect();
    match fields[..] {
        [user, nice, system, _idle, _iowait, irq, softirq, ..] => Ok(user + nice + system + irq + softirq),
        _ => anyhow::bail!("/proc/stat cannot be read"),
    }
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}
