//! Outputs of a cleaning that the log does not take, since it has changed: nothing is left of them.

use ottla_model::config::CleanupPolicy;

use super::cleaning::{compacted, map};
use super::*;
use crate::disk::OpenHow;

impl World {
    /// The files of outputs that were not swapped in.
    fn unfinished(&self) -> Vec<String> {
        let files = self.disk.list(&self.dir).expect("the folder is there");
        files.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".cleaned")).collect()
    }
}

#[test]
fn a_log_that_has_changed_takes_no_output() {
    type Change = fn(&mut World);
    let rows: [(&str, Change); 5] = [
        ("cut", |world| assert!(world.log.truncate_to(3, START_MS).unwrap())),
        ("emptied", |world| world.log.truncate_fully(3, START_MS).unwrap()),
        ("cut where newer records are", |world| {
            assert!(world.log.truncate_to(world.log.log_end_offset() - 2, START_MS).unwrap());
        }),
        ("configured", |world| {
            world.log.set_config(Arc::new(TopicConfig { delete_retention_ms: 7, ..compacted() }));
        }),
        ("shortened", |world| {
            world.log.advance_log_start(8).unwrap();
            let retired = world.log.delete_old_segments(START_MS).unwrap();
            assert!(!retired.is_empty());
        }),
    ];
    for (what, change) in rows {
        let mut world = World::memory(compacted());
        for n in 0..20 {
            world.put_keys(&[(&(n % 7).to_string(), Some("v"))]);
        }
        world.seal();
        let mut cleaning = world.log.begin_cleaning(&world.dirt(None), map(), START_MS).unwrap().unwrap();
        let swap = loop {
            match cleaning.step(1 << 20).unwrap() {
                Step::Working { .. } => {}
                Step::Swap(swap) => break swap,
                Step::Done(_) => panic!("{what}: nothing to swap"),
            }
        };
        change(&mut world);
        let before = world.told();
        let refused = world.log.swap_cleaned(*swap, START_MS);
        assert!(matches!(refused, Err(NotSwapped::Refused(_))), "{what}: {refused:?}");
        cleaning.abandon();
        assert_eq!(world.unfinished(), [""; 0], "{what}");
        assert_eq!(world.told(), before, "{what}");
        assert!(!world.log.is_offline(), "{what}");
        world.put_keys(&[("next", Some("v"))]);
    }
}

/// What an earlier cleaning could not remove would make the next swap look unfinished, if the process died in it.
#[test]
fn a_cleaning_begins_without_the_output_of_an_earlier_one() {
    for mut world in World::both(compacted()) {
        for n in 0..20 {
            world.put_keys(&[(&(n % 7).to_string(), Some("v"))]);
        }
        world.seal();
        for left in ["00000000000000000000.log.cleaned", "00000000000000000003.timeindex.cleaned"] {
            world.disk.open(&world.dir.join(left), OpenHow::CreateEmpty).expect("a file");
        }
        let mut cleaning = world.log.begin_cleaning(&world.dirt(None), map(), START_MS).unwrap().unwrap();
        let swap = loop {
            match cleaning.step(1 << 20).expect("a healthy log") {
                Step::Working { .. } => {}
                Step::Swap(swap) => break swap,
                Step::Done(_) => panic!("nothing to swap"),
            }
        };
        let made = ["index", "log", "timeindex"].map(|kind| format!("00000000000000000000.{kind}.cleaned"));
        let mut there = world.unfinished();
        there.sort();
        assert_eq!(there, made);
        world.log.swap_cleaned(*swap, START_MS).expect("nothing has changed");
        assert_eq!(world.unfinished(), [""; 0]);
    }
}

/// With `cleanup.policy=compact,delete` retention may take a segment that is being cleaned: the log is none the worse for it.
#[test]
fn retention_may_be_quicker_than_a_cleaning() {
    let policy = CleanupPolicy { delete: true, compact: true };
    let config = TopicConfig { cleanup_policy: policy, retention_ms: 1_000, ..compacted() };
    let mut world = World::memory(config);
    for n in 0..20 {
        world.put_keys(&[(&n.to_string(), Some("1"))]);
    }
    world.seal();
    let dirt = world.dirt(None);
    let begun = world.log.begin_cleaning(&dirt, map(), world.now_ms).expect("a healthy log");
    let mut cleaning = begun.expect("dirt");
    assert!(!cleaning.is_outdated());
    world.now_ms += 10_000;
    let retired = world.log.delete_old_segments(world.now_ms).expect("it retires");
    assert!(!retired.is_empty());
    retired.into_iter().try_for_each(Retired::run).expect("files to remove");
    assert!(cleaning.is_outdated());
    let refused = loop {
        match cleaning.step(100) {
            Ok(Step::Working { .. }) => {}
            Ok(Step::Swap(swap)) => break world.log.swap_cleaned(*swap, world.now_ms).is_err(),
            Ok(Step::Done(_)) => break false,
            Err(_) => break true,
        }
    };
    assert!(refused, "it is made of what is gone");
    assert!(!world.log.is_offline());
    assert_eq!(world.unfinished(), [""; 0]);
    world.put_keys(&[("on", Some("1"))]);
}
