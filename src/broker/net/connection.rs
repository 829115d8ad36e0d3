//! One client's connection: it reads requests and sends answers in the order of the requests. `ottla_core::connection`
//! decides what comes next; this file does it. It must never know more of a request than how its answer may be overtaken.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ottla_core::connection::{End as Over, Flow, Input, Limits, Memory, Next, Stage, Wants};
use ottla_log::disk::worker;
use ottla_protocol::StrBytes;
use ottla_protocol::api::{ApiRow, api};
use ottla_protocol::header::{read_request_header, write_response_header};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, info};

use super::memory::Grant;
use super::outbox::{FULL_BYTES, Outbox, Sent};
use super::scratch;
use super::service::Service;
use super::stream::Stream;
use super::warming::Warming;
use crate::request::{Answer, Caller, Queued, Staged};
use crate::stop::Watch;

/// The most requests of one connection that are in progress at once.
const IN_FLIGHT_MAX: usize = 64;
/// The most memory that is reserved for a frame before its bytes arrive. A buffer for a larger frame doubles as they
/// arrive.
const RESERVE_BYTES_MAX: usize = 256 << 10;

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client has closed the connection, or sends nothing more.
    Gone,
    /// The client was silent for `connections.max.idle.ms`.
    Idle,
    /// The broker is stopping.
    Stopping,
    /// The client sent something that cannot be answered. Kafka closes such a connection too.
    Refused(String),
    Failed(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => End::Gone,
            _ => End::Failed(error),
        }
    }
}

impl From<Over> for End {
    fn from(over: Over) -> End {
        match over {
            Over::Finished => End::Gone,
            Over::Refused(why) => End::Refused(why),
        }
    }
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A request in progress.
struct Asked {
    api: &'static ApiRow,
    version: i16,
    correlation_id: i32,
    awaits: Awaits,
    /// Records stay slices of the frame until they are in the log.
    held: Option<Grant>,
}

/// What a request waits for next.
enum Awaits {
    Queueing(Later<Queued>),
    Answer(Later<Answer>),
    /// Nothing: it has been answered.
    Nothing,
}

impl Asked {
    // The stage that the request has reached since the last look. Its memory is given back with its answer, which may
    // have to wait for earlier answers.
    fn reached(&mut self, context: &mut Context<'_>) -> Option<Stage<Answer>> {
        let mut stage = None;
        if let Awaits::Queueing(queueing) = &mut self.awaits {
            let Poll::Ready(queued) = queueing.as_mut().poll(context) else { return None };
            stage = Some(self.queued(queued));
        }
        if let Awaits::Answer(answering) = &mut self.awaits
            && let Poll::Ready(answer) = answering.as_mut().poll(context)
        {
            stage = Some(self.queued(Queued::Answered(answer)));
        }
        stage
    }

    fn queued(&mut self, queued: Queued) -> Stage<Answer> {
        match queued {
            Queued::Answered(answer) => {
                (self.awaits, self.held) = (Awaits::Nothing, None);
                Stage::Answered(answer)
            }
            Queued::Answering(overtakers, answering) => {
                self.awaits = Awaits::Answer(answering);
                Stage::Queued(overtakers)
            }
        }
    }
}

/// A connection, from accept to close.
pub(crate) struct Connection {
    service: Arc<Service>,
    stream: Stream,
    caller: Caller,
    flow: Flow<Asked, Answer>,
    inbox: BytesMut,
    outbox: Outbox,
    /// The next bytes to be sent are being read from disk.
    warming: Option<Warming>,
    /// Memory for the frame that is being read.
    granted: Option<Grant>,
    stopping: Watch,
    idle: Option<Idle>,
}

/// Detects a silent client. The timer is set again only when it fires, not with each request.
struct Idle {
    limit: Duration,
    heard: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(limit_ms: i64) -> Option<Idle> {
        let limit = Duration::from_millis(u64::try_from(limit_ms).ok()?);
        let heard = Instant::now();
        Some(Idle { limit, heard, timer: Box::pin(sleep_until(heard + limit)) })
    }

