//! Watches against a model of what they must see.
