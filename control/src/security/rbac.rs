//! Role-based access control: what rules allow, which rules a caller has, and what nobody may hand on.
//!
//! All of it is pure. [`Policy`] is an index of the four kinds; [`super::access::Access`] keeps it up to date.

pub(crate) mod defaults;
pub(crate) mod escalation;
mod policy;
pub(crate) mod rules;

pub(crate) use policy::Policy;
