//! What a loss of power may leave. Each story lists exactly the outcomes that the model allows, and over many seeds each
//! of them must occur.

use super::super::{Disk, Fault, MemoryDisk, OpenHow, Operation};
use super::{open, settled};
use std::collections::BTreeSet;
use std::path::Path;

const SEEDS: u64 = 600;
const SECTOR: usize = 512;

fn endings(disk: &MemoryDisk, look: impl Fn(&MemoryDisk) -> String) -> BTreeSet<String> {
    let ending = |seed| {
        let disk = disk.fork(seed);
        disk.crash();
        look(&disk)
    };
    (0..SEEDS).map(ending).collect()
}

fn check(story: &str, disk: &MemoryDisk, look: impl Fn(&MemoryDisk) -> String, expected: &[&str]) {
    let expected = expected.iter().map(|ending| ending.to_string()).collect();
    assert_eq!(endings(disk, look), expected, "{story}");
}

/// The contents of `/d/f`, one letter for each sector: `0` for zeros, `~` for a mixture.
fn file(disk: &MemoryDisk) -> String {
    match disk.read_to_vec(Path::new("/d/f")) {
        Ok(bytes) => bytes.chunks(SECTOR).map(letter).collect(),
        Err(_) => "gone".to_string(),
    }
}

fn letter(sector: &[u8]) -> char {
    match sector[0] {
        first if sector.iter().any(|byte| *byte != first) => '~',
        0 => '0',
        first => first as char,
    }
}

fn names(disk: &MemoryDisk) -> String {
    let names =
        disk.list(Path::new("/d")).map(|entries| entries.into_iter().map(|e| e.name).collect::<Vec<_>>());
    names.map_or("no folder".to_string(), |names| names.join(" "))
}

fn sectors(letters: &str) -> Vec<u8> {
    letters.bytes().flat_map(|letter| [letter; SECTOR]).collect()
}

#[test]
fn bytes_that_no_sync_covered() {
    let (disk, f) = settled(b"");
    f.write_at(&sectors("aa"), 0).unwrap();
    check(
        "lost, torn, out of order, or zeros under a grown length",
        &disk,
        file,
        &["", "00", "0a", "a0", "aa"],
    );

    let (disk, f) = settled(b"");
    f.write_at(&sectors("aa"), 0).unwrap();
    f.sync().unwrap();
    check("synced bytes stay", &disk, file, &["aa"]);

    let (disk, f) = settled(b"");
    f.write_at(&sectors("a"), 0).unwrap();
    let mark = f.sync_begin();
    f.write_at(&sectors("b"), SECTOR as u64).unwrap();
    f.sync_end(mark).unwrap();
    check("written during the sync: not promised", &disk, file, &["a", "a0", "ab"]);

    let (disk, f) = settled(&sectors("a"));
    f.write_at(&sectors("b"), 0).unwrap();
    f.write_at(&sectors("c"), 0).unwrap();
    check("overwritten: any version", &disk, file, &["a", "b", "c"]);

    let (disk, f) = settled(b"aaaa");
    f.write_at(b"bbbb", 4).unwrap();
    let text = |disk: &MemoryDisk| String::from_utf8(disk.read_to_vec(Path::new("/d/f")).unwrap()).unwrap();
    check("appended inside a sector: all, none or zeros", &disk, text, &["aaaa", "aaaa\0\0\0\0", "aaaabbbb"]);

    let (disk, f) = settled(b"");
    f.write_at(&sectors("a"), 0).unwrap();
    disk.kill();
    check("a kill flushes nothing", &disk, file, &["", "0", "a"]);
    assert_eq!(file(&disk), "a", "but the page cache survives it");
}

#[test]
fn a_truncation_is_old_or_new_and_old_bytes_do_not_follow_new_ones() {
    let block = "aaaaaaaa";
    let (disk, f) = settled(&sectors(&block.repeat(3)));
    f.truncate(4096).unwrap();
    check("a truncation alone", &disk, file, &[block, &block.repeat(3)]);

    f.write_at(&sectors("b"), 4096).unwrap();
    let (cut, zero, new) = (block.to_string(), format!("{block}0"), format!("{block}b"));
    check("then appended to", &disk, file, &[&cut, &zero, &new, &block.repeat(3)]);

    f.sync().unwrap();
    check("and synced", &disk, file, &[&new]);

    let (disk, f) = settled(&sectors("aaa"));
    f.truncate(SECTOR as u64).unwrap();
    f.write_at(&sectors("b"), SECTOR as u64).unwrap();
    // Inside the block that was cut, new bytes may survive without older ones; this is why a log syncs after truncating.
    let expected = ["a", "a0", "ab", "a00", "a0a", "aa0", "aaa", "ab0", "aba"];
    check("inside one block anything goes", &disk, file, &expected);
}

