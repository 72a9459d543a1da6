//! Kinds of the apps group: one file each, and what workloads share.

pub mod deployment;
pub mod replica_set;
pub mod scale;
pub(crate) mod workload;