    // Returns after that long a silence, and never earlier.
    async fn over(&mut self) {
        loop {
            self.timer.as_mut().await;
            if self.heard.elapsed() >= self.limit {
                return;
            }
            self.timer.as_mut().reset(self.heard + self.limit);
        }
    }
}

async fn over(idle: &mut Option<Idle>) {
    match idle {
        Some(idle) => idle.over().await,
        None => std::future::pending().await,
    }
}

// Waits for the reading from disk. Returns at once if there is none.
async fn warmed(warming: &mut Option<Warming>) {
    if let Some(warming) = warming {
        warming.await;
    }
}

impl Connection {
    pub fn new(service: Arc<Service>, stream: Stream, listener: Arc<str>, peer: SocketAddr) -> Connection {
        let (kind, config) = (service.kind, service.settings.now());
        let limits = Limits {
            in_flight: IN_FLIGHT_MAX,
            outbox_bytes: FULL_BYTES,
            frame_bytes: config.socket_request_max_bytes,
            memory: if service.request_memory.is_bounded() { Memory::Bounded } else { Memory::Unbounded },
        };
        Connection {
            stopping: service.stopping.watch(),
            idle: Idle::new(config.connections_max_idle_ms),
            service,
            stream,
            caller: Caller { listener, kind, peer, client_id: None },
            flow: Flow::new(limits),
            inbox: BytesMut::new(),
            outbox: Outbox::default(),
            warming: None,
            granted: None,
        }
    }

    /// Serves the client until either side ends the connection.
    pub async fn serve(&mut self) {
        match self.turns().await {
            End::Gone | End::Stopping => {}
            End::Idle => debug!(peer = %self.caller.peer, "closing an idle connection"),
            End::Refused(why) => info!(peer = %self.caller.peer, "closing the connection: {why}"),
            End::Failed(error) => debug!(peer = %self.caller.peer, %error, "connection failed"),
        }
    }

