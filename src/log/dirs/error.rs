//! What can be wrong with a log directory, each in one line for the operator.

use super::MetaProperties;
use ottla_model::NodeId;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Names operation and path itself.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(
        "Failed to acquire lock on file .lock in {dir}. A Kafka/Ottla instance in another process or thread is \
         using this directory.", dir = .dir.display()
    )]
    Locked { dir: PathBuf },
    #[error("No meta.properties found in {dir} (has kafka-storage format been run on it?)", dir = .dir.display())]
    NotFormatted { dir: PathBuf },
    #[error(
        "{dir} is already formatted, for node {} of cluster {}", .found.node_id, .found.cluster_id, dir = .dir.display()
    )]
    AlreadyFormatted { dir: PathBuf, found: MetaProperties },
    #[error(
        "Invalid cluster.id in {dir}/meta.properties: expected {expected}, but read {found}", dir = .dir.display()
    )]
    WrongCluster { dir: PathBuf, expected: String, found: String },
    #[error(
        "Invalid node.id in {dir}/meta.properties: expected {expected}, but read {found}; a moved directory keeps \
         its node id, a new node needs an empty directory", dir = .dir.display()
    )]
    WrongNode { dir: PathBuf, expected: NodeId, found: NodeId },
    #[error("{file}, line {line}: {what}", file = .file.display())]
    Malformed { file: PathBuf, line: usize, what: String },
}

impl DirError {
    pub(super) fn malformed(file: &Path, line: usize, what: impl Into<String>) -> DirError {
        DirError::Malformed { file: file.to_owned(), line, what: what.into() }
    }
}
