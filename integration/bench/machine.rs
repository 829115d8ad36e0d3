//! The machine: what it is, and when its disk is at rest.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What a reader of the numbers has to know of the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_mb: f64,
    pub kernel: String,
    /// Of the brokers' data.
    pub file_system: String,
    /// What the disk takes when one file is written and synced: where rates end.
    pub disk_mb_per_second: f64,
}

impl Machine {
    /// Writes so many bytes below `data` to see how fast they get to the disk.
    pub fn of(data: &Path, bytes: u64) -> Result<Machine> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Machine {
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            processor: processor.map_or("unknown".into(), |(_, name)| name.to_string()),
            memory_mb: meminfo_kib("MemTotal:")? * 1024.0 / 1e6,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
            file_system: file_system_of(&std::fs::read_to_string("/proc/mounts")?, data),
            disk_mb_per_second: written_per_second(data, bytes)? / 1e6,
        })
    }
}

/// Writes what is dirty and waits until hardly anything is.
pub fn settle(within: Duration) -> Result<()> {
    rustix::fs::sync();
    let by = Instant::now() + within;
    while Instant::now() < by && meminfo_kib("Dirty:")? + meminfo_kib("Writeback:")? > REST_KIB {
        std::thread::sleep(Duration::from_millis(200));
        rustix::fs::sync();
    }
    Ok(())
}

fn written_per_second(folder: &Path, bytes: u64) -> Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let block = vec![0x5a; 4 << 20];
    rustix::fs::sync();
    let begun = Instant::now();
    for _ in 0..bytes / block.len() as u64 {
        file.write_all(&block)?;
    }
    file.sync_data()?;
    Ok(bytes as f64 / begun.elapsed().as_secs_f64())
}

fn meminfo_kib(name: &str) -> Result<f64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    value.with_context(|| format!("/proc/meminfo has no {name}"))
}

/// The type of the innermost mount that holds `path`.
fn file_system_of(mounts: &str, path: &Path) -> String {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1).map(String::from);
        Some((words.next()?, words.next()?))
    };
    let holding = mounts.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    let innermost = holding.max_by_key(|(point, _)| point.len());
    innermost.map_or("unknown".into(), |(_, kind)| kind)
}

const REST_KIB: f64 = 64.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system_of(mounts, Path::new("/tmp/a")), "tmpfs");
        assert_eq!(file_system_of(mounts, Path::new("/tmpfiles/a")), "ext4");
        assert_eq!(file_system_of("", Path::new("/tmp/a")), "unknown");
    }
}
