//! Kinds of the node.k8s.io group: one file each.

pub mod runtime_class;
