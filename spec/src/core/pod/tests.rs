//! Pods: defaults, messages, updates, rows.
