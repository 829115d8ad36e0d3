//! Which bytes are in memory and which only the device has.

use std::fs::File;
use std::io::{ErrorKind, IoSliceMut};
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

use super::super::{Disk, OpenHow, RealDisk, worker};

const BYTES: usize = 4 << 20;
/// Far from all bytes that are read ahead.
const FAR: u64 = 3 << 20;

// Drops the file from the page cache. Returns whether that worked: not every file system can do it, or report it.
fn forget(path: &Path) -> bool {
    let file = File::open(path).expect("it is there");
    file.sync_all().expect("it is synced");
    fadvise(&file, 0, None, Advice::DontNeed).expect("advice is taken");
    preadv2(&file, &mut [IoSliceMut::new(&mut [0])], FAR, ReadWriteFlags::NOWAIT).is_err()
}

fn would_block<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn who_may_not_wait_reads_only_what_is_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    let disk = RealDisk::default();
    let file = disk.open(&path, OpenHow::CreateNew).expect("a new file");
    file.write_at(&vec![7; BYTES], 0).expect("it is written");
    let mut byte = [0];
    assert_eq!(file.read_cached_at(&mut byte, FAR).expect("it was just written"), 1);
    for (at, len) in [(0, BYTES), (5, 1), (BYTES as u64 + 9, 9)] {
        assert_eq!(file.cached_bytes(at, len), len);
    }
    if forget(&path) {
        assert!(would_block(file.read_cached_at(&mut byte, 1 << 20)));
        assert!(would_block(worker::cached_only(|| file.read_at(&mut byte, 2 << 20))));
        assert_eq!(file.cached_bytes(0, BYTES), 0);
        file.read_exact_at(&mut vec![0; BYTES / 2], 0).expect("who waits gets it");
        assert!(file.cached_bytes(0, BYTES) >= BYTES / 2, "and more that was read ahead");
    }
    let mut all = vec![0; BYTES];
    file.read_exact_at(&mut all, 0).expect("who waits gets everything");
    assert_eq!(file.cached_bytes(0, BYTES), BYTES);
    let again = worker::cached_only(|| file.read_full_at(&mut all, 0));
    assert_eq!(again.expect("it is in memory"), BYTES);
}

#[test]
fn a_file_that_is_not_open_is_not_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    std::fs::write(&path, "here").expect("it is written");
    let file = RealDisk::default().open_later(&path).expect("it is there");
    let mut bytes = [0; 4];
    assert!(would_block(file.read_cached_at(&mut bytes, 0)));
    assert!(would_block(worker::cached_only(|| file.read_at(&mut bytes, 0))));
    assert_eq!(file.cached_bytes(0, 4), 0);
    assert_eq!(file.read_at(&mut bytes, 0).expect("it can be opened"), 4);
    assert_eq!(file.cached_bytes(0, 4), 4);
    assert_eq!((file.read_cached_at(&mut bytes, 0).expect("it is open"), &bytes), (4, b"here"));
}

#[test]
fn a_panic_lets_the_thread_wait_again() {
    let panicked = std::panic::catch_unwind(|| worker::cached_only(|| panic!("on purpose")));
    assert!(panicked.is_err() && !worker::may_only_read_cached());
}
