//! One client's connection: frames in, answers out, in the order of the requests. A request may start before an
//! earlier one is answered where that cannot change what either of them sees (ARCHITECTURE.md, "Ordering").
//! It must never know what a request means beyond the class of its answer.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_protocol::api::{ApiRow, api};
use ottla_protocol::header::{read_request_header, write_response_header};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, info};

use super::memory::Grant;
use super::outbox::Outbox;
use crate::api::{Answer, Body, Caller, dispatch};
use crate::broker::Broker;
use crate::stop::Watch;

/// Requests of one connection that may be under way at once.
const IN_FLIGHT_MAX: usize = 64;
/// The first two bytes of a Produce.
const PRODUCE_KEY: [u8; 2] = [0, 0];
/// Read ahead at most this much while nothing is known of the frame.
const READ_BYTES: usize = 64 << 10;
/// Memory taken for a frame before its bytes are there; beyond it the buffer doubles as they come.
const RESERVE_BYTES_MAX: usize = 256 << 10;

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client has gone.
    Gone,
    /// Nothing was heard for `connections.max.idle.ms`.
    Idle,
    /// The broker is stopping.
    Stopping,
    /// The client said what cannot be answered; Kafka closes such a connection too.
    Refused(String),
    Failed(std::io::Error),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> End {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => End::Gone,
            _ => End::Failed(error),
        }
    }
}

/// Later requests that may start while one is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overtakers {
    /// None: its answer must be known first.
    None,
    /// Other Produces: it waits in its lanes, and lanes keep order.
    Produces,
    /// Any: it only waits for data.
    Any,
}

type Later = Pin<Box<dyn Future<Output = Answer> + Send>>;

struct Pending {
    api: &'static ApiRow,
    version: i16,
    correlation_id: i32,
    overtakers: Overtakers,
    state: State,
    /// Records stay slices of the frame until they are in the log.
    _held: Option<Grant>,
}

enum State {
    Waiting(Later),
    Ready(Answer),
}

/// A connection, from accept to close.
pub(crate) struct Connection {
    broker: Arc<Broker>,
    stream: TcpStream,
    caller: Caller,
    inbox: BytesMut,
    outbox: Outbox,
    pending: VecDeque<Pending>,
    /// Room for the frame that is being read.
    granted: Option<Grant>,
    stopping: Watch,
    idle: Option<Idle>,
}

/// Notices silence. The timer is set again only when it goes off, not with each request.
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

    // Returns after so long a silence, and never before.
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

impl Connection {
    pub fn new(broker: Arc<Broker>, stream: TcpStream, listener: Arc<str>, peer: SocketAddr) -> Connection {
        Connection {
            stopping: broker.stopping.watch(),
            idle: Idle::new(broker.config().connections_max_idle_ms),
            broker,
            stream,
            caller: Caller { listener, peer, client_id: None },
            inbox: BytesMut::new(),
            outbox: Outbox::default(),
            pending: VecDeque::new(),
            granted: None,
        }
    }

    /// Serves until either side ends it.
    pub async fn serve(mut self) {
        match self.turns().await {
            End::Gone | End::Stopping => {}
            End::Idle => debug!(peer = %self.caller.peer, "closing an idle connection"),
            End::Refused(why) => info!(peer = %self.caller.peer, "closing the connection: {why}"),
            End::Failed(error) => debug!(peer = %self.caller.peer, %error, "connection failed"),
        }
    }

