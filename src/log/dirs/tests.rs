//! A log directory from formatting to the next owner, and every way in which its files can be wrong.

use super::*;
use crate::disk::{Fault, MemoryDisk, Operation, RealDisk};
use ottla_model::uuid_from_base64;
use uuid::Uuid;

const DIR: &str = "/data/log";
const NODE: NodeId = NodeId(3);

fn meta() -> MetaProperties {
    let directory_id = uuid_from_base64("X049LBsKSYeGhYSDgoGAfw");
    MetaProperties { cluster_id: "cluster".into(), node_id: NODE, directory_id }
}

fn formatted() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    format(&disk, Path::new(DIR), &meta()).unwrap();
    disk
}

fn open_as(disk: &MemoryDisk, cluster_id: &str, node_id: NodeId) -> Result<LogDir, DirError> {
    LogDir::open(Arc::new(disk.clone()), Path::new(DIR), Expected { cluster_id: Some(cluster_id), node_id })
}

fn open(disk: &MemoryDisk) -> LogDir {
    open_as(disk, "cluster", NODE).unwrap()
}

fn put(disk: &dyn Disk, name: &str, bytes: impl AsRef<[u8]>) {
    disk.replace(&Path::new(DIR).join(name), bytes.as_ref()).unwrap();
}

fn text(disk: &dyn Disk, name: &str) -> String {
    String::from_utf8(disk.read_to_vec(&Path::new(DIR).join(name)).unwrap()).unwrap()
}

fn offsets(each: &[(&str, i32, Offset)]) -> BTreeMap<TopicPartition, Offset> {
    each.iter().map(|(topic, partition, offset)| (TopicPartition::new(*topic, *partition), *offset)).collect()
}

#[test]
fn a_directory_is_formatted_once_and_that_outlives_power() {
    let disk = formatted();
    let expected = "#\nversion=1\ncluster.id=cluster\nnode.id=3\ndirectory.id=X049LBsKSYeGhYSDgoGAfw\n";
    for seed in 0..50 {
        let disk = disk.fork(seed);
        disk.crash();
        assert_eq!(text(&disk, "meta.properties"), expected);
    }
    let again = format(&disk, Path::new(DIR), &meta()).unwrap_err();
    assert_eq!(again.to_string(), "/data/log is already formatted, for node 3 of cluster cluster");
    assert_eq!(open(&disk).meta(), &meta());
}

#[test]
fn a_directory_that_is_not_ours_is_refused_in_one_line() {
    let disk = formatted();
    let wrong = open_as(&disk, "other", NODE).unwrap_err().to_string();
    assert_eq!(wrong, "Invalid cluster.id in /data/log/meta.properties: expected other, but read cluster");
    let wrong = open_as(&disk, "cluster", NodeId(4)).unwrap_err().to_string();
    assert!(
        wrong.starts_with("Invalid node.id in /data/log/meta.properties: expected 4, but read 3;"),
        "{wrong}"
    );
    assert!(!wrong.contains('\n') && !wrong.contains("  "), "{wrong}");

    let bare = MemoryDisk::new(1);
    bare.create_dir_all(Path::new(DIR)).unwrap();
    let wrong = open_as(&bare, "cluster", NODE).unwrap_err().to_string();
    assert!(wrong.starts_with("No meta.properties found in /data/log ("), "{wrong}");

    let held = open(&disk);
    let wrong = open_as(&disk, "cluster", NODE).unwrap_err().to_string();
    assert_eq!(
        wrong,
        "Failed to acquire lock on file .lock in /data/log. A Kafka/Ottla instance in another process or thread \
         is using this directory."
    );
    drop(held);
    let held = open(&disk);
    disk.kill();
    open(&disk);
    drop(held);
}

#[test]
fn the_real_lock_holds_too() {
    let dir = tempfile::tempdir().unwrap();
    format(&RealDisk::default(), dir.path(), &meta()).unwrap();
    let open = || {
        LogDir::open(Arc::new(RealDisk::default()), dir.path(), Expected { cluster_id: None, node_id: NODE })
    };
    let held = open().unwrap();
    assert!(matches!(open(), Err(DirError::Locked { .. })));
    drop(held);
    open().unwrap();
}

