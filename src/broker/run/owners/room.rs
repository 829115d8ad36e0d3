//! When a log directory that was full counts as having room again: once what is likely to be written next would fit. It must
//! never act on that.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ottla_log::Disk;
use ottla_log::disk::OpenHow;
use tracing::warn;

/// As much as the largest batch that is allowed by default.
const ENOUGH_BYTES: u64 = 1 << 20;
/// As much as the largest answer to a follower by default, or nearly.
const PLENTY_BYTES: u64 = 8 << 20;

/// Whoever is full again this soon after room was found had too little of it.
const SOON: Duration = Duration::from_secs(60);

/// How long to wait at first, and at most, before room is looked for.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(32);

/// The room of one directory.
#[derive(Debug)]
pub(super) struct Room {
    /// So much has to be free.
    enough_bytes: u64,
    pause: Duration,
    gone: Option<Instant>,
    found: Option<Instant>,
}

impl Default for Room {
    fn default() -> Room {
        Room { enough_bytes: ENOUGH_BYTES, pause: PAUSE, gone: None, found: None }
    }
}

impl Room {
    /// Something found no room. If that happens soon after there was some, more is asked for, and later: partitions would change
    /// their leaders each second otherwise, where a batch needs more than what is free.
    pub fn is_gone(&mut self, now: Instant) {
        let soon = self.found.is_some_and(|found| now.duration_since(found) < SOON);
        (self.enough_bytes, self.pause) = match soon {
            false => (ENOUGH_BYTES, PAUSE),
            true if self.enough_bytes < PLENTY_BYTES => (2 * self.enough_bytes, PAUSE),
            true => (PLENTY_BYTES, (2 * self.pause).min(PAUSE_MAX)),
        };
        self.gone = Some(now);
    }

    /// Whether there is enough room in the directory now, and it is time to look.
    pub fn is_found(&mut self, now: Instant, disk: &dyn Disk, dir: &Path) -> bool {
        if self.gone.is_some_and(|gone| now.duration_since(gone) < self.pause) {
            return false;
        }
        let enough = self.enough_bytes;
        // A process that was killed here has left it, and it takes room itself.
        remove_probe(disk, dir);
        // The file system may have room that this user may not take, so some is taken. As much stays for others meanwhile.
        let found = disk.free_bytes(dir).is_ok_and(|free| free > 2 * enough) && can_take(disk, dir, enough);
        if found {
            self.found = Some(now);
        }
        found
    }
}

fn can_take(disk: &dyn Disk, dir: &Path, bytes: u64) -> bool {
    let taken = disk.open(&dir.join(PROBE), OpenHow::CreateEmpty).and_then(|file| file.reserve(0, bytes));
    remove_probe(disk, dir);
    match taken {
        Ok(()) => true,
        // Not every file system can reserve: what it says is free has to do.
        Err(error) => matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput),
    }
}

fn remove_probe(disk: &dyn Disk, dir: &Path) {
    let path = dir.join(PROBE);
    if let Err(error) = disk.remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(file = %path.display(), %error, "cannot remove the file that room was looked for with");
    }
}

const PROBE: &str = "room.tmp";

#[cfg(test)]
mod tests {
    use ottla_log::disk::MemoryDisk;

    use super::*;

    #[test]
    fn whoever_is_full_again_at_once_needs_more() {
        let dir = Path::new("/d");
        let disk = MemoryDisk::new(1);
        disk.create_dir_all(dir).expect("a directory");
        let mut room = Room::default();
        let mut now = Instant::now();
        let found_with = |room: &mut Room, now: Instant, free: u64| {
            disk.set_capacity(Some(free));
            room.is_found(now, &disk, dir)
        };
        room.is_gone(now);
        assert!(!found_with(&mut room, now, u64::MAX / 2), "it is too early to look");
        now += PAUSE;
        assert!(!found_with(&mut room, now, 2 * ENOUGH_BYTES), "not all of it is taken");
        disk.open(&dir.join(PROBE), OpenHow::CreateEmpty).expect("a process was killed");
        assert!(found_with(&mut room, now, 2 * ENOUGH_BYTES + 1));
        for (mib, pause_s) in [(2, 1), (4, 1), (8, 1), (8, 2), (8, 4), (8, 8), (8, 16), (8, 32), (8, 32)] {
            room.is_gone(now);
            now += Duration::from_secs(pause_s) - Duration::from_millis(1);
            assert!(!found_with(&mut room, now, u64::MAX / 2), "{mib} {pause_s}");
            now += Duration::from_millis(1);
            assert!(!found_with(&mut room, now, (2 * mib) << 20), "{mib} {pause_s}");
            assert!(found_with(&mut room, now, ((2 * mib) << 20) + 1), "{mib} {pause_s}");
        }
        now += 2 * SOON;
        room.is_gone(now);
        now += PAUSE;
        assert!(found_with(&mut room, now, 2 * ENOUGH_BYTES + 1), "that was something else");
        assert!(!disk.exists(&dir.join(PROBE)), "nothing is left");
    }
}
