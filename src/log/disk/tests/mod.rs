//! Both disks behave alike, and the in-memory one loses what its model says.

mod alike;
mod cached;
mod crash;
mod fault;
mod handles;

use super::{Disk, DiskFile, MemoryDisk, OpenHow};
use std::path::Path;
use std::sync::Arc;

fn open(disk: &dyn Disk, path: &str, how: OpenHow) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), how).unwrap()
}

/// A disk with a folder and a file in it, both durable.
fn settled(bytes: &[u8]) -> (MemoryDisk, Arc<dyn DiskFile>) {
    let disk = MemoryDisk::new(1);
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = open(&disk, "/d/f", OpenHow::CreateNew);
    file.write_at(bytes, 0).unwrap();
    disk.write_back();
    (disk, file)
}
