//! How a configuration spells addresses: listeners, voters, host and port. It must never know which of them belong
//! together: `listeners` and `quorum` do.

use std::fmt;

use crate::NodeId;

/// One entry of `listeners` or `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// In upper case, as Kafka compares names.
    pub name: String,
    /// `None`: the entry names no host. Then the listener is bound to every interface, and advertised under this
    /// machine's name.
    pub host: Option<String>,
    /// 0: the system chooses the port.
    pub port: u16,
    pub protocol: SecurityProtocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// One entry of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub id: NodeId,
    pub address: HostPort,
}

impl Listener {
    /// The address for clients, once the machine's name and the bound port are known.
    pub fn resolved(&self, host_name: &str, bound_port: u16) -> Listener {
        Listener {
            host: Some(self.host.clone().unwrap_or_else(|| host_name.to_owned())),
            port: if self.port == 0 { bound_port } else { self.port },
            ..self.clone()
        }
    }
}

impl SecurityProtocol {
    pub const ALL: [SecurityProtocol; 4] = [
        SecurityProtocol::Plaintext,
        SecurityProtocol::Ssl,
        SecurityProtocol::SaslPlaintext,
        SecurityProtocol::SaslSsl,
    ];

    pub fn parse(name: &str) -> Option<SecurityProtocol> {
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// As in a broker's registration record.
    pub fn code(self) -> i16 {
        match self {
            SecurityProtocol::Plaintext => 0,
            SecurityProtocol::Ssl => 1,
            SecurityProtocol::SaslPlaintext => 2,
            SecurityProtocol::SaslSsl => 3,
        }
    }
}

/// `name://host:port`. The host may be missing; an IPv6 address may be in brackets or not.
pub(super) struct Written {
    pub name: String,
    pub host: Option<String>,
    pub port: u16,
}

impl Written {
    pub fn parse(entry: &str) -> Option<Written> {
        let (name, address) = entry.rsplit_once("://")?;
        let (host, port) = split_address(address)?;
        let host = Some(host).filter(|host| !host.is_empty());
        Some(Written { name: name.to_uppercase(), host, port })
    }
}

impl HostPort {
    /// `host:port`; a scheme before it is skipped, as Kafka does.
    pub fn parse(text: &str) -> Option<HostPort> {
        let address = text.split_once("://").map_or(text, |(_, address)| address);
        let (host, port) = split_address(address)?;
        (!host.is_empty()).then_some(HostPort { host, port })
    }
}

impl Voter {
    /// `id@host:port`.
    pub fn parse(text: &str) -> Option<Voter> {
        let (id, address) = text.split_once('@')?;
        let id = id.parse().ok().filter(|id: &i32| *id >= 0)?;
        Some(Voter { id: NodeId(id), address: HostPort::parse(address)? })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or("");
        if host.contains(':') {
            write!(f, "{}://[{host}]:{}", self.name, self.port)
        } else {
            write!(f, "{}://{host}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-%._:".contains(c);
    if !host.chars().all(fits) || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((host.to_owned(), port.parse().ok()?))
}
