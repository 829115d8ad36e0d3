//! Opening a log after a crash, or with damaged files.

use super::*;
use crate::disk::OpenHow;

/// Twelve batches in three segments, killed with the recovery point at `flushed`.
fn twelve() -> World {
    let mut world = World::memory(TopicConfig { segment_bytes: 300, ..config() });
    for n in 0..12 {
        let batch = idempotent(3, 0, n, START_MS + i64::from(n), &[&letter(n)]);
        let batch = world.checked(batch, Origin::Client);
        world.append(&batch).unwrap();
    }
    assert_eq!(world.log.segment_count(), 3);
    world
}

/// The value at an offset; all batches are of the same size.
fn letter(offset: impl Into<i64>) -> String {
    char::from(b'a' + offset.into() as u8).to_string()
}

#[test]
fn a_clean_shutdown_costs_nothing_to_open() {
    for mut world in World::both(TopicConfig { segment_bytes: 300, ..config() }) {
        for n in 0..12 {
            world.put(&[&n.to_string()]);
        }
        let everything = world.read_all();
        world.reopen_clean();
        assert_eq!(world.recovery, Recovery::default());
        assert_eq!((world.log.recovery_point(), world.log.log_end_offset()), (12, 12));
        assert_eq!(world.read_all(), everything);
        world.put(&["on"]);
        assert_eq!(world.values().len(), 13);
    }
}

#[test]
fn only_what_is_past_the_recovery_point_is_read_again() {
    for (point, segments) in [(0, 3), (3, 3), (4, 3), (5, 2), (8, 2), (9, 1), (12, 1), (99, 1)] {
        let mut world = twelve();
        world.log.close().unwrap();
        let everything = world.read_all();
        world.reopen(|opening| opening.recovery_point = point);
        assert_eq!(world.recovery.scanned_bytes, segments * 288, "from {point}");
        assert_eq!((world.read_all(), world.log.recovery_point()), (everything, point.min(12)));
    }
}

#[test]
fn a_damaged_tail_is_cut_off() {
    type Damage = fn(&mut Vec<u8>);
    // The last segment's batches are of 72 bytes, at offsets 8 to 11.
    let rows: &[(&str, Damage, Offset)] = &[
        ("nothing", |_| (), 12),
        ("a torn batch", |bytes| bytes.truncate(287), 11),
        ("a torn header", |bytes| bytes.truncate(216 + 10), 11),
        ("a lost batch", |bytes| bytes.truncate(216), 11),
        ("zeros behind", |bytes| bytes.extend([0; 5000]), 12),
        ("zeros instead", |bytes| bytes[216..].fill(0), 11),
        ("a lost middle", |bytes| bytes[80..100].fill(0), 9),
        ("a flipped bit", |bytes| bytes[143] ^= 1, 9),
        ("a batch twice", |bytes| bytes.extend_from_within(216..), 12),
        ("an older batch", |bytes| bytes.extend_from_within(0..72), 12),
        ("a length too large", |bytes| bytes[216 + 8] = 0x7f, 11),
        ("a negative length", |bytes| bytes[216 + 8] = 0xff, 11),
        (
            "text",
            |bytes| bytes.extend(b"hello, this is not a batch but something else that is long enough"),
            12,
        ),
        ("all gone", |bytes| bytes.clear(), 8),
    ];
    for (what, damage, expected) in rows {
        let mut world = twelve();
        let everything = world.read_all();
        world.overwrite(&world.path(8, ".log"), damage);
        let before = world.bytes(8, ".log").len() as u64;
        world.reopen(|_| ());
        let left = world.log.log_end_offset();
        assert_eq!(left, *expected, "{what}");
        assert_eq!(world.read_all(), everything[..left as usize], "{what}");
        let valid = (left - 8) as u64 * 72;
        assert_eq!(world.recovery.truncated_bytes, before - valid, "{what}");
        assert_eq!(world.recovery.truncated_to, (before > valid).then_some(left), "{what}");
        assert_eq!(world.bytes(8, ".log").len() as u64, valid, "{what}");
        // Producers, indexes and epochs match the remaining batches.
        assert_eq!(world.log.active_producers()[0].last_sequence, left as i32 - 1, "{what}");
        let last = world.log.reader().max_timestamp(Isolation::LogEnd).unwrap().unwrap();
        assert_eq!((last.offset, last.timestamp), (left - 1, START_MS + left - 1), "{what}");
        let next = world.checked(idempotent(3, 0, left as i32, START_MS, &["on"]), Origin::Client);
        assert_eq!(world.append(&next).unwrap().base_offset, left, "{what}");
    }
}

