//! Isopod's replicated, revisioned key-value store: bytes, keys, revisions; no kinds.
