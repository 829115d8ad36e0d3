//! Why a member of the quorum ends.

use std::path::PathBuf;

use ottla_log::log::LogError;

/// The quorum cannot go on: its disk failed, or holds what it cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error("metadata log: {0}")]
    Log(#[from] LogError),
    #[error("metadata log: {0}")]
    Refused(String),
    #[error("{path}: {source}")]
    Vote { path: PathBuf, source: std::io::Error },
    #[error("metadata log: {0}")]
    Snapshot(std::io::Error),
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
}
