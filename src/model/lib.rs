//! What a cluster is, as plain data: its brokers, topics and settings, and how each of them is named.
//!
//! * [`ids`] and [`topics`]: names and numbers, each with a type of its own, and how they are spelled.
//! * [`config`]: one table of Kafka's configuration keys. Reading a file, checking a value, typed settings for broker and
//!   topics, DescribeConfigs and the reference page all come from it.
//! * [`record`]: the records of the metadata log, `__cluster_metadata`. They are the only way in which a cluster changes.
//! * [`image`]: the cluster at one offset of that log. It is immutable and cheap to share: applying records gives a new one.
//! * [`group`]: the records of `__consumer_offsets`, in which a group coordinator keeps what it knows.
//! * [`txn`]: the records of `__transaction_state`, in which a transaction coordinator keeps what it knows.
//! * [`feature`]: the feature levels on which a cluster agrees, `metadata.version` first.
//!
//! Nothing here knows how data is stored or sent, or who decided it: `ottla-core` decides, `ottla-log` stores.

pub mod config;
pub mod dice;
pub mod feature;
pub mod group;
pub mod ids;
pub mod image;
pub mod record;
pub mod topics;
pub mod txn;

pub use ids::*;
pub use topics::*;
