//! What the cluster is: ids, the config table, metadata records and the immutable image they make.
//! It must never know how any of it is stored, sent or decided.

pub mod config;
pub mod dice;
pub mod feature;
pub mod group;
pub mod ids;
pub mod image;
pub mod record;
pub mod topics;

pub use ids::*;
pub use topics::*;
