//! A runtime of one thread. A controller has one for its listener and its connections to other voters, so that a broker that is
//! busy, on this node or elsewhere, keeps no vote and no heartbeat waiting. The fetchers of a broker have one because whatever
//! a task there waits for comes to that thread: each answer of a leader would wake two of the threads that serve clients.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread.
pub(super) struct Network {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Network {
    pub fn start(name: &str) -> io::Result<Network> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            // Either way it is over.
            let _ = runtime.block_on(stopped);
            // Where the server of names does not answer, a lookup goes on for ten seconds and more, and nobody waits for it.
            runtime.shutdown_background();
        })?;
        Ok(Network { handle, stop, thread })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends everything that runs there.
    pub fn stop(self) {
        // This fails if the thread has ended.
        let _ = self.stop.send(());
        drop(self.thread.join());
    }
}
