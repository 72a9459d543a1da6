//! Typed objects over the store, under the same rules as the HTTP API.
