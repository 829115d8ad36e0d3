//! Files of the real disk that are closed and opened again without their users noticing.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::super::{Disk, DiskFile, OpenHow, RealDisk};

struct Place {
    disk: RealDisk,
    dir: tempfile::TempDir,
}

impl Place {
    /// A disk that keeps at most `most` files open.
    fn new(most: usize) -> Place {
        Place { disk: RealDisk::with_open_files(most), dir: tempfile::tempdir().expect("a folder") }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A file whose contents are its name.
    fn file(&self, name: &str) -> Arc<dyn DiskFile> {
        let file = self.disk.open(&self.at(name), OpenHow::CreateNew).expect("a new file");
        file.write_at(name.as_bytes(), 0).expect("it is written");
        file
    }

    /// Makes the disk close every file that it may close.
    fn forget_all(&self) {
        let passing: Vec<_> = (0..2 * OPEN).map(|n| self.file(&format!("passing-{n}"))).collect();
        drop(passing);
        (0..2 * OPEN)
            .for_each(|n| self.disk.remove_file(&self.at(&format!("passing-{n}"))).expect("it goes"));
    }
}

const OPEN: usize = 4;

fn text(file: &Arc<dyn DiskFile>) -> Result<String, ErrorKind> {
    let mut bytes = vec![0; 100];
    let read = file.read_full_at(&mut bytes, 0).map_err(|error| error.kind())?;
    bytes.truncate(read);
    Ok(String::from_utf8(bytes).expect("text"))
}

#[test]
fn many_files_are_used_while_few_are_open() {
    let place = Place::new(OPEN);
    let files: Vec<_> = (0..100).map(|n| place.file(&format!("f{n}"))).collect();
    for round in 0..3 {
        for (n, file) in files.iter().enumerate() {
            assert_eq!(text(file), Ok(format!("f{n}")), "round {round}");
            assert!(place.disk.handles.open_files() <= OPEN);
        }
    }
    files.iter().for_each(|file| file.sync().expect("it is synced"));
    drop(files);
    assert_eq!(place.disk.handles.open_files(), 0);
}

#[test]
fn what_is_used_stays_open() {
    let place = Place::new(OPEN);
    let (often, others) =
        (place.file("often"), (0..50).map(|n| place.file(&format!("f{n}"))).collect::<Vec<_>>());
    text(&often).expect("it is opened");
    // Removed without the disk's knowledge: once closed, the file could not be opened again.
    std::fs::remove_file(place.at("often")).expect("it goes");
    for file in &others {
        assert_eq!(text(&often), Ok("often".into()));
        text(file).expect("it is read");
    }
}

#[test]
fn a_file_follows_its_names() {
    let place = Place::new(OPEN);
    place.disk.create_dir_all(&place.at("a/b")).expect("folders");
    place.disk.create_dir_all(&place.at("a-b")).expect("a folder whose name only begins alike");
    let (file, other) = (place.file("a/b/f"), place.file("a-b/f"));
    place.forget_all();
    place.disk.rename(&place.at("a/b/f"), &place.at("a/b/g")).expect("it is renamed");
    assert_eq!(text(&file), Ok("a/b/f".into()));
    place.disk.rename(&place.at("a"), &place.at("c")).expect("its folder is renamed");
    place.forget_all();
    assert_eq!((text(&file), text(&other)), (Ok("a/b/f".into()), Ok("a-b/f".into())));
    file.write_at(b"new", 0).expect("it is written");
    assert_eq!(place.disk.read_to_vec(&place.at("c/b/g")).expect("it is there"), b"new/f");
}

#[test]
fn a_file_without_a_name_is_still_read() {
    type Taken = fn(&Place);
    let ways: [(&str, Taken); 3] = [
        ("removed", |place| place.disk.remove_file(&place.at("d/f")).expect("it goes")),
        ("replaced", |place| {
            drop(place.file("d/g"));
            place.disk.rename(&place.at("d/g"), &place.at("d/f")).expect("it gives way");
        }),
        ("its folder removed", |place| place.disk.remove_dir_all(&place.at("d")).expect("all goes")),
    ];
    for (how, take) in ways {
        let place = Place::new(OPEN);
        place.disk.create_dir_all(&place.at("d")).expect("a folder");
        let file = place.file("d/f");
        place.forget_all();
        take(&place);
        place.forget_all();
        assert_eq!(text(&file), Ok("d/f".into()), "{how}");
    }
}

#[test]
fn another_file_of_its_name_is_not_taken_for_it() {
    let place = Place::new(OPEN);
    let file = place.file("f");
    place.forget_all();
    // Renamed without the disk's knowledge.
    std::fs::rename(place.at("f"), place.at("elsewhere")).expect("it is renamed");
    assert_eq!(text(&file), Err(ErrorKind::NotFound));
    std::fs::write(place.at("f"), "somebody else's").expect("another one");
    assert_eq!(text(&file), Err(ErrorKind::NotFound));
    std::fs::rename(place.at("elsewhere"), place.at("f")).expect("it is back");
    assert_eq!(text(&file), Ok("f".into()));
}

#[test]
fn a_file_for_later_is_opened_with_its_first_use() {
    let place = Place::new(OPEN);
    drop(place.file("f"));
    let file = place.disk.open_later(&place.at("f")).expect("nothing is done");
    assert_eq!(place.disk.handles.open_files(), 0);
    place.disk.rename(&place.at("f"), Path::new(&place.at("g"))).expect("it is renamed");
    assert_eq!(text(&file), Ok("f".into()));
    assert_eq!(place.disk.handles.open_files(), 1);
}

#[test]
fn threads_that_use_many_files_at_once_find_each_its_own() {
    let place = Place::new(OPEN);
    let files: Vec<_> = (0..20).map(|n| place.file(&format!("f{n}"))).collect();
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (files, place) = (&files, &place);
            scope.spawn(move || {
                for n in 0..2_000 {
                    let at = (start * 7 + n * 3) % files.len();
                    assert_eq!(text(&files[at]), Ok(format!("f{at}")));
                    if start == 0 {
                        let (from, to) = if n % 2 == 0 { ("f0", "g0") } else { ("g0", "f0") };
                        place.disk.rename(&place.at(from), &place.at(to)).expect("it is renamed");
                    }
                }
            });
        }
    });
}

#[test]
fn the_kernel_copies_a_file_to_a_socket() {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    let place = Place::new(OPEN);
    let file = place.file("abcdef");
    place.forget_all();
    let (here, mut there) = UnixStream::pair().expect("two sockets");
    here.set_nonblocking(true).expect("it does not wait");
    assert_eq!(file.send(here.as_fd(), 2, 3).expect("it is sent"), Some(3));
    assert_eq!(file.send(here.as_fd(), 6, 3).expect("the file ends there"), Some(0));
    let mut got = [0; 3];
    there.read_exact(&mut got).expect("it arrives");
    assert_eq!(&got, b"cde");
    // Sends until the socket is full.
    let refused = (0..100_000).find_map(|_| file.send(here.as_fd(), 0, 6).err()).expect("nobody reads it");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
}
