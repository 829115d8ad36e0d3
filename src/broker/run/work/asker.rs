//! Brings an observer's questions to controllers, and their answers back: one connection, to whoever was asked last. It must
//! never decide whom to ask, nor ask again.

use std::sync::Arc;
use std::time::Duration;

use ottla_client::{ClientError, Connection, Options};
use ottla_model::config::HostPort;
use ottla_node::observer::{Answer, Question, WAIT_MS};
use ottla_protocol::messages::{FetchRequest, FetchSnapshotRequest};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::debug;

use crate::travels::{metadata_fetch, metadata_snapshot};

/// Used by the thread of the observer.
pub(crate) struct Asker {
    runtime: Handle,
    /// For a connection, and for an answer.
    patience: Duration,
    connected: Arc<Mutex<Option<Connected>>>,
}

struct Connected {
    address: HostPort,
    connection: Connection,
}

impl Asker {
    pub fn new(runtime: Handle, patience: Duration) -> Asker {
        Asker { runtime, patience, connected: Arc::default() }
    }

    /// Never waits. `answered` is called once, with `None` if there will be no answer.
    pub fn ask(
        &self,
        address: HostPort,
        question: Question,
        answered: impl FnOnce(Option<Answer>) + Send + 'static,
    ) {
        let (connected, patience) = (self.connected.clone(), self.patience);
        self.runtime.spawn(async move {
            let answer = match connection(&connected, &address, patience).await {
                Ok(connection) => put(&connection, &question).await,
                Err(error) => Err(error),
            };
            answered(answer.unwrap_or_else(|error| {
                debug!(%address, %error, "a controller did not answer");
                None
            }));
        });
    }
}

async fn connection(
    connected: &Mutex<Option<Connected>>,
    address: &HostPort,
    patience: Duration,
) -> Result<Connection, ClientError> {
    let known = connected.lock().as_ref().and_then(|known| {
        (known.address == *address && !known.connection.is_closed()).then(|| known.connection.clone())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let options = Options { connect_timeout: patience, request_timeout: patience, ..Options::default() };
    let connection = Connection::connect_with(&address.to_string(), options).await?;
    let now = Connected { address: address.clone(), connection: connection.clone() };
    // Whoever else was asked before is asked no more.
    *connected.lock() = Some(now);
    Ok(connection)
}

async fn put(connection: &Connection, question: &Question) -> Result<Option<Answer>, ClientError> {
    match question {
        Question::Fetch(fetch) => {
            let version = connection.version_of::<FetchRequest>().await?;
            let response = connection.call(&metadata_fetch::request(fetch, WAIT_MS, version)).await?;
            Ok(metadata_fetch::of_response(response).map(Answer::Fetched))
        }
        Question::FetchSnapshot(fetch) => {
            let version = connection.version_of::<FetchSnapshotRequest>().await?;
            let response = connection.call(&metadata_snapshot::request(fetch, version)).await?;
            Ok(metadata_snapshot::of_response(response).map(Answer::Piece))
        }
    }
}
