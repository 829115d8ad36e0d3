//! What the checkpoint files say of logs that are not open.

use std::path::Path;

use ottla_log::disk::MemoryDisk;
use ottla_model::config::{Sources, load};

use super::*;

const CHECKPOINTS: [(Checkpoint, &str); 4] = [
    (Checkpoint::RecoveryPoint, "/data/recovery-point-offset-checkpoint"),
    (Checkpoint::LogStart, "/data/log-start-offset-checkpoint"),
    (Checkpoint::HighWatermark, "/data/replication-offset-checkpoint"),
    (Checkpoint::Cleaner, "/data/cleaner-offset-checkpoint"),
];

fn storage(disk: &MemoryDisk) -> Storage {
    let overrides = [("node.id".to_owned(), "1".to_owned()), ("log.dirs".to_owned(), "/data".to_owned())];
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
        // No partition is open: its log is corrupt, say, and waits for somebody to look at it.
        assert!(storage.checkpoint(which, &Partitions::default()), "{path}");
        assert_eq!(read(path), "0\n1\nt 0 7\n", "{path}");
    }
    disk.remove_dir_all(Path::new("/data/t-0")).expect("it goes");
    for (which, path) in CHECKPOINTS {
        assert!(storage.checkpoint(which, &Partitions::default()), "{path}");
        assert_eq!(read(path), "0\n0\n", "{path}: a namesake begins anew");
    }
}
