//! Listening sockets, and accepting connections. It must never know what is sent on a connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use ottla_model::config::Listener;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::service::Service;
use super::stream::Stream;

/// A bound socket. Sockets are bound early, so that a port in use is found before anything else begins.
pub(crate) struct Bound {
    pub listener: Listener,
    pub address: SocketAddr,
    socket: std::net::TcpListener,
}

/// Socket options for a listener.
#[derive(Clone, Copy)]
pub(crate) struct Wishes {
    pub backlog: i32,
    /// `socket.receive.buffer.bytes`: -1 leaves it to the kernel.
    pub receive_buffer_bytes: i32,
}

/// Binds one listener. An empty host means every address, port 0 means any free port.
pub(crate) fn bind(listener: &Listener, wishes: Wishes) -> io::Result<Bound> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses(listener)? {
        match bind_to(address, wishes) {
            Ok(socket) => {
                let address = socket.local_addr()?;
                return Ok(Bound { listener: listener.clone(), address, socket });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

// Without a host: every address, of both families if the machine has both. With a host: its addresses, IPv4 first, since
// clients that resolve the same name try IPv4 sooner or later.
fn addresses(listener: &Listener) -> io::Result<Vec<SocketAddr>> {
    let Some(host) = &listener.host else {
        let every: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        return Ok(every.map(|ip| SocketAddr::new(ip, listener.port)).to_vec());
    };
    let mut found: Vec<SocketAddr> = (host.as_str(), listener.port).to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found)
}

fn bind_to(address: SocketAddr, wishes: Wishes) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Set before listening, because connections inherit the size and announce it in their first packet.
    if let Ok(bytes) = usize::try_from(wishes.receive_buffer_bytes) {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(wishes.backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until the broker stops.
pub(crate) async fn accept(service: Arc<Service>, bound: Bound) -> io::Result<()> {
    let socket = TcpListener::from_std(bound.socket)?;
    let name: Arc<str> = Arc::from(bound.listener.name.as_str());
    let send_buffer_bytes = service.settings.now().socket_send_buffer_bytes;
    info!(listener = %name, address = %bound.address, "listening");
    loop {
        let stopping = service.stopping.clone();
        let accepted = tokio::select! {
            accepted = accept_in_pace(&service, &socket) => accepted,
            () = stopping.cancelled() => return Ok(()),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Probably there are no more file descriptors; other connections will be closed.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = service.census.admit(peer.ip(), most_from(&service, peer.ip())) else {
            info!(%peer, "refusing the connection: max.connections.per.ip is reached");
            continue;
        };
        if let Err(error) = set_up(&stream, send_buffer_bytes) {
            // The client has closed the connection already. The listener goes on.
            debug!(%peer, %error, "cannot set up the connection");
            continue;
        }
        let (service, name) = (service.clone(), name.clone());
        tokio::spawn(async move {
            // Created inside the task, because a value that is moved into a task takes up its size twice.
            Connection::new(service, Stream::Plain(stream), name, peer).serve().await;
            drop(place);
        });
    }
}

// A small send buffer (`socket.send.buffer.bytes`; -1: the kernel's default) makes the broker faster and not slower: the
// client receives bytes while they are still in the processor's cache, and is woken for more bytes at a time.
fn set_up(stream: &TcpStream, send_buffer_bytes: i32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match usize::try_from(send_buffer_bytes) {
        Ok(bytes) => SockRef::from(stream).set_send_buffer_size(bytes),
        Err(_) => Ok(()),
    }
}

// A connection that comes too early waits here, and the ones behind it wait in the kernel's queue.
async fn accept_in_pace(service: &Service, socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    // If `max.connections` is reached, none is accepted until one ends. The others wait in the kernel's queue.
    service.census.room(&service.settings).await;
    let accepted = socket.accept().await?;
    service.census.pace(&service.settings).await;
    Ok(accepted)
}

// An override is for an address, or for a host name that resolves to the address.
fn most_from(service: &Service, ip: IpAddr) -> usize {
    let config = service.settings.now();
    let overrides = config.max_connections_per_ip_overrides.iter();
    let ip = ip.to_canonical();
    let mut mine = overrides.filter(|(host, _)| {
        let named = || (host.as_str(), 0).to_socket_addrs().is_ok_and(|mut all| all.any(|a| a.ip() == ip));
        host.parse::<IpAddr>().map_or_else(|_| named(), |address| address == ip)
    });
    let most = mine.next().map_or(config.max_connections_per_ip, |(_, count)| *count);
    most.max(0) as usize
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ottla_model::config::{Sources, load};
    use ottla_protocol::api::{ApiRow, Listener as Kind};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::net::memory::RequestMemory;
    use crate::request::{Answer, Caller, Dispatcher, Overtakers, Part, Queued, Staged};
    use crate::run::owners::settings::Settings;
    use crate::run::work::threads::Threads;
    use crate::stop::Stopping;

    fn settings(overrides: &[(&str, &str)]) -> Arc<Settings> {
        let overrides: Vec<_> =
            overrides.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let (config, _) =
            load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration");
        Arc::new(Settings::new(Arc::new(config)))
    }

    #[tokio::test]
    async fn sockets_have_the_buffers_that_were_asked_for() {
        for (bytes, most) in [(102_400, 204_800), (-1, usize::MAX)] {
            let listener = Listener {
                host: Some("127.0.0.1".into()),
                port: 0,
                ..settings(&[]).now().listeners[0].clone()
            };
            let bound =
                bind(&listener, Wishes { backlog: 1, receive_buffer_bytes: bytes }).expect("a free port");
            let _client = std::net::TcpStream::connect(bound.address).expect("it listens");
            let listening = TcpListener::from_std(bound.socket).expect("it is not blocking");
            let (accepted, _) = listening.accept().await.expect("a connection");
            set_up(&accepted, bytes).expect("it is there");
            let socket = SockRef::from(&accepted);
            let (send, receive) = (socket.send_buffer_size(), socket.recv_buffer_size());
            let asked = usize::try_from(bytes).unwrap_or(1);
            // Linux doubles the size for its own bookkeeping.
            assert!((asked..=most).contains(&send.expect("a size")), "{bytes}");
            assert!((asked..=most).contains(&receive.expect("a size")), "{bytes}");
        }
    }

    /// A listener of this kind, and the means to stop it.
    fn listen(kind: Kind, dispatcher: Arc<dyn Dispatcher>) -> (SocketAddr, Stopping, Accepting) {
        let settings = settings(&[]);
        let listener =
            Listener { host: Some("127.0.0.1".into()), port: 0, ..settings.now().listeners[0].clone() };
        let bound = bind(&listener, Wishes { backlog: 1, receive_buffer_bytes: -1 }).expect("a free port");
        let (address, stopping) = (bound.address, Stopping::new());
        let service = Service {
            kind,
            dispatcher,
            settings,
            census: Arc::default(),
            request_memory: RequestMemory::new(-1),
            readers: Threads::new("test", 1),
            stopping: stopping.clone(),
        };
        (address, stopping, tokio::spawn(accept(Arc::new(service), bound)))
    }

    type Accepting = tokio::task::JoinHandle<io::Result<()>>;

    fn request(key: u8, version: u8) -> [u8; 14] {
        [0, 0, 0, 10, 0, key, 0, version, 0, 0, 0, 7, 0xff, 0xff]
    }

    fn echo(version: i16) -> Answer {
        Answer::Parts(vec![Part::Bytes(Bytes::copy_from_slice(&version.to_be_bytes()))])
    }

    /// Answers every request with its own version.
    struct Echo;

    impl Dispatcher for Echo {
        fn dispatch(&self, caller: &Caller, _: &'static ApiRow, version: i16, _: Bytes) -> Staged {
            assert_eq!(caller.kind, Kind::Controller);
            Staged::Queued(Queued::Answered(echo(version)))
        }
    }

    #[tokio::test]
    async fn a_listener_needs_no_broker() {
        let (address, stopping, accepting) = listen(Kind::Controller, Arc::new(Echo));
        let mut client = TcpStream::connect(address).await.expect("it listens");
        client.write_all(&request(18, 2)).await.expect("ApiVersions is sent");
        let mut answer = [0; 10];
        client.read_exact(&mut answer).await.expect("it is answered");
        assert_eq!(answer, [0, 0, 0, 6, 0, 0, 0, 7, 0, 2]);
        client.write_all(&request(0, 3)).await.expect("Produce is sent");
        assert_eq!(client.read(&mut answer).await.expect("no failure"), 0, "a controller serves no Produce");
        stopping.cancel();
        accepting.await.expect("the task ends").expect("it never failed");
    }

    /// Holds each request before it is queued, and before it is answered, for as long as the test wants.
    struct Looking {
        dispatched: mpsc::UnboundedSender<Dispatched>,
    }

    struct Dispatched {
        version: i16,
        queue: oneshot::Sender<()>,
        answer: oneshot::Sender<()>,
    }

    impl Dispatcher for Looking {
        fn dispatch(&self, _: &Caller, _: &'static ApiRow, version: i16, _: Bytes) -> Staged {
            let ((queue, queued), (answer, answered)) = (oneshot::channel(), oneshot::channel());
            self.dispatched.send(Dispatched { version, queue, answer }).expect("the test looks on");
            Staged::Queueing(Box::pin(async move {
                queued.await.expect("the test says when");
                Queued::Answering(
                    Overtakers::Produces,
                    Box::pin(async move {
                        answered.await.expect("the test says when");
                        echo(version)
                    }),
                )
            }))
        }
    }

    #[tokio::test]
    async fn what_a_connection_asks_is_queued_in_its_order_and_answered_in_its_order() {
        let (dispatched, mut seen) = mpsc::unbounded_channel();
        let (address, stopping, accepting) = listen(Kind::Broker, Arc::new(Looking { dispatched }));
        let mut client = TcpStream::connect(address).await.expect("it listens");
        // The answer to a Produce of these versions never has a flexible header.
        client.write_all(&[request(0, 3), request(0, 4)].concat()).await.expect("two Produces are sent");
        let first = seen.recv().await.expect("the first one is dispatched");
        assert_eq!(first.version, 3);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(seen.try_recv().is_err(), "the second one waits until the first one is queued");
        first.queue.send(()).expect("it waits for that");
        let second = seen.recv().await.expect("the second one is dispatched");
        assert_eq!(second.version, 4);
        second.queue.send(()).expect("it waits for that");
        second.answer.send(()).expect("it waits for that");
        let mut answers = [0; 20];
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(client.try_read(&mut answers).is_err(), "its answer comes second");
        first.answer.send(()).expect("it waits for that");
        client.read_exact(&mut answers).await.expect("both are answered");
        assert_eq!((answers[9], answers[19]), (3, 4));
        stopping.cancel();
        accepting.await.expect("the task ends").expect("it never failed");
    }
}
