//! The agent's loop: observe, plan, apply.

pub mod backoff;
pub mod plan;
pub mod pod;
