//! Cluster names, answered without a DNS server.
