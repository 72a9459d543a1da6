//! ResourceQuota: how much a namespace may hold.
//!
//! Rules: `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation` (ValidateResourceQuota); columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::{SPEC, keep_unwritten};
use crate::field_error::FieldErrors;
use crate::meta;
use crate::quantity::{self, Amount};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};

impl Resource for ResourceQuota {
    fn declaration() -> Declaration {
        Declaration {
            delete_returns_object: true,
            inert: Some(
                "ResourceQuota has no effect yet: it is stored only, and nothing is counted or refused",
            ),
            ..Declaration::of::<Self>("resourcequota")
                .short_names(&["quota"])
                .subresources(&[Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.hard.iter_mut().flatten().for_each(|(_, amount)| quantity::canonicalize(amount));
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(ResourceQuotaStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        let path = SPEC.child("hard");
        for (name, amount) in spec.hard.iter().flatten() {
            for fault in meta::qualified_name_faults(name) {
                errors.invalid(&path, name, &fault);
            }
            if Amount::parse(&amount.0).is_ok_and(|amount| amount.value() < 0) {
                errors.invalid(&path.key(name), &amount.0, "must be greater than or equal to 0");
            }
        }
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        if target == Target::Main {
            let scopes = |quota: &Self| quota.spec.as_ref().and_then(|spec| spec.scopes.clone());
            meta::immutable(&SPEC.child("scopes"), &scopes(self), &scopes(old), errors);
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Request", "What is used of what may be asked for."),
            Column::text("Limit", "What is used of what may be the limit."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let status = self.status.as_ref();
        let used = status.and_then(|status| status.used.as_ref());
        let shown = |limits: bool| {
            let hard = self.spec.iter().flat_map(|spec| spec.hard.iter().flatten());
            let own = hard.filter(|(name, _)| name.starts_with("limits.") == limits).map(|(name, most)| {
                let used = used.and_then(|used| used.get(name)).map_or("0", |used| used.0.as_str());
                format!("{name}: {used}/{}", most.0)
            });
            own.collect::<Vec<_>>().join(", ")
        };
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(shown(false)),
            Cell::from(shown(true)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, create};

    #[test]
    fn a_quota_is_checked_and_is_a_row() {
        check_invalid::<ResourceQuota>(
            "{metadata: {name: a}, spec: {hard: {pods: -1, 'a b': 1}}}",
            expect![[r#"
                spec.hard: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0"#]],
        );
        let quota = "{metadata: {name: a}, spec: {hard: {pods: '10', limits.cpu: 2000m}}}";
        check_row::<ResourceQuota>(
            create::<ResourceQuota>(quota).unwrap().as_ref(),
            expect![[r#"
            Name: "a"
            Request: "pods: 0/10"
            Limit: "limits.cpu: 0/2"
            Age: "0s""#]],
        );
    }
}
