//! The name that clients get for this machine if the configuration names no host: the canonical name of its own address,
//! as Java's `InetAddress` finds it. It must never know what the name is for.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use tracing::warn;

use super::reverse_dns::{answered, asked};

/// The canonical name for the address of this machine's host name. If there is none, or if that name has another address,
/// the result is the address itself. This waits for name servers, which may take seconds.
pub(crate) fn canonical() -> String {
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let Some(address) = addresses(&own).first().copied() else {
        warn!(host_name = own, "the host name of this machine has no address; clients are told it as it is");
        return own;
    };
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let servers = || name_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let name =
        named(&hosts, address).or_else(|| servers().into_iter().find_map(|server| ask(server, address)));
    name.filter(|name| addresses(name).contains(&address)).unwrap_or_else(|| address.to_string())
}

// IPv4 first, as in Java.
fn addresses(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let mut found: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

// The first name in the first line with this address.
fn named(hosts: &str, address: IpAddr) -> Option<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    lines
        .filter_map(|mut words| Some((words.next()?.parse::<IpAddr>().ok()?, words.next()?)))
        .find_map(|(known, name)| (known == address).then(|| name.to_owned()))
}

fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let words = resolv_conf.lines().map(str::split_whitespace);
    let servers = words.filter_map(|mut words| match words.next()? {
        "nameserver" => Some(SocketAddr::new(words.next()?.parse().ok()?, 53)),
        _ => None,
    });
    servers.take(SERVERS_MAX).collect()
}

fn ask(server: SocketAddr, address: IpAddr) -> Option<String> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.connect(server).ok()?;
    let id = rand::random();
    socket.send(&asked(id, address)).ok()?;
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer).ok()?;
    answered(id, answer.get(..len)?)
}

/// The number of name servers that the C library asks.
const SERVERS_MAX: usize = 3;
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::reverse_dns::tests::answer;

    #[test]
    fn the_first_name_of_the_first_line_counts() {
        let check = |hosts: &str, address: &str, expected: Option<&str>| {
            let address = address.parse().expect("an address");
            assert_eq!(named(hosts, address).as_deref(), expected, "{hosts:?} {address}");
        };
        let debian = "127.0.0.1\tlocalhost\n127.0.1.1\tbox.example.org\tbox\n::1 localhost ip6-localhost\n";
        check(debian, "127.0.1.1", Some("box.example.org"));
        check(debian, "127.0.0.1", Some("localhost"));
        check(debian, "::1", Some("localhost"));
        check(debian, "10.0.0.1", None);
        let container = "127.0.0.1 localhost\n10.1.2.3 kafka-0.kafka.ns.svc kafka-0 # pod\n";
        check(container, "10.1.2.3", Some("kafka-0.kafka.ns.svc"));
        check("# 10.0.0.1 a\n10.0.0.1\n10.0.0.1 # b\n 10.0.0.1 c d\n10.0.0.1 e", "10.0.0.1", Some("c"));
    }

    #[test]
    fn name_servers_are_read_as_the_c_library_does() {
        let text =
            "search a\n# nameserver 1.1.1.1\nnameserver 10.0.0.53\nnameserver nonsense\nnameserver ::1\n";
        let servers: Vec<SocketAddr> = vec![([10, 0, 0, 53], 53).into(), "[::1]:53".parse().expect("one")];
        assert_eq!(name_servers(text), servers);
    }

    #[test]
    fn a_name_server_is_asked_once_and_believed() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = server.local_addr().expect("its address");
        let serve = std::thread::spawn(move || {
            let mut question = [0; 512];
            let (len, from) = server.recv_from(&mut question).expect("a question");
            server.send_to(&answer(&question[..len], &["box", "example", "org"]), from).expect("sent");
        });
        let name = ask(address, [10, 1, 2, 3].into());
        serve.join().expect("it ends");
        assert_eq!(name.as_deref(), Some("box.example.org"));
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(!canonical().is_empty());
    }
}
