//! The control plane: API server, artifact registry, scheduler and controllers over one replicated store.

pub mod admission;
pub mod api;
pub mod bootstrap;
mod cache;
pub mod controllers;
mod events;
pub mod leader;
pub mod objects;
pub mod registry;
pub mod run;
pub mod scheduler;
pub mod security;
