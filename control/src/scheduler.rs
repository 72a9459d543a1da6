//! The scheduler: pods to nodes.
