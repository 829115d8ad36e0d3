//! What a connection and whoever answers its requests say to each other: who asks, and what goes back. A leaf that both
//! sides use, so that neither has to know the other.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
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

/// A request as a client has sent it, to be sent on.
#[derive(Clone, Debug)]
pub(crate) struct ClientRequest {
    pub api: &'static ApiRow,
    pub version: i16,
    pub client_id: Option<StrBytes>,
    pub peer: IpAddr,
    pub body: Bytes,
}

/// The tagged field of an Envelope's response in which a controller of ours says up to where its metadata was (int64).
pub(crate) const METADATA_OFFSET_TAG: i32 = 10_000;

/// Answers the requests of a listener. A connection knows nothing else of the node that it belongs to.
pub(crate) trait Dispatcher: Send + Sync {
    /// Begins a request of an API that the listener serves.
    fn dispatch(&self, caller: &Caller, api: &'static ApiRow, version: i16, body: Bytes) -> Staged;
}

/// What goes back to the client.
pub(crate) enum Answer {
    Parts(Vec<Part>),
    /// Nothing: a Produce with acks=0 that went well.
    Silence,
    Close(String),
}

/// A request that has begun, by its stage. First everything that it changes is queued with its owners: the lanes of
/// partitions, the shards of coordinators, the controller. Then it is answered.
///
/// What one connection changes is queued in the order of its requests, because no request is dispatched before those in
/// front of it are queued; a handler must not queue anything later than it says here. Producers rely on that: batches of
/// one producer that change places in a lane are refused as out of order. Answers leave in the order of the requests
/// (`ottla_core::connection`).
pub(crate) enum Staged {
    /// Something else has to happen before everything is queued. Where the two stages are not told apart, as with
    /// questions to the controller, this lasts until the answer is there.
    Queueing(Pin<Box<dyn Future<Output = Queued> + Send>>),
    Queued(Queued),
    /// The bytes are no request that can be answered: those before it are, and then the connection ends.
    Refused(String),
}

impl Staged {
    /// Waits for the answer.
    pub async fn answer(self) -> Answer {
        let queued = match self {
            Staged::Queueing(queueing) => queueing.await,
            Staged::Queued(queued) => queued,
            Staged::Refused(why) => return Answer::Close(why),
        };
        match queued {
            Queued::Answered(answer) => answer,
            Queued::Answering(_, answering) => answering.await,
        }
    }
}

/// A request whose changes are all queued.
pub(crate) enum Queued {
    Answered(Answer),
    /// The answer comes later. These may be dispatched meanwhile.
    Answering(Overtakers, Pin<Box<dyn Future<Output = Answer> + Send>>),
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
