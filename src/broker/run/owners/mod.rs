//! What has one owner: each type here keeps a piece of the state of this broker, and everybody else asks it.

pub(crate) mod controller;
pub(crate) mod coordinator;
pub(crate) mod groups;
pub(crate) mod partition;
pub(crate) mod partitions;
pub(crate) mod producer_ids;
pub(crate) mod publisher;
pub(crate) mod settings;
pub(crate) mod storage;
pub(crate) mod volume;
pub(crate) mod waiter;
