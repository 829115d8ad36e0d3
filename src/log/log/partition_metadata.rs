//! `partition.metadata`: which topic a partition's folder belongs to. It must never invent an id.

use std::io;
use std::path::Path;

use ottla_model::{TopicId, uuid_from_base64, uuid_to_base64};

use super::error::{LogError, io as io_error};
use super::files::PARTITION_METADATA;
use crate::Disk;

/// The topic id of the folder. If the file has one, it must not differ from what is `expected`. If it has none, the
/// expected id is written to it.
pub(super) fn settle(
    disk: &dyn Disk,
    dir: &Path,
    expected: Option<TopicId>,
) -> Result<Option<TopicId>, LogError> {
    let path = dir.join(PARTITION_METADATA);
    let found = match disk.read_to_vec(&path) {
        Ok(bytes) => parse(&bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(io_error("reading a topic id")(e)),
    };
    match (found, expected) {
        (Some(found), Some(expected)) if found != expected => {
            Err(LogError::TopicId { path, found, expected })
        }
        (None, Some(expected)) => {
            disk.replace(&path, text(expected).as_bytes()).map_err(io_error("writing a topic id"))?;
            Ok(Some(expected))
        }
        (found, _) => Ok(found),
    }
}

/// The topic id in the folder's file, if it has one.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Option<TopicId> {
    parse(&disk.read_to_vec(&dir.join(PARTITION_METADATA)).ok()?)
}

fn text(id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", uuid_to_base64(id))
}

/// `None`: the file cannot be parsed, and is treated as if it did not exist.
fn parse(bytes: &[u8]) -> Option<TopicId> {
    let mut lines = str::from_utf8(bytes).ok()?.lines();
    // A later version of the file has all fields of this one.
    let version: i32 = lines.next()?.strip_prefix("version:")?.trim().parse().ok()?;
    let id = uuid_from_base64(lines.next()?.strip_prefix("topic_id:")?.trim())?;
    (version >= 0 && !id.is_nil()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemoryDisk, OpenHow};

    #[test]
    fn a_folder_belongs_to_one_topic() {
        let disk = MemoryDisk::new(1);
        let dir = Path::new("/t-0");
        disk.create_dir_all(dir).unwrap();
        let (one, two) = (TopicId::from_u128(1 << 100), TopicId::from_u128(2 << 100));
        assert_eq!(settle(&disk, dir, None).unwrap(), None);
        assert_eq!(settle(&disk, dir, Some(one)).unwrap(), Some(one));
        assert_eq!(settle(&disk, dir, None).unwrap(), Some(one));
        assert!(
            matches!(settle(&disk, dir, Some(two)), Err(LogError::TopicId { found, .. }) if found == one)
        );
        let file = disk.open(&dir.join(PARTITION_METADATA), OpenHow::CreateEmpty).unwrap();
        for broken in ["", "version: 0\n", "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA\n", "hello\nworld"] {
            file.truncate(0).unwrap();
            file.write_at(broken.as_bytes(), 0).unwrap();
            assert_eq!(settle(&disk, dir, None).unwrap(), None, "{broken:?}");
        }
        assert_eq!(settle(&disk, dir, Some(two)).unwrap(), Some(two));
    }

    #[test]
    fn the_text_is_kafkas() {
        assert_eq!(text(TopicId::from_u128(1)), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
    }
}
