//! The agent's loop: observe, plan, apply.

pub mod addresses;
pub mod backoff;
pub mod env;
pub mod plan;
pub mod pod;
