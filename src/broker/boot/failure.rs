//! Why a node does not start, or has to stop by itself.

use std::io;
use std::sync::Arc;

use ottla_log::dirs::DirError;
use ottla_log::survey::Stop;
use ottla_node::quorum::QuorumError;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Why a broker did not start, or had to stop; one line each.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Directory(#[from] DirError),
    #[error("cannot listen on {name}://{host}:{port}: {source}")]
    Listen { name: String, host: String, port: u16, source: io::Error },
    #[error("the metadata quorum failed: {0}")]
    Quorum(#[from] QuorumError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("the controller refused this broker: {0}")]
    Registration(String),
    #[error("cannot go on: {0}")]
    Storage(String),
    #[error("the controller failed: {0}")]
    Controller(String),
    #[error(
        "no cluster id: the metadata quorum has other nodes, and log.dirs has no meta.properties; set the same CLUSTER_ID in the \
         environment of each, or format the directories"
    )]
    NoClusterId,
    /// Each in a line of its own.
    #[error("{}", .0.iter().map(Stop::to_string).collect::<Vec<_>>().join("\n"))]
    NotTakenOver(Vec<Stop>),
}

/// A way to hear that the broker must stop by itself.
pub type Failure = tokio::sync::oneshot::Receiver<BootError>;

/// The way to say that the node must stop by itself. The first reason is the one that counts; the node may be stopping
/// already.
#[derive(Clone)]
pub(super) struct FirstFailure(Arc<Mutex<Option<oneshot::Sender<BootError>>>>);

impl FirstFailure {
    pub fn new() -> (FirstFailure, Failure) {
        let (fails, failure) = oneshot::channel();
        (FirstFailure(Arc::new(Mutex::new(Some(fails)))), failure)
    }

    pub fn tell(&self, why: BootError) {
        drop(self.0.lock().take().map(|fails| fails.send(why)));
    }
}
