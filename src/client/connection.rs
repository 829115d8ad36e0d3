//! One connection to one broker: requests go out in the order of `submit`, answers come back in that order
//! and are matched by correlation id. It must never know which broker leads what, nor repeat a request.

use crate::frames::FrameReader;
use crate::transport::{self, ReadHalf, Security, WriteHalf};
use crate::versions::Versions;
use crate::{ClientError, HeaderVersion, Request, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use ottla_protocol::api::{ApiKey, api};
use ottla_protocol::codec::decode_response;
use ottla_protocol::header;
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use ottla_protocol::{Decodable, Encodable, ErrorCode, StrBytes};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::{mpsc, oneshot, watch};

/// How a connection behaves. `Default` suits tools and tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sent in every request header; `None` sends null.
    pub client_id: Option<String>,
    /// For the TCP connect.
    pub connect_timeout: Duration,
    /// From the submit to the answer.
    pub request_timeout: Duration,
    /// An answer that declares more closes the connection.
    pub frame_bytes_max: usize,
    /// Requests that may wait for their answers; `submit` waits beyond it.
    pub requests_in_flight_max: usize,
    /// Encryption and authentication.
    pub security: Security,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            client_id: Some("ottla".into()),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            frame_bytes_max: 256 << 20,
            requests_in_flight_max: 64,
            security: Security::Plaintext,
        }
    }
}

/// A handle on a connection; clones share it. The socket closes when the last handle and the last waiting
/// answer are gone, when the peer closes, or after an answer that was late, unreadable or out of turn.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    peer: String,
    options: Options,
    outgoing: mpsc::Sender<Outgoing>,
    next_correlation_id: AtomicI32,
    versions: OnceLock<Arc<Versions>>,
    end: watch::Receiver<Option<String>>,
    abort: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct Outgoing {
    frame: Bytes,
    reply: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    reply: oneshot::Sender<Bytes>,
}

/// An answer that is on its way. Dropping it does not take the request back.
#[derive(Debug)]
#[must_use = "the request was sent; wait for its answer"]
pub struct Pending<R> {
    connection: Connection,
    what: &'static str,
    api_key: i16,
    header_version: i16,
    version: i16,
    deadline: tokio::time::Instant,
    reply: oneshot::Receiver<Bytes>,
    response: PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects to `host:port` with default options.
    pub async fn connect(peer: &str) -> Result<Connection> {
        Connection::connect_with(peer, Options::default()).await
    }

    /// Connects to `host:port`. Nothing is sent yet; see [`Connection::versions`] for the negotiation.
    pub async fn connect_with(peer: &str, options: Options) -> Result<Connection> {
        let (reader, writer) = transport::open(peer, &options.security, options.connect_timeout).await?;
        let (outgoing, to_write) = mpsc::channel(options.requests_in_flight_max);
        let (waiting, to_match) = mpsc::channel(options.requests_in_flight_max);
        let (ended, end) = watch::channel(None);
        let (abort, aborted) = watch::channel(None);
        let frames = FrameReader::new(reader, options.frame_bytes_max);
        tokio::spawn(write_requests(writer, to_write, waiting, abort.clone()));
        tokio::spawn(read_answers(frames, to_match, aborted, ended));
        let shared = Shared {
            peer: peer.into(),
            options,
            outgoing,
            next_correlation_id: AtomicI32::new(1),
            versions: OnceLock::new(),
            end,
            abort,
        };
        Ok(Connection { shared: Arc::new(shared) })
    }

    /// The address as it was given.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// Whether the connection has ended; see [`Connection::closed`] for why.
    pub fn is_closed(&self) -> bool {
        self.shared.end.borrow().is_some()
    }