    async fn turns(&mut self) -> End {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    // Start what may start, send what is ready, and only then wait.
    async fn turn(&mut self) -> Result<(), End> {
        let started = self.start_next()?;
        self.collect_ready()?;
        if self.outbox.is_full() || (!started && !self.outbox.is_empty()) {
            self.outbox.send(&self.stream).await?;
        }
        if started {
            return Ok(());
        }
        self.wait().await
    }

    // Starts the next request if it is here and may. False when there is nothing to do but wait.
    fn start_next(&mut self) -> Result<bool, End> {
        let Some(frame_bytes) = self.frame_bytes()? else { return Ok(false) };
        if !self.has_room(frame_bytes)
            || self.inbox.len() < 4 + frame_bytes
            || self.pending.len() >= IN_FLIGHT_MAX
        {
            return Ok(false);
        }
        let is_produce = self.inbox[4..6] == PRODUCE_KEY;
        if !self.pending.iter().all(|p| p.may_be_overtaken(is_produce)) {
            return Ok(false);
        }
        let mut frame = self.inbox.split_to(4 + frame_bytes).freeze();
        frame = frame.slice(4..);
        let held = self.granted.take().filter(|_| is_produce);
        self.start(frame, held)?;
        Ok(true)
    }

    // Whether the frame at hand may be in memory; asks for it once.
    fn has_room(&mut self, frame_bytes: usize) -> bool {
        if self.granted.is_none() {
            self.granted = self.broker.request_memory.take(frame_bytes);
        }
        self.granted.is_some()
    }

    // The size of the frame at hand, once its four bytes are there.
    fn frame_bytes(&self) -> Result<Option<usize>, End> {
        let Some(head) = self.inbox.first_chunk::<4>() else { return Ok(None) };
        let declared = i32::from_be_bytes(*head);
        let most = self.broker.config().socket_request_max_bytes;
        // Eight bytes hold key, version and correlation id; nothing can be done with less.
        if declared < 8 || declared > most {
            return Err(End::Refused(format!(
                "a request of {declared} bytes, allowed are 8 to {most} (socket.request.max.bytes)"
            )));
        }
        Ok(Some(declared as usize))
    }

    fn start(&mut self, mut frame: Bytes, held: Option<Grant>) -> Result<(), End> {
        let header = read_request_header(&mut frame).map_err(|e| End::Refused(e.to_string()))?;
        let Some(row) = api(header.api_key).filter(|row| row.listeners.broker) else {
            return Err(End::Refused(format!("a request of unknown api key {}", header.api_key)));
        };
        self.caller.client_id = header.client_id;
        let version = header.api_version;
        let (overtakers, state) = match dispatch(&self.broker, &self.caller, row, version, frame) {
            Body::Now(answer) => (Overtakers::Any, State::Ready(answer)),
            Body::Later(overtakers, later) => (overtakers, State::Waiting(later)),
            Body::Close(why) => return Err(End::Refused(why)),
        };
        let correlation_id = header.correlation_id;
        self.pending.push_back(Pending { api: row, version, correlation_id, overtakers, state, _held: held });
        Ok(())
    }

    // Moves answers from the front of the queue to the outbox, as far as they are ready.
    fn collect_ready(&mut self) -> Result<(), End> {
        while let Some(front) = self.pending.front()
            && matches!(front.state, State::Ready(_))
        {
            let Some(Pending { api, version, correlation_id, state: State::Ready(answer), .. }) =
                self.pending.pop_front()
            else {
                return Ok(());
            };
            match answer {
                Answer::Parts(parts) => {
                    let header =
                        |buf: &mut BytesMut| write_response_header(buf, api, version, correlation_id);
                    self.outbox.push(header, parts);
                }
                Answer::Silence => {}
                Answer::Close(why) => return Err(End::Refused(why)),
            }
        }
        Ok(())
    }

    // Until bytes come in (if they may), an answer is ready, or it is time to go.
    async fn wait(&mut self) -> Result<(), End> {
        let wants_bytes = self.wants_bytes();
        if wants_bytes {
            self.make_room();
        }
        if self.inbox.is_empty() && self.pending.is_empty() {
            self.outbox.rest();
        }
        let nothing_pending = self.pending.is_empty();
        let memory = &self.broker.request_memory;
        let needs_room = self.granted.is_none() && self.frame_bytes().is_ok_and(|size| size.is_some());
        let pending = &mut self.pending;
        let answered = poll_fn(|context| {
            let mut any = Poll::Pending;
            for pending in pending.iter_mut() {
                if let State::Waiting(later) = &mut pending.state
                    && let Poll::Ready(answer) = later.as_mut().poll(context)
                {
                    pending.state = State::Ready(answer);
                    any = Poll::Ready(());
                }
            }
            any
        });
        tokio::select! {
            biased;
            () = answered => Ok(()),
            ready = self.stream.readable(), if wants_bytes => {
                ready?;
                match self.stream.try_read_buf(&mut self.inbox) {
                    Ok(0) => Err(End::Gone),
                    Ok(_) => {
                        if let Some(idle) = &mut self.idle {
                            idle.heard = Instant::now();
                        }
                        Ok(())
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            () = memory.freed(), if needs_room => Ok(()),
            () = over(&mut self.idle), if nothing_pending => Err(End::Idle),
            () = self.stopping.cancelled() => Err(End::Stopping),
        }
    }

    // Read on unless a whole request waits for its turn already, or there is no room for the one that has begun.
    fn wants_bytes(&self) -> bool {
        match self.frame_bytes() {
            Ok(Some(bytes)) => self.granted.is_some() && self.inbox.len() < 4 + bytes,
            _ => true,
        }
    }

    fn make_room(&mut self) {
        let missing = match self.frame_bytes() {
            Ok(Some(bytes)) => (4 + bytes).saturating_sub(self.inbox.len()),
            _ => 0,
        };
        let room = missing.clamp(if missing == 0 { READ_BYTES } else { 1 }, RESERVE_BYTES_MAX);
        if self.inbox.capacity() - self.inbox.len() < room {
            self.inbox.reserve(room.max(self.inbox.len().min(missing)));
        }
    }
}

impl Pending {
    fn may_be_overtaken(&self, by_produce: bool) -> bool {
        match (&self.state, self.overtakers) {
            (State::Ready(_), _) | (_, Overtakers::Any) => true,
            (_, Overtakers::Produces) => by_produce,
            (_, Overtakers::None) => false,
        }
    }
}
