//! The shell of a broker: the only crate that joins Tokio, threads, sockets and clocks to state. What it carries
//! out is decided in `ottla-core` and `ottla-node`.

mod api;
mod authorizer;
mod boot;
mod broker;
mod clock;
mod loggers;
mod net;
mod request;
mod run;
mod stop;

pub use boot::{BootError, Failure, Options, Server, start};
pub use loggers::LogFilter;