#[test]
fn meta_properties_is_read_as_java_would() {
    let good = [
        "version=1\ncluster.id=cluster\nnode.id=3\ndirectory.id=X049LBsKSYeGhYSDgoGAfw\n",
        "#\n#Sat Nov 22 05:57:00 UTC 2025\ndirectory.id=X049LBsKSYeGhYSDgoGAfw\r\nnode.id = 3\r\nversion : 1\r\ncluster.id cluster",
        "version=1\ncluster.id=clu\\\n  ster\nnode.id=9\nnode.id=3\nunknown=x\ndirectory.id=X049LBsKSYeGhYSDgoGAfw",
        "broker.id=3\ncluster.id=cl\\u0075ster\ndirectory.id=X049LBsKSYeGhYSDgoGAfw",
    ];
    for text in good {
        let disk = formatted();
        put(&disk, "meta.properties", text);
        assert_eq!(open(&disk).meta(), &meta(), "{text}");
    }
    let odd = MetaProperties { cluster_id: "a b=c:#!\\ é\n😀".into(), ..meta() };
    let disk = MemoryDisk::new(1);
    format(&disk, Path::new(DIR), &odd).unwrap();
    assert_eq!(MetaProperties::read(&disk, Path::new(DIR)).unwrap(), Some(odd));
}

