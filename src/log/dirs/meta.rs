//! `meta.properties`: whose directory this is. A Java properties file, read as Kafka reads it: versions 0 and 1,
//! unknown keys left alone.

use super::{DirError, read_bytes};
use crate::disk::Disk;
use ottla_model::config::parse_properties;
use ottla_model::{DirectoryId, NodeId, uuid_from_base64, uuid_to_base64};
use std::fmt::Write;
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: NodeId,
    /// None in a directory that was formatted before KIP-858.
    pub directory_id: Option<DirectoryId>,
}

impl MetaProperties {
    /// None if the directory is not formatted.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<MetaProperties>, DirError> {
        Ok(MetaProperties::read_versioned(disk, dir)?.map(|(meta, _)| meta))
    }

    /// The same with the file's version: 0 is of ZooKeeper's time.
    pub fn read_versioned(disk: &dyn Disk, dir: &Path) -> Result<Option<(MetaProperties, u8)>, DirError> {
        let path = dir.join(FILE);
        let Some(bytes) = read_bytes(disk, &path, BYTES_MAX)? else { return Ok(None) };
        let pairs = parse_properties(&bytes).map_err(|e| DirError::malformed(&path, e.line, e.what))?;
        let value = |key: &str| pairs.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.trim());
        let wrong = |key: &str, what: String| DirError::malformed(&path, line_of(&bytes, key), what);

        let (node_key, version) = match value("version") {
            Some("1") => ("node.id", 1),
            // Of ZooKeeper's time; Kafka still reads it.
            Some("0") | None => ("broker.id", 0),
            Some(other) => return Err(wrong("version", format!("version is {other}, 0 and 1 are known"))),
        };
        let needed = |key: &str| value(key).ok_or_else(|| wrong(key, format!("{key} is missing")));
        let cluster_id = needed("cluster.id")?.to_owned();
        let node_id = match needed(node_key)?.parse() {
            Ok(id) if id >= 0 => NodeId(id),
            _ => return Err(wrong(node_key, format!("{node_key} is not a node id"))),
        };
        let directory_id = match value("directory.id") {
            None => None,
            Some(id) => match uuid_from_base64(id) {
                Some(id) if id.as_u128() >= IDS_RESERVED => Some(id),
                _ => {
                    return Err(wrong(
                        "directory.id",
                        format!("directory.id {id} is not an id, or a reserved one"),
                    ));
                }
            },
        };
        Ok(Some((MetaProperties { cluster_id, node_id, directory_id }, version)))
    }

    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), DirError> {
        Ok(disk.replace(&dir.join(FILE), self.to_text().as_bytes())?)
    }

    fn to_text(&self) -> String {
        let mut text =
            format!("#\nversion=1\ncluster.id={}\nnode.id={}\n", escaped(&self.cluster_id), self.node_id);
        if let Some(id) = self.directory_id {
            text.push_str(&format!("directory.id={}\n", uuid_to_base64(id)));
        }
        text
    }
}

/// Where the key is, or would be.
fn line_of(bytes: &[u8], key: &str) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let found = text.lines().position(|line| line.trim_start().starts_with(key));
    1 + found.unwrap_or(text.lines().count())
}

/// As Java writes a value; it reads it back whatever was in it.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '\\' | ':' | '=' | '#' | '!' | ' ' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04X}");
            }),
        }
    }
    text
}

const FILE: &str = "meta.properties";
const BYTES_MAX: u64 = 1 << 20;
/// Kafka keeps the first hundred ids for itself.
const IDS_RESERVED: u128 = 100;
