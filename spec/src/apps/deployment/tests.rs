//! Deployments: defaults, messages, rows.
