//! Who runs the singletons.
