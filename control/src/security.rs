//! The cluster's CA, identities and what they may do.
