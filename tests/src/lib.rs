//! What the end-to-end tests share: clusters of real processes ([`Cluster`]) and real clients.
//!
//! Every cluster has its own folder, free ports and its own ranges of loopback addresses, so tests run side by
//! side. Processes are ended by their id when a [`Cluster`] is dropped, also when its test fails; the folder of a
//! failed test is kept and named.

pub mod ask;
pub mod client;
pub mod cluster;
pub mod command;
pub mod control_plane;
pub mod dockerd;
pub mod node;
pub mod observer;
pub mod wait;

pub use cluster::{Cluster, Options, Ranges};
pub use command::{Outcome, run};
pub use wait::eventually;
