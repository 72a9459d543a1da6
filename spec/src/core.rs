//! Kinds of the core group: one file each.

pub mod config_map;
pub mod namespace;
pub mod pod;
