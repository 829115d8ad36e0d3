//! The checkpoint entries of logs that are not open, and what a kill leaves of moves.

use std::path::Path;

use ottla_core::partition::Followership;
use ottla_log::disk::MemoryDisk;
use ottla_log::moves::Unfinished;
use ottla_model::config::{Sources, load};
use ottla_node::lane::Role;
use ottla_protocol::LeaderEpoch;

use super::*;

const CHECKPOINTS: [(Checkpoint, &str); 4] = [
    (Checkpoint::RecoveryPoint, "/data/recovery-point-offset-checkpoint"),
    (Checkpoint::LogStart, "/data/log-start-offset-checkpoint"),
    (Checkpoint::HighWatermark, "/data/replication-offset-checkpoint"),
    (Checkpoint::Cleaner, "/data/cleaner-offset-checkpoint"),
];

fn storage(disk: &MemoryDisk) -> Storage {
    storage_in(disk, "/data")
}

fn storage_in(disk: &MemoryDisk, log_dirs: &str) -> Storage {
    let overrides = [("node.id".to_owned(), "1".to_owned()), ("log.dirs".to_owned(), log_dirs.to_owned())];
    let (config, _) = load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration");
    Storage::open(Arc::new(disk.clone()), &config, None).expect("storage")
}

#[test]
fn what_is_known_of_a_log_that_is_not_open_stays_known_while_its_folder_is_there() {
    let disk = MemoryDisk::new(1);
    drop(storage(&disk));
    disk.create_dir_all(Path::new("/data/t-0")).expect("a folder");
    for (_, path) in CHECKPOINTS {
        disk.replace(Path::new(path), b"0\n1\nt 0 7\n").expect("a checkpoint");
    }
    let read =
        |path| String::from_utf8(disk.read_to_vec(Path::new(path)).expect("a checkpoint")).expect("text");
    let storage = storage(&disk);
    for (which, path) in CHECKPOINTS {
        // No partition is open: for example, its log is corrupt and waits for an operator.
        assert!(storage.checkpoint(which, &Partitions::default()), "{path}");
        assert_eq!(read(path), "0\n1\nt 0 7\n", "{path}");
    }
    disk.remove_dir_all(Path::new("/data/t-0")).expect("it goes");
    for (which, path) in CHECKPOINTS {
        assert!(storage.checkpoint(which, &Partitions::default()), "{path}");
        assert_eq!(read(path), "0\n0\n", "{path}: a namesake begins anew");
    }
}

/// The log that was written to last counts, not the larger files: a copy has other segments than the original.
#[test]
fn what_a_kill_has_left_of_moves_is_put_in_order() {
    let disk = MemoryDisk::new(1);
    let write = |path: &str, bytes: &[u8]| {
        let path = Path::new(path);
        disk.create_dir_all(path.parent().expect("a folder")).expect("a folder");
        disk.replace(path, bytes).expect("a file");
    };
    let names = |dir: &str| -> Vec<String> {
        disk.list(Path::new(dir))
            .expect("it is there")
            .into_iter()
            .filter(|e| e.is_dir)
            .map(|e| e.name)
            .collect()
    };
    drop(storage_in(&disk, "/a,/b"));
    // Both are live: the newer leader epoch is in the second one.
    write("/a/t-0/leader-epoch-checkpoint", b"0\n1\n2 0\n");
    write("/a/t-0/00000000000000000900.log", b"");
    write("/b/t-0/leader-epoch-checkpoint", b"0\n2\n2 0\n3 700\n");
    write("/b/t-0/00000000000000000000.log", b"");
    // A half-made copy of a log that exists, and of one that does not.
    write("/a/u-0/00000000000000000000.log", b"");
    write("/b/u-0.0123456789abcdef0123456789abcdef-future/00000000000000000000.log", b"half");
    write("/b/v-0.0123456789abcdef0123456789abcdef-future/00000000000000000000.log", b"half");
    let storage = storage_in(&disk, "/a,/b");
    assert!(
        names("/a").iter().any(|name| name.starts_with("t-0.") && name.ends_with("-stray")),
        "{:?}",
        names("/a")
    );
    assert!(!names("/a").contains(&"t-0".to_owned()));
    assert!(names("/b").contains(&"t-0".to_owned()));
    let copy = Path::new("/b/u-0.0123456789abcdef0123456789abcdef-future");
    assert_eq!(
        storage.unfinished_moves(),
        [Unfinished { partition: TopicPartition::new("u", 0), folder: copy.to_owned() }]
    );
    assert!(disk.list(copy).expect("it stays, so that the move is known").is_empty());
    assert_eq!(
        disk.list(Path::new("/b/v-0.0123456789abcdef0123456789abcdef-future")).expect("it is there").len(),
        1
    );
}

#[test]
fn what_has_vanished_from_a_healthy_directory_is_made_anew_there_though_another_one_has_failed() {
    let storage = storage_in(&MemoryDisk::new(1), "/a,/b,/c");
    let id = |dir: &str| storage.directory_id(Path::new(dir));
    storage.dirs[0].volume.fail("a test");
    let opened = |partition, last_owner, directory| {
        let id = TopicPartition { topic: "t".into(), partition };
        let followership = Followership { epoch: LeaderEpoch(0), partition_epoch: 0, leader: None };
        let (topic, config) = (TopicId::from_u128(1), Arc::default());
        let role = Role::Follower(followership);
        let opening = replicas::Opening { topic, id, role, config, last_owner, directory };
        storage.open_log(&opening).ok().map(|(log, _)| log.dir().to_owned())
    };
    let rows = [
        (LastOwner::Process, id("/c"), Some("/c/t-0")),
        (LastOwner::Process, id("/b"), Some("/b/t-1")),
        // It may be there, with all its records.
        (LastOwner::Process, id("/a"), None),
        (LastOwner::Process, None, None),
        (LastOwner::Nobody, None, Some("/b/t-4")),
    ];
    for (partition, (last_owner, directory, expected)) in (0..).zip(rows) {
        assert_eq!(opened(partition, last_owner, directory).as_deref(), expected.map(Path::new));
    }
}
