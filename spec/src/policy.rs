//! Kinds of the policy group: one file each.

pub mod pod_disruption_budget;