    /// Waits until the connection has ended and says why.
    pub async fn closed(&self) -> String {
        let mut end = self.shared.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the reader stopped".into(),
        }
    }

    /// Ends the connection; waiting answers fail.
    pub fn close(&self) {
        self.shared.abort.send_replace(Some("closed by this side".into()));
    }

    /// The peer's version ranges, asked for once per connection.
    pub async fn versions(&self) -> Result<Arc<Versions>> {
        if let Some(versions) = self.shared.versions.get() {
            return Ok(versions.clone());
        }
        let versions = Arc::new(crate::versions::negotiate(self).await?);
        Ok(self.shared.versions.get_or_init(|| versions).clone())
    }

    /// Sends a request in the newest version that both sides know and waits for its answer.
    pub async fn call<Req: Request>(&self, request: &Req) -> Result<Req::Response> {
        let version = self.version_of::<Req>().await?;
        self.send(request, version).await
    }

    /// The newest version of `Req` that both sides know.
    pub async fn version_of<Req: Request>(&self) -> Result<i16> {
        let versions = self.versions().await?;
        versions.newest::<Req>().ok_or_else(|| ClientError::Unsupported {
            peer: self.shared.peer.clone(),
            what: short_name::<Req>().into(),
        })
    }

    /// Sends a request in `version`, negotiated or not, and waits for its answer.
    pub async fn send<Req: Request>(&self, request: &Req, version: i16) -> Result<Req::Response> {
        self.submit(request, version).await?.answer().await
    }

    /// Queues a request in `version`; the answer is awaited apart, so that more requests can follow.
    pub async fn submit<Req: Request>(&self, request: &Req, version: i16) -> Result<Pending<Req::Response>> {
        let (correlation_id, frame) = self.frame(request, version)?;
        let (reply, answer) = oneshot::channel();
        let deadline = tokio::time::Instant::now() + self.shared.options.request_timeout;
        self.queue(Outgoing { frame, reply: Some(Waiting { correlation_id, reply }) }).await?;
        Ok(Pending {
            connection: self.clone(),
            what: short_name::<Req>(),
            api_key: Req::KEY,
            header_version: Req::Response::header_version(version),
            version,
            deadline,
            reply: answer,
            response: PhantomData,
        })
    }

    /// Sends a request whose body the caller has written, in a version that both sides know, and waits for the body of the
    /// answer. For APIs that have a codec of their own in `ottla-protocol`.
    pub async fn exchange(&self, api: ApiKey, version: i16, body: &[u8]) -> Result<Bytes> {
        let row = api.row();
        let correlation_id = self.next_correlation_id();
        let client_id = self.shared.options.client_id.clone().map(StrBytes::from_string);
        let mut frame = BytesMut::with_capacity(body.len() + HEADER_BYTES_TYPICAL);
        frame.put_i32(0);
        let header =
            header::RequestHeader { api_key: row.key, api_version: version, correlation_id, client_id };
        header::write_request_header(&mut frame, &header);
        frame.put_slice(body);
        let what = || format!("{} v{version}", row.name);
        let size = i32::try_from(frame.len() - 4).map_err(|_| ClientError::Malformed {
            peer: self.shared.peer.clone(),
            what: what(),
            reason: "it is longer than a frame can be".into(),
        })?;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        let (reply, answer) = oneshot::channel();
        let deadline = tokio::time::Instant::now() + self.shared.options.request_timeout;
        self.queue(Outgoing { frame: frame.freeze(), reply: Some(Waiting { correlation_id, reply }) })
            .await?;
        let mut frame = self.wait(answer, deadline, row.name).await?;
        header::read_response_header(&mut frame, row, version).map_err(|malformed| {
            self.malformed(format!("the answer to {}", what()), malformed.to_string())
        })?;
        Ok(frame)
    }

    async fn wait(
        &self,
        answer: oneshot::Receiver<Bytes>,
        deadline: tokio::time::Instant,
        what: &str,
    ) -> Result<Bytes> {
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => {
                // The reader lets go of what waits just before it says why.
                self.closed().await;
                Err(self.closed_error())
            }
            Err(_) => {
                self.shared.abort.send_replace(Some(format!("the answer to {what} was late")));
                let after = self.shared.options.request_timeout;
                Err(ClientError::TimedOut { peer: self.shared.peer.clone(), what: what.into(), after })
            }
        }
    }

    fn next_correlation_id(&self) -> i32 {
        self.shared.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }

    /// Queues a request that gets no answer: Produce with acks=0.
    pub async fn submit_unanswered<Req: Request>(&self, request: &Req, version: i16) -> Result<()> {
        let (_, frame) = self.frame(request, version)?;
        self.queue(Outgoing { frame, reply: None }).await
    }

    /// ApiVersions is the one API whose refusal comes in another version than the request: v0.
    pub(crate) async fn ask_api_versions(
        &self,
        request: &ApiVersionsRequest,
        version: i16,
    ) -> Result<ApiVersionsResponse> {
        let frame = self.submit(request, version).await?.frame().await?;
        let refused =
            frame.get(4..6).is_some_and(|code| code == ErrorCode::UnsupportedVersion.code().to_be_bytes());
        decode_answer(frame, 0, if refused { 0 } else { version })
            .map_err(|reason| self.malformed(format!("the answer to ApiVersions v{version}"), reason))
    }

    fn malformed(&self, what: String, reason: String) -> ClientError {
        self.shared.abort.send_replace(Some(format!("{what} was malformed")));
        ClientError::Malformed { peer: self.shared.peer.clone(), what, reason }
    }

    async fn queue(&self, outgoing: Outgoing) -> Result<()> {
        self.shared.outgoing.send(outgoing).await.map_err(|_| self.closed_error())
    }

    fn frame<Req: Request>(&self, request: &Req, version: i16) -> Result<(i32, Bytes)> {
        let correlation_id = self.next_correlation_id();
        let frame = request_frame(request, version, correlation_id, self.shared.options.client_id.as_deref());
        let frame = frame.map_err(|reason| ClientError::Malformed {
            peer: self.shared.peer.clone(),
            what: format!("{} v{version}", short_name::<Req>()),
            reason,
        })?;
        Ok((correlation_id, frame))
    }

    fn closed_error(&self) -> ClientError {
        let reason = self.shared.end.borrow().clone().unwrap_or_else(|| "the peer stopped reading".into());
        ClientError::Closed { peer: self.shared.peer.clone(), reason }
    }
}

