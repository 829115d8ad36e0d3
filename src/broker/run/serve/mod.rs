//! What request handlers share: reading and writing partitions, topics and settings. Nothing here keeps state between two
//! requests.

pub(crate) mod configs;
pub(crate) mod create;
pub(crate) mod delete_records;
pub(crate) mod fetch;
pub(crate) mod list_offsets;
pub(crate) mod nearest;
pub(crate) mod noting;
pub(crate) mod parting;
pub(crate) mod produce;
pub(crate) mod verify;
pub(crate) mod watch;
