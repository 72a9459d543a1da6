//! The API driven in process, without TLS, over a real store.

mod create;
mod delete;
mod harness;
mod list;
mod update;
mod watch;
