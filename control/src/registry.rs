//! The artifact registry: the OCI distribution API over blobs on disk.
