//! The owners: each type here has a part of this broker's state, and other code sends it requests.

pub(crate) mod controller;
pub(crate) mod controllers;
pub(crate) mod coordinator;
pub(crate) mod groups;
pub(crate) mod leading;
pub(crate) mod markers;
pub(crate) mod metadata;
pub(crate) mod observer;
pub(crate) mod partition;
pub(crate) mod partitions;
pub(crate) mod producer_ids;
pub(crate) mod proposals;
pub(crate) mod publisher;
pub(crate) mod repeats;
mod room;
pub(crate) mod settings;
pub(crate) mod storage;
pub(crate) mod throttling;
pub(crate) mod transactions;
pub(crate) mod uplink;
pub(crate) mod volume;
pub(crate) mod waiter;
