//! Services: defaults, messages, updates, rows.