#[test]
fn a_damaged_meta_properties_names_its_line() {
    let rows: &[(&[u8], usize, &str)] = &[
        (b"", 1, "cluster.id is missing"),
        (b"version=1\nnode.id=3\n", 3, "cluster.id is missing"),
        (b"version=1\ncluster.id=cluster\n", 3, "node.id is missing"),
        (b"version=1\ncluster.id=cluster\nbroker.id=3", 4, "node.id is missing"),
        (b"cluster.id=cluster\nnode.id=3", 3, "broker.id is missing"),
        (b"version=1\ncluster.id=cluster\nnode.id=three", 3, "node.id is not"),
        (b"version=1\ncluster.id=cluster\nnode.id=-1", 3, "node.id is not"),
        (b"cluster.id=cluster\nversion=2\nnode.id=3", 2, "version is 2"),
        (b"version=1\ncluster.id=cluster\nnode.id=3\ndirectory.id=x", 4, "directory.id x"),
        (b"version=1\ncluster.id=cluster\nnode.id=3\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ", 4, "reserved"),
        (b"version=1\ncluster.id=\\u12", 2, "\\u"),
        (b"version=1\n# \xff\ncluster.id=\xff\n", 4, "node.id is missing"),
        (&[b'\n'; (1 << 20) + 1], 1, "bytes"),
    ];
    for (bytes, line, says) in rows {
        let disk = formatted();
        put(&disk, "meta.properties", bytes);
        let error = open_as(&disk, "cluster", NODE).unwrap_err().to_string();
        assert!(error.starts_with(&format!("/data/log/meta.properties, line {line}: ")), "{error}");
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn meta_properties_are_read_as_java_reads_them() {
    let disk = formatted();
    put(&disk, "meta.properties", b"#\xbf\xad\nversion : 1\rcluster.id=clust\xe9\\\r\n  \\u00E9r\nnode.id 3");
    let meta = MetaProperties::read(&disk, Path::new(DIR)).expect("readable").expect("formatted");
    assert_eq!((meta.cluster_id.as_str(), meta.node_id), ("clustéér", NODE));
}

#[test]
fn a_directory_without_id_gets_one_and_keeps_it() {
    let disk = formatted();
    put(&disk, "meta.properties", "version=1\ncluster.id=cluster\nnode.id=3\n");
    let mut dir = open(&disk);
    assert_eq!(dir.meta().directory_id, None);
    let (first, second) = (Uuid::from_u128(1000), Uuid::from_u128(2000));
    assert_eq!(dir.adopt_id(first).unwrap(), first);
    assert_eq!(dir.adopt_id(second).unwrap(), first);
    disk.crash();
    assert_eq!(open(&disk).meta().directory_id, Some(first));
}

#[test]
fn a_broker_has_stopped_cleanly_if_all_its_directories_say_so() {
    let mark = |epoch| Some(CleanShutdown { epoch: BrokerEpoch(epoch) });
    let rows = [
        (vec![mark(4)], Some(4)),
        (vec![mark(4), mark(4)], Some(4)),
        (vec![mark(4), mark(5)], None),
        (vec![mark(4), None], None),
        (vec![None, mark(4)], None),
        (vec![], None),
    ];
    for (marks, expected) in rows {
        let agreed = CleanShutdown::epoch_of_all(marks.clone().into_iter());
        assert_eq!(agreed, expected.map(BrokerEpoch), "{marks:?}");
    }
}

#[test]
fn a_clean_shutdown_is_believed_once() {
    let disk = formatted();
    let dir = open(&disk);
    assert_eq!(dir.take_clean().unwrap(), None);
    dir.mark_clean(BrokerEpoch(42)).unwrap();
    assert_eq!(text(&disk, ".kafka_cleanshutdown"), "{\"version\":0,\"brokerEpoch\":42}");
    disk.crash();

    let dir = open(&disk);
    assert_eq!(dir.take_clean().unwrap(), Some(CleanShutdown { epoch: BrokerEpoch(42) }));
    for seed in 0..50 {
        let disk = disk.fork(seed);
        disk.crash();
        assert_eq!(open(&disk).take_clean().unwrap(), None, "the next start died half way");
    }

    dir.mark_clean(BrokerEpoch(1)).unwrap();
    disk.fail_next(Operation::SyncDir, Fault::Broken);
    assert!(dir.take_clean().is_err(), "a mark that may come back is not taken");
}

#[test]
fn only_a_mark_with_an_epoch_proves_anything() {
    let epoch = |epoch| Some(CleanShutdown { epoch: BrokerEpoch(epoch) });
    let rows: &[(&[u8], Option<CleanShutdown>)] = &[
        (b" { \"brokerEpoch\" : 7 , \"version\" : 1, \"new\": \"x\" }\n", epoch(7)),
        (b"{\"version\":0,\"brokerEpoch\":-1}", epoch(-1)),
        (b"", None),
        (b"{\"version\":0,\"brokerEp", None),
        (b"{\"version\":0}", None),
        (b"{\"version\":0,\"brokerEpoch\":null}", None),
        (b"\0\0\0\0\0\0\0\0", None),
        (b"\xff", None),
        (&[b' '; 5000], None),
    ];
    for (bytes, expected) in rows {
        let disk = formatted();
        put(&disk, ".kafka_cleanshutdown", bytes);
        let dir = open(&disk);
        assert_eq!(dir.take_clean().unwrap(), *expected, "{}", String::from_utf8_lossy(bytes));
        assert!(!disk.exists(&Path::new(DIR).join(".kafka_cleanshutdown")));
    }
}

#[test]
fn checkpoints_come_back_as_written() {
    let disk = formatted();
    let dir = open(&disk);
    let all =
        [Checkpoint::RecoveryPoint, Checkpoint::HighWatermark, Checkpoint::LogStart, Checkpoint::Cleaner];
    for (at, which) in all.into_iter().enumerate() {
        assert_eq!(dir.checkpoint(which).unwrap(), BTreeMap::new());
        let some = offsets(&[("b", 0, at as i64), ("a.b_c-9", 12, i64::MAX), ("a", 2, 0), ("a", 10, 5)]);
        dir.write_checkpoint(which, &some).unwrap();
        assert_eq!(dir.checkpoint(which).unwrap(), some);
        let expected = format!("0\n4\na 2 0\na 10 5\na.b_c-9 12 9223372036854775807\nb 0 {at}\n");
        assert_eq!(text(&disk, which.file()), expected);
    }
    disk.crash();
    assert_eq!(open(&disk).checkpoint(Checkpoint::LogStart).unwrap().len(), 4);
}

#[test]
fn checkpoints_are_read_with_patience() {
    type Entries = &'static [(&'static str, i32, Offset)];
    let rows: &[(&str, Entries)] = &[
        ("", &[]),
        ("0", &[]),
        ("0\n0\n", &[]),
        ("0\r\n1\r\na 0 7\r\n", &[("a", 0, 7)]),
        ("0\n1\na   0\t7", &[("a", 0, 7)]),
        ("0\n2\na 0 7\na 1 8\n\n", &[("a", 0, 7), ("a", 1, 8)]),
        ("0\n2\na 0 7\na 0 8\n", &[("a", 0, 8)]),
    ];
    for (text, expected) in rows {
        let disk = formatted();
        put(&disk, Checkpoint::HighWatermark.file(), text);
        let read = open(&disk).checkpoint(Checkpoint::HighWatermark).unwrap();
        assert_eq!(read, offsets(expected), "{text:?}");
    }
}

