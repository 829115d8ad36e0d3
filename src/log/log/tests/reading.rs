//! What a reader sees, and what it never sees (rows 8 to 11 of the client regressions).

use super::*;

/// Five batches of two records each, at offsets 0, 2, 4, 6 and 8; in segments of two batches.
fn five() -> World {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    for n in 0..5 {
        world.put(&[&format!("{}", 2 * n), &format!("{}", 2 * n + 1)]);
    }
    assert_eq!(world.log.segment_count(), 3);
    world
}

fn offsets_in(slice: &Slice) -> Vec<Offset> {
    let Some(range) = &slice.range else { return vec![] };
    let bytes = Bytes::from(range.read().unwrap());
    batches(&bytes).map(|batch| batch.expect("whole batches").0.base_offset).collect()
}

#[test]
fn a_read_starts_with_the_batch_that_holds_the_offset() {
    let world = five();
    let reader = world.log.reader();
    let one = read_batches(&reader, Isolation::LogEnd)[0].1.len();
    // From, max bytes, at_least_one; the expected batches, and the next offset.
    let rows: &[(Offset, usize, bool, &[Offset], Offset)] = &[
        (0, 10_000, true, &[0, 2], 4),
        (1, 10_000, true, &[0, 2], 4),
        (2, 10_000, true, &[2], 4),
        (3, 10_000, true, &[2], 4),
        (4, 10_000, true, &[4, 6], 8),
        (9, 10_000, true, &[8], 10),
        (10, 10_000, true, &[], 10),
        (0, 0, true, &[0], 2),
        (1, one - 1, true, &[0], 2),
        (1, one, true, &[0], 2),
        (0, one, false, &[0], 2),
        (0, 2 * one - 1, false, &[0], 2),
        (0, 2 * one, false, &[0, 2], 4),
        (0, 2 * one + 1, false, &[0, 2], 4),
    ];
    for (from, max, at_least_one, expected, next) in rows {
        let what = format!("from {from}, {max} bytes");
        let slice = reader.read(*from, *max, Isolation::LogEnd, *at_least_one).unwrap();
        assert_eq!(offsets_in(&slice), *expected, "{what}");
        assert_eq!((slice.next_offset, slice.first_too_large), (*next, false), "{what}");
    }
    let slice = reader.read(3, one - 1, Isolation::LogEnd, false).unwrap();
    assert!(slice.range.is_none() && slice.first_too_large);
    assert_eq!(slice.next_offset, 3);
}

#[test]
fn offsets_outside_the_log_are_out_of_range_and_between_bound_and_end_there_is_nothing() {
    let mut world = World::memory(config());
    world.put(&["a", "b", "c"]);
    let batch = world.checked(plain(0, &["d", "e"]), Origin::Client);
    world.try_append(&[batch]).unwrap();
    world.log.advance_log_start(1).unwrap();
    let reader = world.log.reader();
    let offsets = Offsets { log_start: 1, last_stable: 3, high_watermark: 3, log_end: 5 };
    for upto in [Isolation::LogEnd, Isolation::HighWatermark, Isolation::Committed] {
        for outside in [-1, 0, 6, i64::MAX] {
            let read = reader.read(outside, 100, upto, true);
            assert!(matches!(read, Err(ReadError::OutOfRange(o)) if o == offsets), "{outside}: {read:?}");
            assert_eq!(reader.bytes_available(outside, upto), 0);
        }
        for (from, visible) in [(1, true), (2, true), (3, upto == Isolation::LogEnd), (5, false)] {
            let slice = reader.read(from, 1000, upto, true).unwrap();
            assert_eq!(slice.range.is_some(), visible, "{from} up to {upto:?}");
            assert_eq!(reader.bytes_available(from, upto) > 0, visible);
            assert_eq!(slice.offsets, offsets);
        }
    }
}

#[test]
fn a_bound_is_never_passed() {
    let mut world = World::memory(TopicConfig { segment_bytes: 200, ..config() });
    for n in 0..5 {
        let batch = world.checked(plain(0, &[&n.to_string(), "x"]), Origin::Client);
        world.try_append(&[batch]).unwrap();
    }
    let reader = world.log.reader();
    let everything = read_batches(&reader, Isolation::LogEnd);
    for high_watermark in 0..=10 {
        // A high watermark inside a batch hides the whole batch, as in Kafka.
        world.log.advance_high_watermark(high_watermark);
        assert_eq!(world.log.high_watermark(), high_watermark);
        let visible = everything.iter().filter(|(header, _)| header.next_offset() <= high_watermark);
        let visible =
            visible.map(|(header, bytes)| (header.base_offset, bytes.len() as u64)).collect::<Vec<_>>();
        let mut seen = Vec::new();
        let mut from = 0;
        while let Some(range) = reader.read(from, 5000, Isolation::HighWatermark, true).unwrap().range {
            let bytes = Bytes::from(range.read().unwrap());
            for batch in batches(&bytes) {
                let header = batch.unwrap().0;
                seen.push((header.base_offset, header.size_in_bytes() as u64));
                from = header.next_offset();
            }
        }
        assert_eq!(seen, visible, "high watermark {high_watermark}");
        let bytes = visible.iter().map(|(_, bytes)| bytes).sum::<u64>();
        assert_eq!(reader.bytes_available(0, Isolation::HighWatermark), bytes);
    }
    world.log.advance_high_watermark(3);
    assert_eq!(world.log.high_watermark(), 10, "never backwards");
    world.log.advance_high_watermark(99);
    assert_eq!(world.log.high_watermark(), 10, "never past the end");
}

