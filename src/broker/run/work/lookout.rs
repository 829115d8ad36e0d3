//! Looks whether anybody listens at an address, for whoever is missed there. Only a refused connection says that nobody does: a
//! network that brings nothing back says nothing. It must never decide what follows from it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::debug;

/// Used by the thread of the controller.
pub(crate) struct Lookout {
    runtime: Handle,
    /// Where it is looking at this moment: in each place once at a time.
    looking: Arc<Mutex<BTreeSet<(String, u16)>>>,
}

impl Lookout {
    pub fn new(runtime: Handle) -> Lookout {
        Lookout { runtime, looking: Arc::default() }
    }

    /// Calls `gone` if nobody listens there. Never waits.
    pub fn look(&self, host: String, port: u16, gone: impl FnOnce() + Send + 'static) {
        let place = (host, port);
        if !self.looking.lock().insert(place.clone()) {
            return;
        }
        let looking = self.looking.clone();
        self.runtime.spawn(async move {
            let found = timeout(PATIENCE, TcpStream::connect((place.0.as_str(), port))).await;
            looking.lock().remove(&place);
            match found {
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => gone(),
                found => debug!(host = place.0, port, ?found, "somebody may be there, and is late"),
            }
        });
    }
}

/// Whoever listens on this machine or on one nearby has answered by then, or refused.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    use super::*;

    /// Whether it found that somebody is gone, once it has looked.
    async fn looks_gone(port: u16) -> bool {
        let lookout = Lookout::new(Handle::current());
        let (tell, told) = channel();
        lookout.look("127.0.0.1".into(), port, move || tell.send(()).expect("it is waited for"));
        while !lookout.looking.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        // What was not called is dropped.
        tokio::task::spawn_blocking(move || told.recv().is_ok()).await.expect("no panic")
    }

    #[tokio::test]
    async fn nobody_is_there_where_a_connection_is_refused() {
        let listens = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listens.local_addr().expect("an address").port();
        assert!(!looks_gone(port).await, "it listens, and accepts nothing");
        drop(listens);
        assert!(looks_gone(port).await);
    }
}