    // Waits only for `Wait`.
    async fn turns(&mut self) -> End {
        loop {
            // The task may be on another thread than before.
            worker::mark();
            let done = match self.flow.next(&self.inbox, self.outbox.len()) {
                Next::Collect { request, answer } => self.collect(&request, answer),
                Next::Ask { frame_bytes } => self.ask_for_memory(frame_bytes),
                Next::Start { frame_bytes, produce } => self.start(frame_bytes, produce),
                Next::Send => self.send(),
                Next::Wait(wants) => self.wait(wants).await,
                Next::End(over) => Err(over.into()),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn collect(&mut self, request: &Asked, answer: Answer) -> Result<(), End> {
        let Asked { api, version, correlation_id, .. } = *request;
        match answer {
            Answer::Parts(parts) => {
                let header = |buf: &mut BytesMut| write_response_header(buf, api, version, correlation_id);
                self.outbox.push(header, parts);
            }
            Answer::Silence => {}
            Answer::Close(why) => self.flow.hear(Input::Closed(why)),
        }
        Ok(())
    }

    fn ask_for_memory(&mut self, frame_bytes: usize) -> Result<(), End> {
        self.granted = self.service.request_memory.take(frame_bytes);
        self.flow.hear(if self.granted.is_some() { Input::Granted } else { Input::Denied });
        Ok(())
    }

    fn start(&mut self, frame_bytes: usize, produce: bool) -> Result<(), End> {
        let mut frame = self.inbox.split_to(4 + frame_bytes).freeze();
        frame.advance(4);
        let held = self.granted.take().filter(|_| produce);
        let started = self.begin(frame, held).unwrap_or_else(Input::Refused);
        self.flow.hear(started);
        Ok(())
    }

    fn begin(&mut self, mut frame: Bytes, held: Option<Grant>) -> Result<Input<Asked, Answer>, String> {
        let header = read_request_header(&mut frame).map_err(|e| e.to_string())?;
        let row = api(header.api_key).filter(|row| row.listeners.include(self.caller.kind));
        let Some(row) = row else { return Err(format!("a request of unknown api key {}", header.api_key)) };
        // Copied, because a slice would keep the whole frame in memory.
        if self.caller.client_id != header.client_id {
            self.caller.client_id = header.client_id.map(|id| StrBytes::from_string(id.to_string()));
        }
        let (version, correlation_id) = (header.api_version, header.correlation_id);
        let mut request = Asked { api: row, version, correlation_id, awaits: Awaits::Nothing, held };
        let stage = match self.service.dispatcher.dispatch(&self.caller, row, version, frame) {
            Staged::Queueing(queueing) => {
                request.awaits = Awaits::Queueing(queueing);
                Stage::Queueing
            }
            Staged::Queued(queued) => request.queued(queued),
            Staged::Refused(why) => return Err(why),
        };
        Ok(Input::Started { request, stage })
    }

    fn send(&mut self) -> Result<(), End> {
        match self.outbox.send(&mut self.stream)? {
            Sent::All => {}
            Sent::SocketFull => self.flow.hear(Input::SocketFull),
            Sent::Cold => {
                self.warming = Some(Warming::begin(&self.service.readers, self.outbox.cold()));
                self.flow.hear(Input::Cold);
            }
        }
        Ok(())
    }

    async fn wait(&mut self, wants: Wants) -> Result<(), End> {
        // Checked first, so that a client that never stops sending cannot keep the broker from stopping.
        if self.stopping.is_on() {
            return Err(End::Stopping);
        }
        if wants.rests {
            self.rest();
        }
        let memory = self.service.request_memory.clone();
        let Connection { stream, flow, inbox, warming, stopping, idle, .. } = self;
        let heard = tokio::select! {
            biased;
            heard = poll_fn(|context| poll_client(stream, flow, inbox, wants, context)) => heard?,
            () = memory.freed(), if wants.memory => {
                flow.hear(Input::Freed);
                return Ok(());
            }
            () = warmed(warming), if wants.disk => {
                *warming = None;
                flow.hear(Input::Warm);
                return Ok(());
            }
            () = over(idle), if wants.idle => return Err(End::Idle),
            () = stopping.cancelled() => return Err(End::Stopping),
        };
        if let (Heard::Client, Some(idle)) = (heard, idle) {
            idle.heard = Instant::now();
        }
        Ok(())
    }

    // An idle connection has no buffers. Its next bytes are read into a buffer that belongs to the thread.
    fn rest(&mut self) {
        self.inbox = BytesMut::new();
        self.granted = None;
        self.outbox.rest();
    }
}

/// What has ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The client has sent or read bytes.
    Client,
    /// A request in flight has reached its next stage.
    Request,
}

// Polls the answers and the socket in turn, so that one that is always ready does not keep out the other.
fn poll_client(
    stream: &mut Stream,
    flow: &mut Flow<Asked, Answer>,
    inbox: &mut BytesMut,
    wants: Wants,
    context: &mut Context<'_>,
) -> Poll<io::Result<Heard>> {
    let advanced = wants.answers && flow.advance(|asked| asked.reached(context));
    let mut client = false;
    if wants.socket
        && let Poll::Ready(ready) = stream.poll_write_ready(context)
    {
        ready?;
        flow.hear(Input::SocketReady);
        client = true;
    }
    if wants.bytes
        && let Poll::Ready(read) = poll_read(stream, inbox, flow.missing_bytes(inbox), context)
    {
        if read? == 0 {
            flow.hear(Input::Finished);
        }
        client = true;
    }
    match (client, advanced) {
        (true, _) => Poll::Ready(Ok(Heard::Client)),
        (false, true) => Poll::Ready(Ok(Heard::Request)),
        (false, false) => Poll::Pending,
    }
}

// Reads the rest of a frame into its own buffer; if its size is not known yet, into the thread's buffer.
fn poll_read(
    stream: &mut Stream,
    inbox: &mut BytesMut,
    missing: Option<usize>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let Some(missing) = missing else {
        return scratch::to_read(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(stream).poll_read(context, &mut read))?;
            inbox.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        });
    };
    let room = missing.min(RESERVE_BYTES_MAX);
    if inbox.capacity() - inbox.len() < room {
        inbox.reserve(room.max(inbox.len().min(missing)));
    }
    pin!(stream.read_buf(inbox)).poll(context)
}
