//! When a new segment begins.

use super::*;

fn bases(world: &World) -> Vec<Offset> {
    let logs = world.files().into_iter().filter_map(|name| name.strip_suffix(".log").map(str::to_owned));
    logs.map(|digits| digits.parse().unwrap()).collect()
}

#[test]
fn a_full_segment_is_followed_by_another() {
    for mut world in World::both(TopicConfig { segment_bytes: 216, ..config() }) {
        // Batches of 72 bytes.
        for n in 0..7 {
            world.put(&[&n.to_string()]);
        }
        assert_eq!(bases(&world), [0, 3, 6]);
        assert_eq!(world.log.size(), 7 * 72);
        assert_eq!(world.values().len(), 7);
    }
}

#[test]
fn time_rolls_by_the_records_timestamps() {
    let hour = 3_600_000;
    let mut world = World::memory(TopicConfig { segment_ms: hour, ..config() });
    let mut put = |timestamp: i64| {
        let batch = world.checked(plain(timestamp, &["v"]), Origin::Client);
        world.append(&batch).unwrap();
        world.log.segment_count()
    };
    assert_eq!(put(1000), 1);
    assert_eq!(put(1000 + hour), 1, "not more than an hour apart");
    assert_eq!(put(500), 1, "older than the first");
    assert_eq!(put(1001 + hour), 2);
    assert_eq!(put(1001 + hour), 2);
}

#[test]
fn without_timestamps_the_clock_counts() {
    let mut world = World::memory(TopicConfig { segment_ms: 1000, ..config() });
    let batch = world.checked(plain(-1, &["v"]), Origin::Client);
    world.append(&batch).unwrap();
    world.now_ms += 1000;
    world.append(&batch).unwrap();
    assert_eq!(world.log.segment_count(), 1);
    world.now_ms += 1;
    world.append(&batch).unwrap();
    assert_eq!(world.log.segment_count(), 2);
}

#[test]
fn a_segment_without_appends_is_closed_by_the_clock() {
    let mut world = World::memory(TopicConfig { segment_ms: 1000, ..config() });
    assert!(!world.log.roll_if_due(START_MS + 5000).unwrap(), "an empty one stays");
    world.put(&["a"]);
    assert!(!world.log.roll_if_due(START_MS + 1000).unwrap());
    assert!(world.log.roll_if_due(START_MS + 1001).unwrap());
    assert!(!world.log.roll_if_due(START_MS + 9000).unwrap());
    assert_eq!(bases(&world), [0, 1]);
}

#[test]
fn jitter_comes_from_the_seed() {
    let config = TopicConfig { segment_ms: 1000, segment_jitter_ms: 500, ..config() };
    let jitters = (0..50).map(|base| super::super::active::jitter_ms(42, base, &config)).collect::<Vec<_>>();
    assert!(jitters.iter().all(|jitter| (0..500).contains(jitter)));
    assert!(jitters.iter().any(|jitter| jitter != &jitters[0]));
    let none = TopicConfig { segment_jitter_ms: 0, ..config.clone() };
    assert_eq!(super::super::active::jitter_ms(42, 7, &none), 0);
    let mut world = World::memory(config);
    world.put(&["a"]);
    let due = (1..=1001).find(|wait| world.log.roll_if_due(START_MS + wait).unwrap());
    assert!((501..1001).contains(&due.unwrap()), "{due:?}");
}

#[test]
fn a_full_index_rolls() {
    // Room for 10 offset entries, and for 6 time entries, of which the last is reserved.
    let config = TopicConfig { segment_bytes: 100_000, segment_index_bytes: 80, ..config() };
    let mut world = World::memory(config);
    for _ in 0..20 {
        world.put(&["v"]);
    }
    assert_eq!(world.values().len(), 20);
    // The first batch of a segment has no entry; the fifth entry makes the index full.
    assert_eq!(bases(&world), [0, 6, 12, 18]);
    let batches = (0..30).map(|_| world.checked(plain(0, &["v"]), Origin::Client)).collect::<Vec<_>>();
    assert!(world.try_append(&batches).unwrap().iter().all(Result::is_ok));
    assert_eq!(bases(&world), [0, 6, 12, 18, 24, 30, 36, 42, 48], "in one call as in many");
}

#[test]
fn offsets_too_far_from_the_base_roll() {
    let mut world = World::memory(TopicConfig::default());
    let far = i64::from(i32::MAX);
    for (offset, expected) in
        [(0, &[0][..]), (far, &[0]), (far + 1, &[0, far + 1]), (3 * far, &[0, far + 1, 3 * far])]
    {
        let batch = plain(0, &["v"]).build(offset, LeaderEpoch(0));
        world.log.append_as_follower(batch, LeaderEpoch(0), START_MS).unwrap().unwrap();
        assert_eq!(bases(&world), expected);
    }
    world.reopen(|_| ());
    assert_eq!(
        world.read_all().iter().map(|(offset, _)| *offset).collect::<Vec<_>>(),
        [0, far, far + 1, 3 * far]
    );
}
