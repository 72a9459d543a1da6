//! Kinds of the scheduling.k8s.io group: one file each.

pub mod priority_class;
