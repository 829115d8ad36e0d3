//! Planned faults: each fault hits the operation that it names, at the planned time, and no other.

use super::super::{Disk, Fault, MemoryDisk, OpenHow, Operation};
use super::{open, settled};
use std::io::ErrorKind;
use std::path::Path;

#[test]
fn a_fault_strikes_its_operation_once() {
    type Do = fn(&MemoryDisk) -> std::io::Result<()>;
    let rows: &[(Operation, Do)] = &[
        (Operation::Open, |disk| disk.open(Path::new("/d/f"), OpenHow::Write).map(drop)),
        (Operation::Create, |disk| disk.open(Path::new("/d/new"), OpenHow::Create).map(drop)),
        (Operation::Create, |disk| disk.create_dir_all(Path::new("/d/folder"))),
        (Operation::Read, |disk| open(disk, "/d/f", OpenHow::Read).read_at(&mut [0], 0).map(drop)),
        (Operation::Write, |disk| open(disk, "/d/f", OpenHow::Write).write_at(b"x", 0)),
        (Operation::Truncate, |disk| open(disk, "/d/f", OpenHow::Write).truncate(0)),
        (Operation::Sync, |disk| open(disk, "/d/f", OpenHow::Write).sync()),
        (Operation::SyncDir, |disk| disk.sync_dir(Path::new("/d"))),
        (Operation::Rename, |disk| disk.rename(Path::new("/d/f"), Path::new("/d/f"))),
        (Operation::Remove, |disk| disk.remove_file(Path::new("/d/f"))),
        (Operation::List, |disk| disk.list(Path::new("/d")).map(drop)),
    ];
    for (operation, act) in rows {
        let (disk, _) = settled(b"abc");
        disk.fail_next(*operation, Fault::Full);
        let error = act(&disk).expect_err("the first");
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{operation:?}: {error}");
        assert!(error.to_string().contains("/d"), "{operation:?}: {error}");
        act(&disk).unwrap_or_else(|e| panic!("the second {operation:?}: {e}"));
    }
}

#[test]
fn the_nth_or_every_one_until_healed() {
    let (disk, f) = settled(b"");
    disk.fail_nth(Operation::Write, 3, Fault::Broken);
    let went_well: Vec<bool> = (0..5).map(|at| f.write_at(b"x", at).is_ok()).collect();
    assert_eq!(went_well, [true, true, false, true, true]);

    disk.fail_always(Operation::Write, Fault::Broken);
    assert!(f.write_at(b"x", 0).is_err() && f.write_at(b"x", 0).is_err());
    assert!(f.read_at(&mut [0], 0).is_ok(), "reads go on");
    disk.heal();
    f.write_at(b"x", 0).unwrap();
}

#[test]
fn a_failed_write_may_have_written_any_part() {
    let (disk, _) = settled(b"");
    let mut lens: Vec<u64> = (0..100)
        .map(|seed| {
            let disk = disk.fork(seed);
            let f = open(&disk, "/d/f", OpenHow::Write);
            disk.fail_next(Operation::Write, Fault::Broken);
            assert!(f.write_at(b"abc", 0).is_err());
            f.len().unwrap()
        })
        .collect();
    lens.sort_unstable();
    lens.dedup();
    assert_eq!(lens, [0, 1, 2, 3]);
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers_with_room() {
    let (disk, f) = settled(b"12345678");
    disk.set_capacity(Some(10));
    assert_eq!(disk.free_bytes(Path::new("/d")).unwrap(), 2);
    let error = f.write_at(b"abcd", 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(f.len().unwrap(), 10);
    f.write_at(b"over", 0).unwrap();

    open(&disk, "/d/g", OpenHow::CreateNew).write_at(b"", 0).unwrap();
    f.truncate(4).unwrap();
    open(&disk, "/d/g", OpenHow::Write).write_at(b"123456", 0).unwrap();
    disk.remove_file(Path::new("/d/g")).unwrap();
    f.write_at(b"567890", 4).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/d")).unwrap(), 0);
}

#[test]
fn short_reads_are_read_on() {
    let (disk, f) = settled(b"0123456789");
    disk.set_short_reads(true);
    let mut short = false;
    for _ in 0..50 {
        let mut buf = [0; 8];
        let read = f.read_at(&mut buf, 0).unwrap();
        assert!(read > 0);
        short |= read < 8;
        f.read_exact_at(&mut buf, 2).unwrap();
        assert_eq!(&buf, b"23456789");
    }
    assert!(short);
    assert_eq!(disk.read_to_vec(Path::new("/d/f")).unwrap(), b"0123456789");
}
