//! What is in the directories of a broker that is not running, and whether a start can take it over. `ottla storage
//! check` lists all of it, the start asks only for the reasons to stop. Both call [`stops`], so that a start refuses
//! exactly what the check reports. It only reads, and must never write anything.

mod content;
mod judge;
mod metadata;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ottla_model::config::BrokerConfig;

pub use content::{Content, Folder, Kind};
pub use judge::{Stop, stops};
pub use metadata::{Metadata, Problem};

use crate::Disk;
use crate::dirs::{DirError, MetaProperties, folders_in};

/// What was found, as far as a start depends on it.
#[derive(Clone, Debug)]
pub struct Survey {
    pub dirs: Vec<Directory>,
    /// `None`: there is no metadata log.
    pub metadata: Option<Metadata>,
}

#[derive(Clone, Debug)]
pub struct Directory {
    pub path: PathBuf,
    pub state: DirectoryState,
    /// How many partition folders it has.
    pub partitions: usize,
}

/// Which cluster and node the directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryState {
    /// The directory does not exist; a start would create it.
    Absent,
    /// The directory exists and would be formatted.
    Unformatted,
    /// Version 0 of `meta.properties` is from clusters with ZooKeeper.
    Formatted { meta: MetaProperties, version: u8 },
    /// `meta.properties` cannot be parsed: file, line and what is wrong.
    Malformed(String),
    /// The disk cannot read it: operation, path and reason.
    Unreadable(String),
}

/// The log directories and the metadata log's directory, without duplicates.
pub fn paths(config: &BrokerConfig) -> BTreeSet<PathBuf> {
    config.log_dirs.iter().chain([&config.metadata_log_dir]).cloned().collect()
}

/// Reads what a start depends on: which cluster and node the directories belong to, and the metadata log.
pub fn find(disk: &dyn Disk, config: &BrokerConfig) -> Survey {
    let dirs = paths(config).iter().map(|path| directory(disk, path)).collect();
    let metadata = Metadata::read(disk, &crate::metadata::folder(&config.metadata_log_dir));
    Survey { dirs, metadata }
}

fn directory(disk: &dyn Disk, path: &Path) -> Directory {
    let state = match MetaProperties::read_versioned(disk, path) {
        Ok(Some((meta, version))) => DirectoryState::Formatted { meta, version },
        Ok(None) if disk.exists(path) => DirectoryState::Unformatted,
        Ok(None) => DirectoryState::Absent,
        Err(error @ DirError::Malformed { .. }) => DirectoryState::Malformed(error.to_string()),
        Err(error) => DirectoryState::Unreadable(error.to_string()),
    };
    let (state, partitions) = match state {
        DirectoryState::Absent => (state, 0),
        _ => match folders_in(disk, path) {
            Ok(folders) => (state, folders.live.len()),
            Err(error) => (DirectoryState::Unreadable(error.to_string()), 0),
        },
    };
    Directory { path: path.to_owned(), state, partitions }
}
