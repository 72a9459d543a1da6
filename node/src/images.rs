//! Artifacts by reference: pull, verify, keep.
