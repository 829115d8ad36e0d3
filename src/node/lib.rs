//! The moving parts of a broker as step functions: what happened goes in, what is to be done comes out. `ottla-broker` drives
//! them with threads, sockets and a real disk, `ottla-sim` with a seed and a simulated one. It is the same code, so what holds
//! in the simulator holds in the broker.
//!
//! * [`lane`]: the owner of one partition's log. Appends, flushes, replication and retention are its inputs.
//! * [`replicas`]: what a new metadata image asks of this broker: which logs to open, lead, follow, configure or delete.
//! * [`fetching`]: a fetcher of this broker: what it asks a leader for, and what follows from the answers.
//! * [`lifecycle`]: how a broker registers with its controller, is unfenced, shows that it is alive, and leaves.
//! * [`quorum`]: the metadata log and the Raft group that agrees on it.
//! * [`observer`]: a broker that is no controller and follows the metadata log.
//! * [`waiting`]: the fetches of observers that wait for something new.
//! * [`controller`]: the active controller: it decides commands, offers the records to the quorum, answers when they are
//!   agreed on.
//! * [`mod@coordinator`]: a shard of a coordinator: a machine of `ottla-core` joined to the partition that remembers for it, and
//!   the keeper that owns it.
//! * [`verification`]: batches of transactions before they are appended: what their coordinator is asked.
//! * [`marking`]: the ends of transactions on their way into partitions.
//!
//! Unlike `ottla-core` these own logs, so they read and write files through `ottla_log::Disk`. They may not know of Tokio,
//! sockets, threads or clocks; `clippy.toml` sees to it.

mod applying;
pub mod cleaning;
pub mod controller;
pub mod coordinator;
pub mod fetching;
pub mod lane;
pub mod lifecycle;
pub mod marking;
pub mod moving;
pub mod observer;
pub mod quorum;
pub mod replicas;
pub mod throttle;
pub mod verification;
pub mod waiting;
