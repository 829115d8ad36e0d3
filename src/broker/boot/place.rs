//! Where other nodes find a controller's listeners: as its configuration says, or else under the name of this machine.

use ottla_model::config::BrokerConfig;
use ottla_model::image::Endpoint;

use crate::net::host_name;
use crate::net::listener::Bound;

/// The listeners of a controller.
pub(super) struct Place(Vec<Listening>);

struct Listening {
    name: String,
    /// `None`: the configuration names none.
    host: Option<String>,
    port: u16,
    /// The system has chosen the port.
    any_port: bool,
    security_protocol: i16,
}

impl Place {
    pub fn of(config: &BrokerConfig, bound: &[Bound]) -> Place {
        let listening = |bound: &Bound| {
            let (host, port) = config.controller_address(&bound.listener);
            Listening {
                name: bound.listener.name.clone(),
                host,
                any_port: port == 0,
                port: if port == 0 { bound.address.port() } else { port },
                security_protocol: bound.listener.protocol.code(),
            }
        };
        Place(bound.iter().map(listening).collect())
    }

    /// Whether all of it is in the configuration.
    pub fn is_configured(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|listening| listening.host.is_some() && !listening.any_port)
    }

    /// The name of this machine is looked up only if it is needed.
    pub async fn endpoints(&self) -> Vec<Endpoint> {
        let name = match self.0.iter().all(|listening| listening.host.is_some()) {
            true => String::new(),
            false => {
                let found = tokio::task::spawn_blocking(host_name::canonical).await;
                found.expect("looking a name up does not panic")
            }
        };
        let endpoint = |listening: &Listening| Endpoint {
            name: listening.name.clone(),
            host: listening.host.clone().unwrap_or_else(|| name.clone()),
            port: listening.port,
            security_protocol: listening.security_protocol,
        };
        self.0.iter().map(endpoint).collect()
    }
}
