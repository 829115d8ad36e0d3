//! Listeners and connections: bytes in, bytes out. Nothing here knows a topic.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod memory;
mod outbox;
mod pace;
mod scratch;

pub(crate) use outbox::Part;
