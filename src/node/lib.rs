//! The moving parts of a broker as step functions: what happened goes in, what to do comes out. The broker drives
//! them with threads, sockets and a real disk, the simulator with a seed; the code in between is the same.
//! Nothing in here may know of Tokio, sockets, threads or clocks.

pub mod controller;
pub mod coordinator;
pub mod joining;
pub mod lane;
pub mod quorum;
pub mod replicas;
