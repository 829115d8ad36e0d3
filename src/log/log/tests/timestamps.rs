//! Offsets by timestamp: for single records, below a reader's bound, and the first record that qualifies (KIP-79,
//! KIP-734).

use super::*;

/// One batch for each row; the row has the timestamps of its records.
fn with(rows: &[&[i64]], compression: Compression) -> World {
    let mut world = World::memory(TopicConfig { segment_bytes: 250, ..config() });
    for timestamps in rows {
        let mut builder = BatchBuilder::new(compression);
        for timestamp in *timestamps {
            builder.append(*timestamp, None, Some(b"value"), &[]);
        }
        let batch = world.checked(builder, Origin::Client);
        world.append(&batch).unwrap();
    }
    world
}

fn found(answer: Option<TimestampedOffset>) -> Option<(Offset, i64)> {
    answer.map(|found| (found.offset, found.timestamp))
}

#[test]
fn the_first_record_at_or_after_a_timestamp() {
    let rows: &[&[i64]] = &[&[10, 30, 20], &[25], &[40, 15], &[35], &[50, 60], &[55], &[70]];
    let all = rows.concat();
    for compression in [Compression::None, Compression::Lz4] {
        let mut world = with(rows, compression);
        assert!(world.log.segment_count() > 1);
        for reopened in [false, true] {
            for timestamp in 0..80 {
                let expected = all.iter().position(|&t| t >= timestamp).map(|at| (at as i64, all[at]));
                let answer = world.log.reader().offset_for_timestamp(timestamp, Isolation::LogEnd).unwrap();
                assert_eq!(found(answer), expected, "{timestamp}, {compression:?}, reopened {reopened}");
                assert!(answer.is_none_or(|found| found.leader_epoch == LeaderEpoch(0)));
            }
            world.reopen_clean();
        }
    }
}

#[test]
fn what_is_not_visible_is_not_found() {
    let mut world = with(&[&[10], &[20], &[30]], Compression::None);
    let batch = world.checked(plain(40, &["x"]), Origin::Client);
    world.try_append(&[batch]).unwrap();
    let reader = world.log.reader();
    for (timestamp, upto, expected) in [
        (30, Isolation::HighWatermark, Some((2, 30))),
        (31, Isolation::HighWatermark, None),
        (31, Isolation::LogEnd, Some((3, 40))),
        (41, Isolation::LogEnd, None),
    ] {
        let answer = reader.offset_for_timestamp(timestamp, upto).unwrap();
        assert_eq!(found(answer), expected, "{timestamp} up to {upto:?}");
    }
    assert_eq!(found(reader.max_timestamp(Isolation::LogEnd).unwrap()), Some((3, 40)));
    assert_eq!(found(reader.max_timestamp(Isolation::HighWatermark).unwrap()), None);
    // Deleted records are not found either, even in a batch that is still there.
    let mut world = with(&[&[10, 20, 30], &[40]], Compression::None);
    world.log.advance_log_start(2).unwrap();
    let answer = world.log.reader().offset_for_timestamp(5, Isolation::LogEnd).unwrap();
    assert_eq!(found(answer), Some((2, 30)));
}

#[test]
fn the_record_with_the_largest_timestamp() {
    type Batches = &'static [&'static [i64]];
    let rows: [(Batches, Option<(Offset, i64)>); 6] = [
        (&[], None),
        (&[&[5]], Some((0, 5))),
        (&[&[5, 9, 9, 7]], Some((1, 9))),
        (&[&[5], &[9, 3], &[9]], Some((1, 9))),
        (&[&[1], &[2], &[3], &[99, 1], &[4], &[5], &[6], &[7]], Some((3, 99))),
        (&[&[-1, -1]], None),
    ];
    for (batches, expected) in rows {
        let mut world = with(batches, Compression::None);
        for how in ["open", "closed", "killed"] {
            let answer = world.log.reader().max_timestamp(Isolation::LogEnd).unwrap();
            assert_eq!(found(answer), expected, "{batches:?}, {how}");
            if how == "open" { world.reopen_clean() } else { world.reopen(|_| ()) }
        }
    }
}

#[test]
fn an_empty_log_has_no_timestamps() {
    let world = World::memory(config());
    let reader = world.log.reader();
    assert_eq!(reader.offset_for_timestamp(0, Isolation::LogEnd).unwrap(), None);
    assert_eq!(reader.offset_for_timestamp(-1, Isolation::Committed).unwrap(), None);
    assert_eq!(reader.max_timestamp(Isolation::LogEnd).unwrap(), None);
}
