//! What a connection and whoever answers its requests say to each other: who asks, and what goes back. A leaf that both
//! sides use, so that neither has to know the other.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
pub(crate) use ottla_core::connection::Overtakers;
use ottla_log::FileRange;
use ottla_protocol::StrBytes;
use ottla_protocol::api::{ApiRow, Listener};

/// Who asks, and through which listener.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The listener's name, by which clients are told of the addresses that they can reach.
    pub listener: Arc<str>,
    pub kind: Listener,
    pub peer: SocketAddr,
    pub client_id: Option<StrBytes>,
}

/// Answers the requests of a listener. A connection knows nothing else of the node that it belongs to.
pub(crate) trait Dispatcher: Send + Sync {
    /// Begins a request of an API that the listener serves. Whatever the request changes in a log is queued with the
    /// log's owner when this returns.
    fn dispatch(&self, caller: &Caller, api: &'static ApiRow, version: i16, body: Bytes) -> Body;
}

/// What goes back to the client.
pub(crate) enum Answer {
    Parts(Vec<Part>),
    /// Nothing: a Produce with acks=0 that went well.
    Silence,
    Close(String),
}

/// The answer, or when it comes and what may happen until then.
pub(crate) enum Body {
    Now(Answer),
    Later(Overtakers, Pin<Box<dyn Future<Output = Answer> + Send>>),
    Close(String),
}

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    /// Bytes of a log file, read when they are sent.
    File(FileRange),
}

impl Part {
    pub fn len(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::File(range) => range.len,
        }
    }
}
