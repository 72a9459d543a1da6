//! What members ask of a node: logs.
