//! Listening sockets and the limits on who may connect (`max.connections*`, `max.connection.creation.rate`).
//! It must never know what is said on a connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use ottla_model::config::Listener;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::pace::Pace;
use crate::broker::Broker;
use crate::run::settings::Settings;

/// A socket that is bound, so that a port in use is found before anything else begins.
pub(crate) struct Bound {
    pub listener: Listener,
    pub address: SocketAddr,
    socket: std::net::TcpListener,
}

/// What the kernel is asked to do for a listener.
#[derive(Clone, Copy)]
pub(crate) struct Wishes {
    pub backlog: i32,
    /// `socket.receive.buffer.bytes`: -1 leaves it to the kernel.
    pub receive_buffer_bytes: i32,
}

/// Binds one listener. An empty host is every address; port 0 is any free port.
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

// Without a host: every address, of both families where the machine has both. With one: its addresses, IPv4 first,
// since clients that resolve the same name try that one at the latest.
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
    // Before it listens: connections inherit it, and tell their peers with the first packet how much they take.
    if let Ok(bytes) = usize::try_from(wishes.receive_buffer_bytes) {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(wishes.backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connections by address, over all listeners.
pub(crate) struct Census {
    counts: Mutex<Counts>,
    /// A connection has ended. Every listener that waits for room is told, and whoever waits for all to be gone: if only
    /// one were, it might be a listener to which nobody connects.
    ended: Notify,
    pace: Mutex<Pace>,
    began: Instant,
}

impl Default for Census {
    fn default() -> Census {
        let (counts, ended, pace) = Default::default();
        Census { counts, ended, pace, began: Instant::now() }
    }
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
}

impl Census {
    /// Waits until every connection has ended.
    pub async fn emptied(&self) {
        loop {
            // Made before the look: it hears of all that ends from here on.
            let ended = self.ended.notified();
            if self.counts.lock().all == 0 {
                return;
            }
            ended.await;
        }
    }

    // Waits until fewer than `max.connections` are there.
    async fn room(&self, settings: &Settings) {
        loop {
            // Both made before the look, for the same reason.
            let (ended, change) = (self.ended.notified(), settings.change());
            if self.counts.lock().all < settings.now().max_connections as usize {
                return;
            }
            tokio::select! {
                () = ended => {}
                () = change => {}
            }
        }
    }

    // Counts one more, unless there are as many from that address as may be.
    fn admit(self: &Arc<Self>, ip: IpAddr, most: usize) -> Option<Place> {
        let mut counts = self.counts.lock();
        let count = counts.by_ip.entry(ip).or_default();
        if *count >= most {
            if *count == 0 {
                counts.by_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        counts.all += 1;
        Some(Place { census: self.clone(), ip })
    }

    // Waits until the connection that has come may be served by `max.connection.creation.rate`.
    async fn pace(&self, settings: &Settings) {
        let mut change = pin!(settings.change());
        let mut wait =
            self.pace.lock().admit(self.began.elapsed(), settings.now().max_connection_creation_rate);
        while !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => return,
                // At a slow rate that would be a long time to wait for nothing.
                () = change.as_mut() => {}
            }
            change.set(settings.change());
            wait = self.pace.lock().wait(self.began.elapsed(), settings.now().max_connection_creation_rate);
        }
    }
}

/// A counted connection; it is no longer counted when this is dropped.
struct Place {
    census: Arc<Census>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.census.counts.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.by_ip.remove(&self.ip);
            }
        }
        drop(counts);
        self.census.ended.notify_waiters();
    }
}

/// Accepts until the broker stops.
pub(crate) async fn accept(broker: Arc<Broker>, bound: Bound) -> io::Result<()> {
    let socket = TcpListener::from_std(bound.socket)?;
    let name: Arc<str> = Arc::from(bound.listener.name.as_str());
    let send_buffer_bytes = broker.config().socket_send_buffer_bytes;
    info!(listener = %name, address = %bound.address, "listening");
    loop {
        let stopping = broker.stopping.clone();
        let accepted = tokio::select! {
            accepted = accept_in_pace(&broker, &socket) => accepted,
            () = stopping.cancelled() => return Ok(()),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: others will close theirs.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = broker.census.admit(peer.ip(), most_from(&broker, peer.ip())) else {
            info!(%peer, "refusing the connection: max.connections.per.ip is reached");
            continue;
        };
        if let Err(error) = set_up(&stream, send_buffer_bytes) {
            // It has gone already. That is no reason to stop listening to others.
            debug!(%peer, %error, "cannot set up the connection");
            continue;
        }
        let (broker, name) = (broker.clone(), name.clone());
        tokio::spawn(async move {
            // Made here, because what is handed into a task takes room in it twice.
            Connection::new(broker, stream, name, peer).serve().await;
            drop(place);
        });
    }
}

// A small send buffer (`socket.send.buffer.bytes`, -1 leaves it to the kernel) makes the broker faster, not slower: what was sent
// is received while it is still in the processor's cache, and the client is woken for more at a time.
fn set_up(stream: &TcpStream, send_buffer_bytes: i32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match usize::try_from(send_buffer_bytes) {
        Ok(bytes) => SockRef::from(stream).set_send_buffer_size(bytes),
        Err(_) => Ok(()),
    }
}

// A connection that comes too soon waits here, and those behind it in the kernel's queue.
async fn accept_in_pace(broker: &Broker, socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    // With `max.connections` reached nobody is accepted until somebody has gone; the kernel's queue holds the others.
    broker.census.room(&broker.settings).await;
    let accepted = socket.accept().await?;
    broker.census.pace(&broker.settings).await;
    Ok(accepted)
}

// An override is by address, or by a host name that resolves to it.
fn most_from(broker: &Broker, ip: IpAddr) -> usize {
    let config = broker.config();
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
    use std::net::Ipv4Addr;

    use ottla_model::config::{Sources, load};

    use super::*;

    fn settings(overrides: &[(&str, &str)]) -> Arc<Settings> {
        let overrides: Vec<_> =
            overrides.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let (config, _) =
            load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration");
        Arc::new(Settings::new(config))
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
            // Linux takes twice as much, for its own bookkeeping.
            assert!((asked..=most).contains(&send.expect("a size")), "{bytes}");
            assert!((asked..=most).contains(&receive.expect("a size")), "{bytes}");
        }
    }

    /// Two listeners wait for room, and nobody connects to one of them: it must not keep the news from the other.
    #[tokio::test]
    async fn every_listener_hears_that_there_is_room() {
        let census = Arc::new(Census::default());
        let settings = settings(&[("max.connections", "1")]);
        let place = census.admit(Ipv4Addr::LOCALHOST.into(), 9).expect("there is room");
        let waits = |census: Arc<Census>, settings: Arc<Settings>| {
            tokio::spawn(async move { census.room(&settings).await })
        };
        let waiting = [(); 2].map(|()| waits(census.clone(), settings.clone()));
        let stopping = tokio::spawn({
            let census = census.clone();
            async move { census.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|listener| !listener.is_finished()) && !stopping.is_finished());
        drop(place);
        for listener in waiting {
            listener.await.expect("it was told");
        }
        stopping.await.expect("and so was whoever waits for all to be gone");
    }
}