#[test]
fn a_failed_sync_is_never_made_good() {
    let (disk, _) = settled(b"");
    let mut endings = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = disk.fork(seed);
        let f = open(&disk, "/d/f", OpenHow::Write);
        f.write_at(&sectors("a"), 0).unwrap();
        disk.fail_next(Operation::Sync, Fault::Broken);
        assert!(f.sync().is_err());
        assert_eq!(file(&disk), "a", "it reads back as if nothing had happened");
        f.sync().unwrap();
        disk.crash();
        endings.insert(file(&disk));
    }
    assert_eq!(endings, BTreeSet::from(["".into(), "0".into(), "a".into()]));
}

#[test]
fn names_that_no_sync_of_the_folder_covered() {
    let d = Path::new("/d");
    let (disk, _) = settled(b"");
    open(&disk, "/d/g", OpenHow::CreateNew).sync().unwrap();
    check("a new file, its bytes synced", &disk, names, &["f", "f g"]);
    disk.sync_dir(d).unwrap();
    check("and its folder", &disk, names, &["f g"]);

    let (disk, _) = settled(b"");
    disk.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
    check("renamed: one name or the other, never both or none", &disk, names, &["f", "g"]);

    let (disk, _) = settled(&sectors("a"));
    disk.remove_file(Path::new("/d/f")).unwrap();
    check("removed: it may come back", &disk, file, &["a", "gone"]);
    disk.sync_dir(d).unwrap();
    check("removed for good", &disk, file, &["gone"]);

    let (disk, _) = settled(b"");
    for name in ["/d/g", "/d/h"] {
        open(&disk, name, OpenHow::CreateNew);
    }
    check("two new files: each for itself", &disk, names, &["f", "f g", "f g h", "f h"]);

    let (disk, _) = settled(b"");
    disk.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
    disk.rename(Path::new("/d/g"), Path::new("/d/h")).unwrap();
    check("twice renamed: in order", &disk, names, &["f", "g", "h"]);

    let disk = MemoryDisk::new(1);
    disk.create_dir_all(d).unwrap();
    open(&disk, "/d/f", OpenHow::CreateNew);
    disk.sync_dir(d).unwrap();
    check("a new folder lives in its parent", &disk, names, &["f", "no folder"]);
    disk.sync_dir(Path::new("/")).unwrap();
    check("which was synced", &disk, names, &["f"]);

    let (disk, _) = settled(b"");
    disk.create_dir_all(Path::new("/e")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.rename(Path::new("/d/f"), Path::new("/e/f")).unwrap();
    let both =
        |disk: &MemoryDisk| format!("{}{}", disk.exists(Path::new("/d/f")), disk.exists(Path::new("/e/f")));
    check("from folder to folder: atomic", &disk, both, &["falsetrue", "truefalse"]);
    disk.sync_dir(Path::new("/e")).unwrap();
    check("and settled by either end", &disk, both, &["falsetrue"]);
}

#[test]
fn replace_leaves_the_old_or_the_new_whenever_power_goes() {
    let path = Path::new("/d/f");
    let (disk, _) = settled(b"old");
    let steps = {
        let disk = disk.fork(0);
        let before = disk.changes();
        disk.replace(path, b"new").unwrap();
        disk.changes() - before
    };
    for step in 0..=steps {
        let mut seen = BTreeSet::new();
        for seed in 0..SEEDS {
            let disk = disk.fork(seed);
            disk.cut_power_after(step);
            assert_eq!(disk.replace(path, b"new").is_ok(), step == steps);
            disk.crash();
            seen.insert(disk.read_to_vec(path).unwrap());
        }
        let (old, new) = (b"old".to_vec(), b"new".to_vec());
        // Create, write, sync, rename, sync the folder.
        let expected = match step {
            0..=3 => BTreeSet::from([old]),
            4 => BTreeSet::from([old, new]),
            _ => BTreeSet::from([new]),
        };
        assert_eq!(seen, expected, "power lost after step {step} of {steps}");
    }
}

#[test]
fn a_seed_is_a_fate() {
    let (disk, f) = settled(b"");
    f.write_at(&sectors(&"abcdefgh".repeat(8)), 0).unwrap();
    let fate = |seed| {
        let disk = disk.fork(seed);
        disk.crash();
        file(&disk)
    };
    for seed in 0..50 {
        assert_eq!(fate(seed), fate(seed), "seed {seed}");
    }
    assert!((0..50).map(fate).collect::<BTreeSet<_>>().len() > 10, "and seeds differ");
}

#[test]
fn the_dead_hold_nothing() {
    for end in [MemoryDisk::crash, MemoryDisk::kill] {
        let (disk, f) = settled(b"a");
        let lock = disk.lock(Path::new("/d/.lock")).unwrap();
        let mark = f.sync_begin();
        end(&disk);
        assert!(f.write_at(b"b", 0).is_err() && f.read_at(&mut [0], 0).is_err() && f.sync_end(mark).is_err());
        let again = disk.lock(Path::new("/d/.lock")).unwrap();
        drop(lock);
        assert!(disk.lock(Path::new("/d/.lock")).is_err(), "the dead process's guard frees nothing");
        drop(again);
    }
}
