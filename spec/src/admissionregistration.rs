//! Kinds of the admissionregistration.k8s.io group: one file each.

pub mod webhooks;
