//! Lease: who holds something, and until when; heartbeats of nodes and election of leaders.
//!
//! Rules: `pkg/apis/coordination/validation`, `pkg/registry/coordination/lease`.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource};
use crate::table::{Cell, Column, age};
use crate::validation;

impl Resource for Lease {
    fn declaration() -> Declaration {
        Declaration {
            create_on_update: true,
            unconditional_update: false,
            ..Declaration::of::<Self>("lease")
        }
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        let transitions = spec.lease_transitions.map(i64::from);
        validation::nonnegative(&path.child("leaseTransitions"), transitions, errors);
    }

    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::text("Holder", "Who holds the lease."), Column::AGE]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(self.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref())),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

#[cfg(test)]
mod tests;
