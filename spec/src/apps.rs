//! Kinds of the apps group: one file each, and what workloads share.

pub mod controller_revision;
pub mod daemon_set;
pub mod deployment;
pub mod replica_set;
pub mod scale;
pub mod stateful_set;
pub(crate) mod workload;
