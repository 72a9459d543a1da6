//! Objects that exist in an empty cluster.
