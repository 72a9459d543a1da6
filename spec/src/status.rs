//! The API's error body and its reasons.