#[test]
fn what_follows_damage_is_dropped() {
    let mut world = twelve();
    let everything = world.read_all();
    world.overwrite(&world.path(4, ".log"), |bytes| bytes[100] ^= 1);
    world.reopen(|_| ());
    assert_eq!(world.recovery.dropped_segments, [8]);
    assert_eq!((world.recovery.truncated_to, world.recovery.truncated_bytes), (Some(5), 216));
    assert_eq!(world.read_all(), everything[..5]);
    assert!(
        !world.files().iter().any(|name| name.starts_with("00000000000000000008")),
        "{:?}",
        world.files()
    );
}

#[test]
fn a_segment_that_ends_too_early_hides_what_follows() {
    let mut world = twelve();
    let everything = world.read_all();
    // The file ends exactly after a batch: only the base offset of the next segment shows that batches are missing.
    world.overwrite(&world.path(4, ".log"), |bytes| bytes.truncate(144));
    world.reopen(|_| ());
    assert_eq!((world.recovery.truncated_to, &world.recovery.dropped_segments[..]), (Some(6), &[8][..]));
    assert_eq!(world.read_all(), everything[..6]);
}

#[test]
fn damage_in_what_was_flushed_is_an_error_that_names_it() {
    // The damage is behind the first flushed batch of the segment that is read again.
    let mut world = twelve();
    world.log.close().unwrap();
    world.overwrite(&world.path(8, ".log"), |bytes| bytes[72 + 16] = 9);
    match world.try_reopen(|opening| opening.recovery_point = 11) {
        Err(LogError::Corrupt { path, position, offset, .. }) => {
            assert_eq!((path, position, offset), (world.path(8, ".log"), 72, 9));
        }
        other => panic!("{other:?}"),
    }
    // The damage is in a segment that an opening does not read.
    let mut world = twelve();
    world.log.close().unwrap();
    world.overwrite(&world.path(0, ".log"), |bytes| bytes[144 + 16] = 9);
    world.reopen(|opening| opening.clean_shutdown = true);
    let reader = world.log.reader();
    assert!(reader.read(1, 10, Isolation::LogEnd, true).is_ok());
    match reader.read(3, 10, Isolation::LogEnd, true) {
        Ok(slice) => assert!(slice.range.is_some(), "its index leads past the damage"),
        Err(e) => panic!("{e}"),
    }
    match reader.read(2, 10, Isolation::LogEnd, true) {
        Err(ReadError::Io(LogError::Corrupt { path, position, offset, .. })) => {
            assert_eq!((path, position, offset), (world.path(0, ".log"), 144, 2));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn indexes_are_made_anew_when_they_are_missing_or_wrong() {
    type Damage = fn(&mut Vec<u8>);
    let rows: &[(&str, Damage)] = &[
        ("torn", |bytes| bytes.truncate(bytes.len() - 1)),
        ("zeros", |bytes| bytes.fill(0)),
        ("ones", |bytes| bytes.fill(0xff)),
        ("preallocated", |bytes| bytes.resize(960, 0)),
        ("text", |bytes| bytes.iter_mut().zip(1..).for_each(|(b, n)| *b = n)),
        ("empty", |bytes| bytes.clear()),
        ("backwards", |bytes| bytes.reverse()),
    ];
    for base in [0, 4, 8] {
        for suffix in [".index", ".timeindex"] {
            for (what, damage) in rows {
                let what = format!("{what}: {base}{suffix}");
                let mut world = twelve();
                world.log.close().unwrap();
                let everything = world.read_all();
                world.overwrite(&world.path(base, suffix), damage);
                world.reopen(|opening| opening.clean_shutdown = true);
                world.log.advance_high_watermark(12);
                check_lookups(&world, &what);
                assert_eq!(world.read_all(), everything, "{what}");
                // Retention repairs an index in which a read has found wrong entries.
                assert!(world.log.delete_old_segments(START_MS).unwrap().is_empty(), "{what}");
                check_lookups(&world, &what);
                world.put(&["on"]);
                assert_eq!(world.values().len(), 13, "{what}");
            }
            let mut world = twelve();
            world.log.close().unwrap();
            world.disk.remove_file(&world.path(base, suffix)).unwrap();
            world.reopen(|opening| opening.clean_shutdown = true);
            assert_eq!(world.recovery.rebuilt_indexes, [base]);
            check_lookups(&world, &format!("missing: {base}{suffix}"));
        }
    }
}

fn check_lookups(world: &World, what: &str) {
    let reader = world.log.reader();
    for offset in 0..12 {
        let slice = reader.read(offset, 1, Isolation::LogEnd, true).unwrap();
        let bytes = Bytes::from(slice.range.unwrap().read().unwrap());
        assert_eq!(values_of(&bytes)[0], (offset, letter(offset)), "{what}");
        let found = reader.offset_for_timestamp(START_MS + offset, Isolation::LogEnd).unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (offset, START_MS + offset), "{what}");
    }
    assert_eq!(reader.offset_for_timestamp(START_MS + 12, Isolation::LogEnd).unwrap(), None, "{what}");
    let largest = reader.max_timestamp(Isolation::LogEnd).unwrap().unwrap();
    assert_eq!(largest.timestamp, START_MS + 11, "{what}");
}

#[test]
fn a_wrong_index_is_right_again_after_retention_looked_at_it() {
    let mut world = twelve();
    world.log.close().unwrap();
    let (index, times) = (world.bytes(0, ".index"), world.bytes(0, ".timeindex"));
    world.overwrite(&world.path(0, ".index"), |bytes| bytes[7] += 1);
    world.reopen(|opening| opening.clean_shutdown = true);
    check_lookups(&world, "before");
    assert!(world.log.delete_old_segments(START_MS).unwrap().is_empty());
    assert_eq!((world.bytes(0, ".index"), world.bytes(0, ".timeindex")), (index, times));
    check_lookups(&world, "after");
}

#[test]
fn producers_and_epochs_are_found_again_without_their_files() {
    for (what, files) in [
        ("snapshots", &[".snapshot"][..]),
        ("epochs", &["leader-epoch-checkpoint"]),
        ("both", &[".snapshot", "leader-epoch-checkpoint"]),
    ] {
        for damage in ["removed", "garbage"] {
            let mut world = twelve();
            world.log.close().unwrap();
            for name in world.files().iter().filter(|name| files.iter().any(|end| name.ends_with(end))) {
                match damage {
                    "removed" => world.disk.remove_file(&world.dir.join(name)).unwrap(),
                    _ => world.overwrite(&world.dir.join(name), |bytes| bytes.fill(b'x')),
                }
            }
            world.reopen(|opening| opening.recovery_point = 0);
            assert_eq!(world.log.active_producers()[0].last_sequence, 11, "{what} {damage}");
            assert_eq!(world.log.last_epoch(), Some(LeaderEpoch(0)), "{what} {damage}");
            assert_eq!(world.log.epoch_end_offset(LeaderEpoch(0)), (LeaderEpoch(0), 12), "{what} {damage}");
        }
    }
}

#[test]
fn a_log_below_its_start_begins_anew() {
    let mut world = twelve();
    world.reopen(|opening| opening.log_start = 50);
    assert_eq!(
        world.log.offsets(),
        Offsets { log_start: 50, last_stable: 50, high_watermark: 50, log_end: 50 }
    );
    assert_eq!(world.put(&["on"]).base_offset, 50);
}

#[test]
fn a_cleaners_work_is_finished_or_forgotten() {
    let cleaned = |world: &World, base: Offset, stage: &str| {
        // One batch in place of the segment's four.
        let bytes = idempotent(3, 0, 3, START_MS, &["clean"]).build(base + 3, LeaderEpoch(0));
        for (suffix, bytes) in [(".log", &bytes[..]), (".index", &[]), (".timeindex", &[])] {
            let path = world.path(base, &format!("{suffix}{stage}"));
            world.disk.open(&path, OpenHow::CreateNew).unwrap().write_at(bytes, 0).unwrap();
        }
    };
    let old = (0..12i64).map(letter).collect::<Vec<_>>();
    type Outputs = &'static [(Offset, &'static str)];
    let rows: [(&str, Outputs, Vec<String>); 4] = [
        ("unfinished", &[(0, ".cleaned")], old.clone()),
        ("finished", &[(0, ".swap")], [&["clean".to_owned()][..], &old[4..]].concat()),
        (
            "finished below, unfinished above",
            &[(0, ".swap"), (4, ".cleaned")],
            [&["clean".to_owned()][..], &old[4..]].concat(),
        ),
        ("unfinished below", &[(0, ".cleaned"), (4, ".swap")], old.clone()),
    ];
    for (what, files, expected) in rows {
        let mut world = twelve();
        world.log.close().unwrap();
        files.iter().for_each(|(base, stage)| cleaned(&world, *base, stage));
        world.reopen(|opening| opening.clean_shutdown = true);
        assert_eq!(world.values(), expected, "{what}");
        let left =
            world.files().into_iter().filter(|name| name.ends_with(".swap") || name.ends_with(".cleaned"));
        assert_eq!(left.count(), 0, "{what}");
    }
    // One output for two segments: both inputs are removed.
    let mut world = twelve();
    world.log.close().unwrap();
    cleaned(&world, 0, ".swap");
    let bytes = [idempotent(3, 0, 7, START_MS, &["both"]).build(7, LeaderEpoch(0))].concat();
    world.overwrite(&world.path(0, ".log.swap"), |swap| *swap = bytes);
    world.reopen(|opening| opening.clean_shutdown = true);
    assert_eq!(world.values(), [&["both".to_owned()][..], &old[8..]].concat());
}

#[test]
fn strays_are_swept_out() {
    let mut world = twelve();
    world.log.close().unwrap();
    let strays =
        ["00000000000000000099.index", "00000000000000000005.snapshot", "leader-epoch-checkpoint.tmp"];
    for name in strays {
        world.disk.open(&world.dir.join(name), OpenHow::CreateNew).unwrap();
    }
    let others = ["notes.txt", "00000000000000000007.checkpoint"];
    for name in others {
        world.disk.open(&world.dir.join(name), OpenHow::CreateNew).unwrap();
    }
    world.reopen(|opening| opening.clean_shutdown = true);
    let files = world.files();
    assert!(strays.iter().all(|name| !files.iter().any(|file| file == name)), "{files:?}");
    assert!(others.iter().all(|name| files.iter().any(|file| file == name)), "not ours: {files:?}");
}

#[test]
fn reads_that_come_in_pieces_are_still_whole() {
    let mut world = twelve();
    world.memory.as_ref().unwrap().set_short_reads(true);
    let everything = world.read_all();
    world.reopen(|_| ());
    assert_eq!(world.read_all(), everything);
    check_lookups(&world, "in pieces");
}
