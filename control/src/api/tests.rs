//! The API driven in process, without TLS, over a real store.

mod access;
mod apply;
mod create;
mod custom;
mod delete;
mod discovery;
mod harness;
mod list;
mod patch;
mod pods;
mod services;
mod tokens;
mod traces;
mod update;
mod watch;
