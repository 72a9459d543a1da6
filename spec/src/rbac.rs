//! Kinds of rbac.authorization.k8s.io: who may do what.
//!
//! Rules: `pkg/apis/rbac/validation`, `pkg/apis/rbac/v1/defaults.go`.

pub mod binding;
pub mod role;

/// The group of all of them.
pub const GROUP: &str = "rbac.authorization.k8s.io";