#[test]
fn a_damaged_checkpoint_names_its_line() {
    let rows: &[(&[u8], usize)] = &[
        (b"1\n0\n", 1),
        (b"\0\0\0\0", 1),
        (b"zero\n", 1),
        (b"0\nmany\n", 2),
        (b"0\n-1\n", 2),
        (b"0\n99999999999999999999\n", 2),
        (b"0\n4000000000\n", 2),
        (b"0\n2\na 0 7\n", 2),
        (b"0\n1\na 0 7\na 1 7\n", 2),
        (b"0\n1\na 0\n", 3),
        (b"0\n1\na 0 7 8\n", 3),
        (b"0\n2\na 0 7\na b 7\n", 4),
        (b"0\n1\na -1 7\n", 3),
        (b"0\n1\na 0 -7\n", 3),
        (b"0\n1\na 0 99999999999999999999\n", 3),
        (b"0\n1\n\xff 0 7\n", 3),
    ];
    for (bytes, line) in rows {
        let disk = formatted();
        put(&disk, Checkpoint::RecoveryPoint.file(), bytes);
        let error = open(&disk).checkpoint(Checkpoint::RecoveryPoint).unwrap_err().to_string();
        let start = format!("/data/log/recovery-point-offset-checkpoint, line {line}: ");
        assert!(error.starts_with(&start), "{}: {error}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_checkpoint_is_the_old_or_the_new_whenever_power_goes() {
    let disk = formatted();
    let (old, new) = (offsets(&[("a", 0, 1)]), offsets(&[("a", 0, 2), ("b", 0, 3)]));
    open(&disk).write_checkpoint(Checkpoint::RecoveryPoint, &old).unwrap();
    for seed in 0..200 {
        let disk = disk.fork(seed);
        disk.kill();
        let dir = open(&disk);
        disk.cut_power_after(seed % 6);
        let done = dir.write_checkpoint(Checkpoint::RecoveryPoint, &new).is_ok();
        disk.crash();
        let read = open(&disk).checkpoint(Checkpoint::RecoveryPoint).unwrap();
        assert!(read == new || (read == old && !done), "seed {seed}: {read:?}");
    }
}

#[test]
fn folders_are_told_apart_and_the_deleted_swept() {
    let disk = formatted();
    let unique = "0123456789abcdef0123456789abcdef";
    let marked = |suffix: &str| format!("t-1.{unique}-{suffix}");
    let names = ["a-b-0", "t-10", "t-9", "__cluster_metadata-0", "lost+found", "remote-log-index-cache"];
    let marks = ["delete", "future", "stray"].map(marked);
    for name in names.iter().copied().chain(marks.iter().map(String::as_str)) {
        disk.create_dir_all(&Path::new(DIR).join(name)).unwrap();
    }
    put(&disk, "file-0", "not a folder");
    let dir = open(&disk);
    let folders = dir.folders().unwrap();
    let at = |name: &str| Path::new(DIR).join(name);
    let folder = |topic: &str, partition, name: &str| Folder {
        partition: TopicPartition::new(topic, partition),
        path: at(name),
    };
    let expected = Folders {
        live: vec![folder("a-b", 0, "a-b-0"), folder("t", 10, "t-10"), folder("t", 9, "t-9")],
        future: vec![folder("t", 1, &marked("future"))],
        stray: vec![folder("t", 1, &marked("stray"))],
        deleted: vec![folder("t", 1, &marked("delete"))],
        unknown: vec![at("lost+found")],
    };
    assert_eq!(folders, expected);
    dir.sweep(&folders).unwrap();
    disk.crash();
    assert_eq!(open(&disk).folders().unwrap().deleted, []);
}

#[test]
fn what_could_not_be_forgotten_is_still_known() {
    let disk = formatted();
    let dir = open(&disk);
    let which = Checkpoint::LogStart;
    let all = offsets(&[("a", 0, 7), ("b", 1, 8)]);
    dir.write_checkpoint(which, &all).unwrap();
    let mut checkpoints = Checkpoints::read(&dir);
    let gone = TopicPartition::new("a", 0);
    disk.fail_next(Operation::Write, Fault::Full);
    assert!(checkpoints.forget(&dir, &gone).is_err());
    assert_eq!((checkpoints.says(which, &gone), dir.checkpoint(which).unwrap()), (Some(7), all));
    checkpoints.forget(&dir, &gone).unwrap();
    assert_eq!(checkpoints.says(which, &gone), None);
    assert_eq!(dir.checkpoint(which).unwrap(), offsets(&[("b", 1, 8)]));
}

#[test]
fn what_is_known_of_a_log_that_is_not_open_stays_while_its_folder_is_there() {
    let which = Checkpoint::LogStart;
    for (folder, stays) in [("here", true), ("gone", false)] {
        let disk = formatted();
        let dir = open(&disk);
        disk.create_dir_all(&Path::new(DIR).join("here-0")).unwrap();
        dir.write_checkpoint(which, &offsets(&[(folder, 0, 7)])).unwrap();
        let mut checkpoints = Checkpoints::read(&dir);
        checkpoints.write(&dir, which, offsets(&[("open", 0, 9)])).unwrap();
        let known = dir.checkpoint(which).unwrap().get(&TopicPartition::new(folder, 0)).copied();
        assert_eq!(known, stays.then_some(7), "{folder}");
    }
}

#[test]
fn a_checkpoint_is_written_only_when_it_says_something_new() {
    let disk = formatted();
    let dir = open(&disk);
    let mut checkpoints = Checkpoints::read(&dir);
    let which = Checkpoint::RecoveryPoint;
    checkpoints.write(&dir, which, offsets(&[("a", 0, 9)])).unwrap();
    disk.fail_next(Operation::Write, Fault::Broken);
    checkpoints.write(&dir, which, offsets(&[("a", 0, 9)])).unwrap();
    assert!(checkpoints.write(&dir, which, offsets(&[("a", 0, 10)])).is_err());
    assert_eq!(checkpoints.says(which, &TopicPartition::new("a", 0)), Some(9));
}

/// The name comes last: until then the next start finds a copy, and words about nothing.
#[test]
fn a_copy_goes_live_with_all_that_is_known_of_it() {
    let disk = formatted();
    put(&disk, Checkpoint::Cleaner.file(), "0\n2\nt 0 3\nu 0 4\n");
    let copy = Path::new(DIR).join("t-0.0123456789abcdef0123456789abcdef-future");
    disk.create_dir_all(&copy).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let live = Path::new(DIR).join("t-0");
    let id = TopicPartition::new("t", 0);
    let arrival = Arrival { recovery_point: 9, log_start: 2, cleaned: None };
    for seed in 0..100 {
        let disk = disk.fork(seed);
        disk.kill();
        let dir = open(&disk);
        let mut checkpoints = Checkpoints::read(&dir);
        disk.cut_power_after(seed % 20);
        let done = checkpoints.go_live(&dir, &copy, &id, arrival).is_ok();
        disk.crash();
        let dir = open(&disk);
        let checkpoints = Checkpoints::read(&dir);
        assert!(disk.exists(&live) != disk.exists(&copy), "seed {seed}");
        assert!(disk.exists(&live) || !done, "seed {seed}");
        if disk.exists(&live) {
            let says = [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::Cleaner]
                .map(|which| checkpoints.says(which, &id));
            assert_eq!(says, [Some(9), Some(2), None], "seed {seed}");
        }
    }
}
