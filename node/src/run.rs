//! Config to wiring of a node.