impl<R: Decodable> Pending<R> {
    /// Waits for the answer. A late or unreadable one ends the connection.
    pub async fn answer(self) -> Result<R> {
        let (connection, what) =
            (self.connection.clone(), format!("the answer to {} v{}", self.what, self.version));
        let (api_key, header_version, version) = (self.api_key, self.header_version, self.version);
        let mut frame = self.frame().await?;
        let decoded = match is_bounded(api_key, version) {
            true => ResponseHeader::decode(&mut frame, header_version)
                .map_err(|error| error.to_string())
                .and_then(|_| decode_response(api_key, version, frame).map_err(|error| error.to_string())),
            false => decode_answer(frame, header_version, version),
        };
        decoded.map_err(|reason| connection.malformed(what, reason))
    }

    /// Waits for the answer's bytes: header and body, without the size.
    pub async fn frame(self) -> Result<Bytes> {
        self.connection.wait(self.reply, self.deadline, self.what).await
    }
}

/// A whole request frame, size included.
pub fn request_frame<Req: Request>(
    request: &Req,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> std::result::Result<Bytes, String> {
    let header = RequestHeader::default()
        .with_request_api_key(Req::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(client_id.map(|id| StrBytes::from_string(id.into())));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, Req::header_version(version)).map_err(|error| error.to_string())?;
    request.encode(&mut frame, version).map_err(|error| error.to_string())?;
    let size = i32::try_from(frame.len() - 4).map_err(|_| "it is longer than a frame can be".to_string())?;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(frame.freeze())
}

/// Reads an answer frame (without its size) to its last byte.
pub fn decode_answer<R: Decodable>(
    mut frame: Bytes,
    header_version: i16,
    version: i16,
) -> std::result::Result<R, String> {
    ResponseHeader::decode(&mut frame, header_version).map_err(|error| error.to_string())?;
    let response = R::decode(&mut frame, version).map_err(|error| error.to_string())?;
    match frame.remaining() {
        0 => Ok(response),
        left => Err(format!("{left} bytes are left over")),
    }
}

/// Room for the size and the header of a request.
const HEADER_BYTES_TYPICAL: usize = 64;

/// Whether an answer's counts can be held against its bytes before memory is taken for them. For the other APIs
/// the limit of a frame has to do.
fn is_bounded(api_key: i16, version: i16) -> bool {
    api(api_key).is_some_and(|row| row.serves(version) && row.has_layout())
}

/// `FetchRequest` -> `Fetch`.
pub(crate) fn short_name<Req>() -> &'static str {
    let path = std::any::type_name::<Req>();
    let name = path.rsplit("::").next().unwrap_or(path);
    name.strip_suffix("Request").unwrap_or(name)
}

async fn write_requests(
    writer: WriteHalf,
    mut to_write: mpsc::Receiver<Outgoing>,
    waiting: mpsc::Sender<Waiting>,
    abort: watch::Sender<Option<String>>,
) {
    let mut writer = BufWriter::new(writer);
    while let Some(outgoing) = to_write.recv().await {
        // The reader must know whom to expect before the peer can answer.
        if let Some(reply) = outgoing.reply
            && waiting.send(reply).await.is_err()
        {
            return;
        }
        let mut written = writer.write_all(&outgoing.frame).await;
        if written.is_ok() && to_write.is_empty() {
            written = writer.flush().await;
        }
        if let Err(error) = written {
            abort.send_replace(Some(error.to_string()));
            return;
        }
    }
}

async fn read_answers(
    frames: FrameReader<ReadHalf>,
    to_match: mpsc::Receiver<Waiting>,
    mut aborted: watch::Receiver<Option<String>>,
    ended: watch::Sender<Option<String>>,
) {
    let reason = tokio::select! {
        reason = match_answers(frames, to_match) => reason,
        aborted = aborted.wait_for(Option::is_some) => match aborted {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "no longer used".into(),
        },
    };
    ended.send_replace(Some(reason));
}

/// Hands each frame to the request that is next in line; returns why it ended.
async fn match_answers(mut frames: FrameReader<ReadHalf>, mut to_match: mpsc::Receiver<Waiting>) -> String {
    let mut queue: VecDeque<Waiting> = VecDeque::new();
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            Some(waiting) = to_match.recv() => {
                queue.push_back(waiting);
                continue;
            }
        };
        while let Ok(waiting) = to_match.try_recv() {
            queue.push_back(waiting);
        }
        if let Err(reason) = deliver(frame, &mut queue) {
            return reason;
        }
    }
}

fn deliver(
    frame: io::Result<Option<Bytes>>,
    queue: &mut VecDeque<Waiting>,
) -> std::result::Result<(), String> {
    let frame = match frame {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err("the peer closed it".into()),
        Err(error) => return Err(error.to_string()),
    };
    let Some(waiting) = queue.pop_front() else { return Err("an answer that nobody asked for".into()) };
    let Some(correlation_id) = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) else {
        return Err("an answer without a correlation id".into());
    };
    if correlation_id != waiting.correlation_id {
        return Err(format!("answer {correlation_id} came in place of {}", waiting.correlation_id));
    }
    // Whoever asked may have stopped waiting.
    let _ = waiting.reply.send(frame);
    Ok(())
}
