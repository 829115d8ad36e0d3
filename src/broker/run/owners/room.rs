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

/// The room of one directory.
#[derive(Debug)]
pub(super) struct Room {
    /// So much has to be free.
    enough_bytes: u64,
    found: Option<Instant>,
}

impl Default for Room {
    fn default() -> Room {
        Room { enough_bytes: ENOUGH_BYTES, found: None }
    }
}

impl Room {
    /// Something found no room. If that happens soon after there was some, more is asked for: partitions would change their
    /// leaders each second otherwise, where a batch needs more than what is free.
    pub fn is_gone(&mut self, now: Instant) {
        let soon = self.found.is_some_and(|found| now.duration_since(found) < SOON);
        self.enough_bytes = if soon { (2 * self.enough_bytes).min(PLENTY_BYTES) } else { ENOUGH_BYTES };
    }

    /// Whether there is enough room in the directory now.
    pub fn is_found(&mut self, disk: &dyn Disk, dir: &Path) -> bool {
        let enough = self.enough_bytes;
        // The file system may have room that this user may not take, so some is taken.
        let found = disk.free_bytes(dir).is_ok_and(|free| free > enough) && can_take(disk, dir, enough);
        if found {
            self.found = Some(Instant::now());
        }
        found
    }
}

fn can_take(disk: &dyn Disk, dir: &Path, bytes: u64) -> bool {
    let path = dir.join("room.tmp");
    let taken = disk.open(&path, OpenHow::CreateEmpty).and_then(|file| file.reserve(0, bytes));
    if let Err(error) = disk.remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(file = %path.display(), %error, "cannot remove the file that room was looked for with");
    }
    match taken {
        Ok(()) => true,
        // Not every file system can reserve: what it says is free has to do.
        Err(error) => matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput),
    }
}

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
        let found_with = |room: &mut Room, free: u64| {
            disk.set_capacity(Some(free));
            room.is_found(&disk, dir)
        };
        room.is_gone(now);
        assert!(!found_with(&mut room, ENOUGH_BYTES), "the last byte is not room");
        assert!(found_with(&mut room, ENOUGH_BYTES + 1));
        for more in [2, 4, 8, 8] {
            room.is_gone(now);
            assert!(!found_with(&mut room, more * ENOUGH_BYTES));
            assert!(found_with(&mut room, more * ENOUGH_BYTES + 1));
        }
        now += 2 * SOON;
        room.is_gone(now);
        assert!(found_with(&mut room, ENOUGH_BYTES + 1), "that was something else");
        assert!(!disk.exists(&dir.join("room.tmp")), "nothing is left");
    }
}
