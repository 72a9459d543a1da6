//! Kinds of the storage.k8s.io group: one file each.

pub mod storage_class;
