//! The node: makes this machine run the pods bound to it, and is the network between them.
//!
//! An ordinary API client: it knows the control plane only by HTTP.

pub mod agent;
pub mod client;
mod coalesce;
pub mod docker;
mod forward;
pub mod images;
pub mod known;
pub mod local;
pub mod logs;
pub mod machine;
mod members;
mod metrics;
pub mod names;
pub mod namespace;
pub mod probe;
pub mod proxy;
pub mod register;
mod renewal;
pub mod run;
pub mod runtime;
pub mod server;
pub mod status;
pub mod volumes;

/// The wasmtime release line that runs WebAssembly: an LTS, see `Cargo.toml`.
pub const WASMTIME_VERSION: &str = "48";
