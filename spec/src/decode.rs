//! Request bodies to JSON: strict checks, YAML, protobuf.
