//! Listeners and connections: bytes in, bytes out. Nothing here knows a topic.

pub(crate) mod census;
mod connection;
pub(crate) mod host_name;
pub(crate) mod listener;
pub(crate) mod memory;
mod outbox;
mod pace;
mod reverse_dns;
mod scratch;
pub(crate) mod service;
mod stream;
pub(crate) mod warming;
