//! The agent's loop: observe, plan, apply.
