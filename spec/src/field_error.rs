//! Validation errors: field path, reason, message.
