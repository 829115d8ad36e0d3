//! Listeners: bound early, so that a port in use is found before anything else begins, and served later.

use std::sync::Arc;

use ottla_model::config::{BrokerConfig, Listener, Role, Source};
use tracing::error;

use super::failure::BootError;
use crate::net::listener::{self, Bound, Wishes};
use crate::net::service::Service;

pub(super) async fn serve(service: Service, bound: Bound) {
    let name = bound.listener.name.clone();
    if let Err(error) = listener::accept(Arc::new(service), bound).await {
        error!(listener = name, %error, "stopped listening");
    }
}

pub(super) fn bind_all<'a>(
    config: &BrokerConfig,
    listeners: impl Iterator<Item = &'a Listener>,
) -> Result<Vec<Bound>, BootError> {
    let wishes = Wishes { backlog: backlog(config), receive_buffer_bytes: receive_buffer(config) };
    let bind = |listener: &Listener| {
        listener::bind(listener, wishes).map_err(|source| BootError::Listen {
            name: listener.name.clone(),
            host: listener.host.clone().unwrap_or_default(),
            port: listener.port,
            source,
        })
    };
    listeners.map(bind).collect()
}

/// The sockets of the controller's listeners; or why there are none, where a controller may be alone: then no other node needs
/// them, they are for tools, and may be missing.
pub(super) type Controllers = Result<Vec<Bound>, BootError>;

pub(super) fn bind_controllers(config: &BrokerConfig) -> Result<Controllers, BootError> {
    let may_be_alone = config.controller_quorum_voters.len() < 2 && config.has_role(Role::Broker);
    let bound = bind_all(config, config.controller_listeners());
    if may_be_alone { Ok(bound) } else { bound.map(Ok) }
}

// Where nobody has set it, as many as the kernel allows: beyond the default of 50 a burst of new connections waits for TCP
// to try again, which takes seconds.
fn backlog(config: &BrokerConfig) -> i32 {
    let set = config.get("socket.listen.backlog.size").is_some_and(|found| found.source != Source::Default);
    if set { config.socket_listen_backlog_size } else { i32::from(i16::MAX) }
}

// The default, which is also what Kafka's own server.properties says, is left to the kernel: it begins with more, and makes it
// larger while a producer sends much. With 100 KB a broker needs a quarter more of the processor for large requests.
fn receive_buffer(config: &BrokerConfig) -> i32 {
    match config.socket_receive_buffer_bytes {
        102_400 => -1,
        bytes => bytes,
    }
}
