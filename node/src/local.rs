//! Pods of this node that answer HTTP in process.
