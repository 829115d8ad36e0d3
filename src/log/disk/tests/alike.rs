//! Runs one script on both disks, which must give the same answers.

use super::super::{Disk, MemoryDisk, OpenHow, RealDisk};
use std::io::{ErrorKind, IoSlice};
use std::path::Path;

/// The answer of each step.
fn play(disk: &dyn Disk, root: &Path) -> Vec<String> {
    let at = |name: &str| root.join(name);
    let mut said: Vec<String> = Vec::new();
    let mut say = |what: &str, answer: String| said.push(format!("{what}: {answer}"));
    let kind = |answer: std::io::Result<()>| format!("{:?}", answer.map_err(|e| e.kind()));
    let opened = |path: &str, how| kind(disk.open(&at(path), how).map(drop));

    say("open what is not there", opened("a", OpenHow::Read));
    say("list what is not there", kind(disk.list(&at("topic-0")).map(drop)));
    say("create in no folder", opened("topic-0/a", OpenHow::Create));
    say("folders", kind(disk.create_dir_all(&at("topic-0/deep"))));
    say("again", kind(disk.create_dir_all(&at("topic-0/deep"))));
    say("create", opened("topic-0/a", OpenHow::CreateNew));
    say("create twice", opened("topic-0/a", OpenHow::CreateNew));
    say("folder under a file", kind(disk.create_dir_all(&at("topic-0/a/b"))));
    say("folder where a file is", kind(disk.create_dir_all(&at("topic-0/a"))));

    let a = disk.open(&at("topic-0/a"), OpenHow::Write).unwrap();
    say(
        "write",
        kind(a.write_vectored_at(&[IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")], 2)),
    );
    say("nothing", kind(a.write_vectored_at(&[], 100)));
    say("len", format!("{:?}", a.len().unwrap()));
    let mut buf = [b'.'; 12];
    say("read", format!("{:?} {:?}", a.read_full_at(&mut buf, 0).unwrap(), buf));
    say("read at the end", format!("{:?}", a.read_at(&mut buf, 8).unwrap()));
    say("read past the end", format!("{:?}", a.read_at(&mut buf, 9_999).unwrap()));
    say("exactly", kind(a.read_exact_at(&mut buf, 0)));
    say("shorter", kind(a.truncate(3)));
    say("longer", kind(a.truncate(5)));
    say("all", format!("{:?}", disk.read_to_vec(&at("topic-0/a")).unwrap()));
    say("sync", kind(a.sync()));
    let reader = disk.open(&at("topic-0/a"), OpenHow::Read).unwrap();
    say("write where one may only read", format!("{}", reader.write_at(b"x", 0).is_err()));

    say("rename", kind(disk.rename(&at("topic-0/a"), &at("topic-0/b"))));
    say("rename what is not there", kind(disk.rename(&at("topic-0/a"), &at("topic-0/c"))));
    say("an open file follows", kind(a.write_at(b"!", 0)));
    say("its bytes", format!("{:?}", disk.read_to_vec(&at("topic-0/b")).unwrap()));
    say("keep", opened("topic-0/b", OpenHow::Create));
    say("kept", format!("{:?}", disk.read_to_vec(&at("topic-0/b")).unwrap().len()));
    say("empty", opened("topic-0/b", OpenHow::CreateEmpty));
    say("emptied", format!("{:?}", disk.read_to_vec(&at("topic-0/b")).unwrap().len()));
    say("replace", kind(disk.replace(&at("topic-0/c"), b"first")));
    say("replace again", kind(disk.replace(&at("topic-0/c"), b"2")));
    say("replaced", format!("{:?}", disk.read_to_vec(&at("topic-0/c")).unwrap()));
    say("list", format!("{:?}", disk.list(&at("topic-0")).unwrap()));
    say("exists", format!("{} {}", disk.exists(&at("topic-0/c")), disk.exists(&at("topic-0/c.tmp"))));

    say("remove an open file", kind(disk.remove_file(&at("topic-0/b"))));
    say("it still writes", kind(a.write_at(b"alive", 0)));
    say("and reads", format!("{:?} {:?}", a.read_full_at(&mut buf, 0).unwrap(), &buf[..5]));
    say("remove it twice", kind(disk.remove_file(&at("topic-0/b"))));
    say("remove a folder as a file", format!("{}", disk.remove_file(&at("topic-0/deep")).is_err()));
    say(
        "folder onto a full one",
        kind(disk.create_dir_all(&at("x")).and_then(|()| disk.rename(&at("x"), &at("topic-0")))),
    );
    say("folder onto an empty one", kind(disk.rename(&at("x"), &at("topic-0/deep"))));
    say("folder into itself", kind(disk.rename(&at("topic-0"), &at("topic-0/deep/y"))));
    say("folder", kind(disk.rename(&at("topic-0"), &at("topic-0.1-delete"))));
    say("its files follow", format!("{:?}", disk.read_to_vec(&at("topic-0.1-delete/c")).unwrap()));
    say("sync folder", kind(disk.sync_dir(root)));
    say("sync no folder", kind(disk.sync_dir(&at("topic-0"))));
    say("remove all", kind(disk.remove_dir_all(&at("topic-0.1-delete"))));
    say("left", format!("{:?}", disk.list(root).unwrap()));

    let lock = disk.lock(&at(".lock"));
    say("lock", format!("{}", lock.is_ok()));
    say("lock twice", kind(disk.lock(&at(".lock")).map(drop)));
    drop(lock);
    say("lock once it is free", kind(disk.lock(&at(".lock")).map(drop)));
    say("room", format!("{}", disk.free_bytes(root).unwrap() > 0));
    said
}

#[test]
fn both_disks_answer_alike() {
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryDisk::new(7);
    memory.create_dir_all(Path::new("/data")).unwrap();
    let (real, memory) = (play(&RealDisk::with_open_files(1), dir.path()), play(&memory, Path::new("/data")));
    for (real, memory) in real.iter().zip(&memory) {
        assert_eq!(real, memory, "real first");
    }
    assert_eq!(real.len(), memory.len());
}

#[test]
fn more_buffers_than_one_call_takes_arrive_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = RealDisk::default().open(&path, OpenHow::CreateNew).unwrap();
    let pieces: Vec<[u8; 4]> = (0..5_000_u32).map(u32::to_be_bytes).collect();
    let bufs: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    file.write_vectored_at(&bufs, 3).unwrap();
    assert_eq!(RealDisk::default().read_to_vec(&path).unwrap()[3..], pieces.concat());
}

#[test]
fn an_error_names_the_operation_and_the_path_and_keeps_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("00000000000000000000.log");
    let error = RealDisk::default().open(&missing, OpenHow::Read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with(&format!("open {}: ", missing.display())), "{error}");
}
