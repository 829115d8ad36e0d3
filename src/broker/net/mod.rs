//! Listeners and connections: bytes in, bytes out. Nothing here knows a topic.

pub(crate) mod connection;
pub(crate) mod listener;
mod outbox;

pub(crate) use outbox::Part;
