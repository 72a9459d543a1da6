//! What a kind is.
