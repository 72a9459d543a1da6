//! Kinds of the networking.k8s.io group: one file each. Nothing acts on them yet.

pub mod ingress;
pub mod ingress_class;
pub mod network_policy;
