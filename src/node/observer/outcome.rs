//! What an observer does not take, and why it ends. No more than names for it.

use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch};

use crate::applying::NotApplied;
use crate::quorum::QuorumError;

/// The observer cannot go on, and its process must end: its disk has failed, or what is agreed on cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
}

/// Why an answer was not taken. It has changed nothing; the observer asks again after a while.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a controller says {}", .0.name())]
    Said(ErrorCode),
    #[error("node {other} claims to lead the metadata quorum in epoch {epoch}, and node {known} leads in it")]
    SecondLeader { epoch: LeaderEpoch, known: NodeId, other: NodeId },
    /// What this node was before its disk was wiped, or another process with its id.
    #[error(
        "node {0} is said to lead the metadata quorum, and this process, which has that node.id, does not vote: it has lost its disk, \
         or another process has the same node.id"
    )]
    Namesake(NodeId),
    /// No leader that works can have said it.
    #[error("what the metadata quorum's leader sent does not fit: {0}")]
    Unfit(String),
    #[error("cannot keep what the metadata quorum's leader sent: {0}")]
    Disk(String),
}

/// Why an answer was not worked off.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refused),
    Broken(ObserverError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        Stop::Refused(refused)
    }
}

impl From<ObserverError> for Stop {
    fn from(error: ObserverError) -> Stop {
        Stop::Broken(error)
    }
}

impl From<QuorumError> for Stop {
    fn from(error: QuorumError) -> Stop {
        Stop::Broken(error.into())
    }
}
