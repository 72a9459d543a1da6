//! The control plane: API server, artifact registry, scheduler and controllers over one replicated store.

pub mod admission;
pub mod api;
pub mod bootstrap;
mod cache;
pub mod controllers;
mod custom;
mod events;
mod fairness;
pub mod leader;
pub mod membership;
mod node_client;
pub mod objects;
pub mod peers;
pub mod registry;
pub mod run;
pub mod scheduler;
pub mod security;
mod serve;

/// The version of Kubernetes whose API this control plane speaks.
pub const KUBERNETES_VERSION: &str = "v1.36.0";
