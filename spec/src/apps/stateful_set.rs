//! StatefulSet: pods that keep their names.
//!
//! Rules: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/>, `pkg/apis/apps/v1/defaults.go`,
//! `pkg/apis/apps/validation`, `pkg/registry/apps/statefulset`; columns: `pkg/printers/internalversion`.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetSpec, StatefulSetStatus, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::scale;
use super::workload::{self, Counts, SPEC, STATUS};
use crate::core::pod::default_template;
use crate::defaults;
use crate::field_error::FieldErrors;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

/// What may change in a set that exists, as the refusal words it.
const UPDATABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
    'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

impl Resource for StatefulSet {
    fn declaration() -> Declaration {
        let below = &[Subresource::SCALE, Subresource::STATUS];
        workload::declaration::<Self>("statefulset", &["sts"], below)
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        defaults::text(&mut spec.pod_management_policy, "OrderedReady");
        default_strategy(spec.update_strategy.get_or_insert_default());
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        defaults::text(&mut retention.when_deleted, "Retain");
        defaults::text(&mut retention.when_scaled, "Retain");
        default_template(&mut spec.template);
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            defaults::text(&mut claim.spec.get_or_insert_default().volume_mode, "Filesystem");
        }
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(StatefulSetStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        workload::keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        let fields = [
            ("replicas", spec.replicas),
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
        ];
        workload::numbers(fields, errors);
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
        let path = SPEC.child("ordinals");
        validation::nonnegative(&path.child("start"), start.map(i64::from), errors);
        let policy = SPEC.child("podManagementPolicy");
        let known = &["OrderedReady", "Parallel"];
        validation::required_word(&policy, spec.pod_management_policy.as_ref(), known, errors);
        if let Some(strategy) = &spec.update_strategy {
            validate_strategy(strategy, errors);
        }
        workload::selector_and_template(&spec.selector, Some(&with_claims(spec)), errors);
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        match (target, &self.spec, &old.spec, &self.status) {
            (Target::Main, Some(spec), Some(old), _) if fixed(spec) != fixed(old) => {
                errors.forbidden(&SPEC, UPDATABLE);
            }
            (Target::Status, _, _, Some(status)) => validate_status(status, errors),
            _ => {}
        }
    }

    fn warnings(&self) -> Vec<String> {
        workload::warnings(self.spec.as_ref().map(|spec| &spec.template))
    }

    fn columns() -> Vec<Column> {
        let mut columns = vec![Column::NAME, Column::text("Ready", "Ready pods of all pods."), Column::AGE];
        columns.extend(workload::template_columns());
        columns
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (self.spec.as_ref(), self.status.as_ref());
        let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(0);
        let mut cells = vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(format!("{ready}/{wanted}")),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ];
        cells.extend(workload::template_cells(spec.map(|spec| &spec.template)));
        cells
    }

    fn scale(&self) -> Option<Scale> {
        let spec = self.spec.as_ref()?;
        let observed = self.status.as_ref().map_or(0, |status| status.replicas);
        Some(scale::of(&self.metadata, spec.replicas.unwrap_or(1), observed, &spec.selector))
    }

    fn set_replicas(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

/// The template as pods are made of it: each claim is a volume too.
fn with_claims(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let claims: Vec<&str> = spec
        .volume_claim_templates
        .iter()
        .flatten()
        .filter_map(|claim| claim.metadata.name.as_deref())
        .collect();
    if !claims.is_empty() {
        let volumes = template.spec.get_or_insert_default().volumes.get_or_insert_default();
        volumes.retain(|volume| !claims.contains(&volume.name.as_str()));
        volumes.extend(claims.iter().map(|name| Volume {
            name: (*name).to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: (*name).to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        }));
    }
    template
}

fn default_strategy(strategy: &mut StatefulSetUpdateStrategy) {
    defaults::text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        strategy.rolling_update.get_or_insert_default().partition.get_or_insert(0);
    }
}

/// The spec without the fields that may change.
fn fixed(spec: &StatefulSetSpec) -> StatefulSetSpec {
    StatefulSetSpec {
        selector: spec.selector.clone(),
        service_name: spec.service_name.clone(),
        pod_management_policy: spec.pod_management_policy.clone(),
        volume_claim_templates: spec.volume_claim_templates.clone(),
        ..StatefulSetSpec::default()
    }
}

fn validate_strategy(strategy: &StatefulSetUpdateStrategy, errors: &mut FieldErrors) {
    let path = SPEC.child("updateStrategy");
    let known = &["OnDelete", "RollingUpdate"];
    validation::required_word(&path.child("type"), strategy.type_.as_ref(), known, errors);
    let at = path.child("rollingUpdate");
    let Some(rolling) = &strategy.rolling_update else { return };
    if strategy.type_.as_deref() == Some("OnDelete") {
        errors.invalid(
            &at,
            crate::field_error::Shown::json(rolling),
            "only allowed for updateStrategy 'RollingUpdate'",
        );
        return;
    }
    validation::nonnegative(&at.child("partition"), rolling.partition.map(i64::from), errors);
    if let Some(most) = &rolling.max_unavailable {
        let at = at.child("maxUnavailable");
        validation::nonnegative_or_percent(&at, most, errors);
        if *most == IntOrString::Int(0) {
            errors.invalid(&at, 0, "cannot be 0");
        }
    }
}

fn validate_status(status: &StatefulSetStatus, errors: &mut FieldErrors) {
    let parts = [("currentReplicas", status.current_replicas), ("updatedReplicas", status.updated_replicas)];
    let counts = Counts {
        replicas: status.replicas,
        parts: &parts,
        ready: status.ready_replicas,
        available: status.available_replicas,
    };
    counts.validate(errors);
    let collisions = status.collision_count.map(i64::from);
    validation::nonnegative(&STATUS.child("collisionCount"), collisions, errors);
}

#[cfg(test)]
mod tests;