#[test]
fn the_high_watermark_finds_its_place_after_reopening() {
    let mut world = five();
    for high_watermark in 0..=10 {
        world.reopen(|_| ());
        world.log.advance_high_watermark(high_watermark);
        let visible = read_all(&world.log.reader(), Isolation::HighWatermark);
        assert_eq!(visible.len() as i64, high_watermark / 2 * 2, "{high_watermark}");
    }
}

#[test]
fn a_hole_that_compaction_left_is_read_over() {
    let mut world = World::memory(config());
    for offset in [0, 10, 20] {
        let batch = plain(0, &["v"]).build(offset, LeaderEpoch(0));
        world.log.append_as_follower(batch, LeaderEpoch(0), START_MS).unwrap().unwrap();
    }
    let reader = world.log.reader();
    for (from, expected) in [(0, 0), (1, 10), (10, 10), (11, 20), (20, 20)] {
        let slice = reader.read(from, 10, Isolation::LogEnd, true).unwrap();
        assert_eq!(offsets_in(&slice), [expected], "from {from}");
    }
}

#[test]
fn readers_go_on_while_the_owner_appends_rolls_and_retires() {
    let mut world = World::memory(TopicConfig { segment_bytes: 2000, retention_bytes: 10_000, ..config() });
    let reader = world.log.reader();
    const RECORDS: i64 = 6000;
    std::thread::scope(|scope| {
        for upto in [Isolation::LogEnd, Isolation::HighWatermark, Isolation::Committed] {
            let reader = reader.clone();
            scope.spawn(move || {
                let mut from = 0;
                while from < RECORDS {
                    let slice = match reader.read(from, 700, upto, true) {
                        Ok(slice) => slice,
                        Err(ReadError::OutOfRange(offsets)) => {
                            assert!(offsets.log_start > from, "{from} in {offsets:?}");
                            from = offsets.log_start;
                            continue;
                        }
                        Err(e) => panic!("{e}"),
                    };
                    let Some(range) = slice.range else { continue };
                    let bytes = Bytes::from(range.read().unwrap());
                    for batch in batches(&bytes) {
                        let (header, bytes) = batch.unwrap();
                        assert!(verify_crc(&bytes));
                        assert!((header.base_offset..=header.last_offset()).contains(&from));
                        assert!(values_of(&bytes).iter().all(|(offset, value)| offset.to_string() == *value));
                        from = header.next_offset();
                    }
                    assert!(from <= slice.offsets.log_end);
                    let found = reader.offset_for_timestamp(from, upto).unwrap();
                    assert!(
                        found.is_none_or(|found| found.timestamp == found.offset && found.offset >= from)
                    );
                }
            });
        }
        let mut retired = Vec::new();
        for n in 0..RECORDS / 3 {
            let offsets = [3 * n, 3 * n + 1, 3 * n + 2];
            let mut builder = BatchBuilder::new(Compression::None);
            for offset in offsets {
                builder.append(offset, None, Some(offset.to_string().as_bytes()), &[]);
            }
            let batch = world.checked(builder, Origin::Client);
            world.append(&batch).unwrap();
            if n % 50 == 0 {
                retired.extend(world.log.delete_old_segments(START_MS).unwrap());
                if retired.len() > 20 {
                    retired.drain(..).for_each(|files| files.run().unwrap());
                }
            }
        }
    });
    assert!(world.log.log_start_offset() > 0);
}

#[test]
fn an_index_that_points_behind_its_file_hides_nothing() {
    let mut world = five();
    let expected = world.read_all();
    world.log.close().unwrap();
    // The index entry of the first segment's second batch is made to point at a byte where no batch starts.
    world.overwrite(&world.path(0, ".index"), |bytes| {
        *bytes = [[0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 3, 0x7f, 0, 0, 0]].concat();
    });
    world.reopen(|opening| opening.clean_shutdown = true);
    for (offset, _) in &expected {
        let slice = world.log.reader().read(*offset, 0, Isolation::LogEnd, true).unwrap();
        assert_eq!(offsets_in(&slice), [offset - offset % 2], "offset {offset}");
    }
    assert_eq!(world.read_all(), expected);
}

#[test]
fn a_reader_never_goes_round_in_circles() {
    let mut world = five();
    world.log.close().unwrap();
    // In a segment that a clean shutdown makes trusted, the second batch gets an offset below the first.
    world.overwrite(&world.path(4, ".log"), |bytes| {
        let second = bytes.len() / 2;
        bytes[..8].copy_from_slice(&100i64.to_be_bytes());
        bytes[second..second + 8].copy_from_slice(&0i64.to_be_bytes());
    });
    world.reopen(|opening| opening.clean_shutdown = true);
    let reader = world.log.reader();
    for max_bytes in [0, 100, 150, 10_000] {
        let mut from = 0;
        while let Ok(Slice { range: Some(_), next_offset, .. }) =
            reader.read(from, max_bytes, Isolation::LogEnd, true)
        {
            assert!(next_offset > from, "{next_offset} after {from}");
            from = next_offset;
        }
    }
}
