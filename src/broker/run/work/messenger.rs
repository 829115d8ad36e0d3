//! Brings what this voter says to the other voters of the metadata quorum: one task and one connection for each. What cannot
//! be brought in time is lost, which Raft can bear: what it says again is newer.
//! It must never look into a message.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_client::{Connection, Options, Pending};
use ottla_model::NodeId;
use ottla_model::config::HostPort;
use ottla_node::quorum::Message;
use ottla_protocol::ErrorCode;
use ottla_protocol::quorum::{QuorumMessageRequest, QuorumMessageResponse};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// How many messages to one voter may wait.
const WAITING_MAX: usize = 256;
/// After a connection could not be made.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Used by the thread of the controller.
pub(crate) struct Messenger {
    runtime: Handle,
    /// For a connection, and for an answer: a voter that is silent for longer gets a new connection.
    patience: Duration,
    voters: BTreeMap<NodeId, Voter>,
}

struct Voter {
    address: HostPort,
    messages: mpsc::Sender<Message>,
}

impl Messenger {
    pub fn new(runtime: Handle, patience: Duration) -> Messenger {
        Messenger { runtime, patience, voters: BTreeMap::new() }
    }

    /// Sends a message to the voter that it names. Never waits.
    pub fn send(&mut self, message: Message, address: Option<HostPort>) {
        let to = message.to.id;
        let Some(address) = address else {
            debug!(voter = %to, "nobody knows where the voter is");
            return;
        };
        if self.voters.get(&to).is_none_or(|voter| voter.address != address) {
            let (messages, waiting) = mpsc::channel(WAITING_MAX);
            self.runtime.spawn(talk(address.to_string(), waiting, self.patience));
            self.voters.insert(to, Voter { address, messages });
        }
        if let Some(voter) = self.voters.get(&to)
            && voter.messages.try_send(message).is_err()
        {
            debug!(voter = %to, "a message to a voter was lost: too many wait");
        }
    }
}

// Until nobody sends any more.
async fn talk(address: String, mut waiting: mpsc::Receiver<Message>, patience: Duration) {
    while let Some(first) = waiting.recv().await {
        let options = Options { connect_timeout: patience, request_timeout: patience, ..Options::default() };
        match Connection::connect_with(&address, options).await {
            Ok(connection) => {
                let why = bring(&address, &connection, first, &mut waiting).await;
                connection.close();
                debug!(voter = address, why, "the connection to a voter has ended");
            }
            Err(error) => {
                debug!(voter = address, %error, "cannot reach a voter");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        // What waited meanwhile is old news.
        while waiting.try_recv().is_ok() {}
    }
}

// Until the connection ends; why it did.
async fn bring(
    address: &str,
    connection: &Connection,
    first: Message,
    waiting: &mut mpsc::Receiver<Message>,
) -> String {
    let (answers, to_read) = mpsc::channel(WAITING_MAX);
    let reading = tokio::spawn(read(address.to_owned(), to_read));
    let mut next = Some(first);
    while let Some(message) = next {
        let request = QuorumMessageRequest { message: message.encode() };
        match connection.submit(&request, 0).await {
            Ok(pending) => {
                if answers.send(pending).await.is_err() {
                    break;
                }
            }
            Err(error) => return error.to_string(),
        }
        next = tokio::select! {
            message = waiting.recv() => message,
            why = connection.closed() => return why,
        };
    }
    drop(answers);
    // The task never panics.
    let _ = reading.await;
    "nothing more is to be said".to_owned()
}

// One that is late or cannot be read ends the connection. A refusal is told once for each connection.
async fn read(address: String, mut answers: mpsc::Receiver<Pending<QuorumMessageResponse>>) {
    let mut told = false;
    while let Some(pending) = answers.recv().await {
        let Ok(response) = pending.answer().await else { return };
        let code = ErrorCode::from_code(response.error_code);
        if code != ErrorCode::None && !std::mem::replace(&mut told, true) {
            warn!(voter = address, code = code.name(), "a voter refuses what this one says");
        }
    }
}
