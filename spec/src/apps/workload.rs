//! What the kinds that run pods of a template have in common: names, a selector, a template that fits it, a number of
//! replicas, and a status that only `/status` writes.
//!
//! Follows `pkg/apis/apps/validation` (ValidatePodTemplateSpecForReplicaSet and the status checks) and the strategies
//! of `pkg/registry/apps`.

use k8s_openapi::ListableResource;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use crate::core::pod::{container_names, images, template_warnings, validate_template};
use crate::field_error::{FieldErrors, Path, Shown};
use crate::meta;
use crate::resource::{Declaration, KnownScope, Subresource, Target};
use crate::selector::{self, Selector};
use crate::table::{Cell, Column, age};
use crate::validation;

pub(crate) const SPEC: Path<'_> = Path::new("spec");
pub(crate) const STATUS: Path<'_> = Path::new("status");

/// The names and abilities of a workload.
pub(crate) fn declaration<T>(singular: &str, short_names: &[&str], below: &[Subresource]) -> Declaration
where
    T: ListableResource,
    T::Scope: KnownScope,
{
    Declaration {
        has_generation: true,
        ..Declaration::of::<T>(singular).short_names(short_names).in_category_all().subresources(below)
    }
}

/// Keeps what an update through `target` does not write: the spec when it writes the status, else the status.
/// Both are pairs of new and old.
pub(crate) fn keep_unwritten<S: Clone, T: Clone>(target: Target, spec: (&mut S, &S), status: (&mut T, &T)) {
    match target {
        Target::Status => spec.0.clone_from(spec.1),
        _ => status.0.clone_from(status.1),
    }
}

/// A selector stays as it was made: the pods that it finds are this object's.
pub(crate) fn selector_stays(
    target: Target,
    new: Option<&LabelSelector>,
    old: Option<&LabelSelector>,
    errors: &mut FieldErrors,
) {
    if target == Target::Main {
        meta::immutable(&SPEC.child("selector"), &new, &old, errors);
    }
}

/// Numbers of the spec: none may be below zero.
pub(crate) fn numbers<const N: usize>(fields: [(&str, Option<i32>); N], errors: &mut FieldErrors) {
    for (field, value) in fields {
        validation::nonnegative(&SPEC.child(field), value.map(i64::from), errors);
    }
}

/// Counts of pods in a status: none is below zero, and each of `parts` is a part of `replicas`, `available` of `ready`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts<'a> {
    pub(crate) replicas: i32,
    pub(crate) parts: &'a [(&'a str, Option<i32>)],
    pub(crate) ready: Option<i32>,
    pub(crate) available: Option<i32>,
}

impl Counts<'_> {
    /// Says which count cannot be.
    pub(crate) fn validate(&self, errors: &mut FieldErrors) {
        let fields = [("readyReplicas", self.ready), ("availableReplicas", self.available)];
        for (field, value) in [("replicas", Some(self.replicas))].iter().chain(self.parts).chain(&fields) {
            let (path, value) = (STATUS.child(field), value.unwrap_or(0));
            validation::nonnegative(&path, Some(value.into()), errors);
            if value > self.replicas {
                errors.invalid(&path, value, "cannot be greater than status.replicas");
            }
        }
        let available = self.available.unwrap_or(0);
        if available > self.ready.unwrap_or(0) {
            let detail = "cannot be greater than readyReplicas";
            errors.invalid(&STATUS.child("availableReplicas"), available, detail);
        }
    }
}

/// A selector must select something, and the template's pods must be among it.
pub(crate) fn selector_and_template(
    chosen: &LabelSelector,
    template: Option<&PodTemplateSpec>,
    errors: &mut FieldErrors,
) {
    let path = SPEC.child("selector");
    selector::validate(chosen, &path, errors);
    if Selector::of(Some(chosen)).is_everything() {
        errors.required(&path, "");
    }
    let path = SPEC.child("template");
    match template {
        None => errors.required(&path, ""),
        Some(template) => {
            fits(chosen, template, &path, errors);
            validate_template(template, &path, errors);
            lives_on(template, &path, errors);
        }
    }
}

/// The labels of the template must be among what the selector selects.
pub(crate) fn fits(
    chosen: &LabelSelector,
    template: &PodTemplateSpec,
    path: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let selector = Selector::of(Some(chosen));
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    if selector.is_everything() || !selector.matches(labels) {
        let metadata = path.child("metadata");
        let shown = labels.map_or_else(|| Shown::json(&()), Shown::json);
        errors.invalid(&metadata.child("labels"), shown, "`selector` does not match template `labels`");
    }
}

/// Pods that are replaced when they end must not end by themselves.
fn lives_on(template: &PodTemplateSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(spec) = &template.spec else { return };
    let path = path.child("spec");
    if let Some(policy) = spec.restart_policy.as_ref().filter(|policy| *policy != "Always") {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&path.child("activeDeadlineSeconds"), detail);
    }
}

/// What the template's author is warned of.
pub(crate) fn warnings(template: Option<&PodTemplateSpec>) -> Vec<String> {
    template.map(|template| template_warnings(template, &SPEC.child("template"))).unwrap_or_default()
}

/// The columns, then those that tell of the template: [`template_columns`] and the selector.
pub(crate) fn columns(mut own: Vec<Column>) -> Vec<Column> {
    own.extend(template_columns());
    own.push(Column::text("Selector", "Labels of the pods.").wide());
    own
}

/// The columns of kinds that keep a number of pods alike.
pub(crate) fn replica_columns() -> Vec<Column> {
    columns(vec![
        Column::NAME,
        Column::integer("Desired", "How many pods there should be."),
        Column::integer("Current", "How many there are."),
        Column::integer("Ready", "How many of them are ready."),
        Column::AGE,
    ])
}

/// The own cells of [`replica_columns`]: wanted, there, ready.
pub(crate) fn replica_cells(meta: &ObjectMeta, counts: [Option<i32>; 3], now: Timestamp) -> Vec<Cell> {
    let counts = counts.map(|count| Cell::from(count.unwrap_or(0)));
    let mut cells = vec![Cell::from(meta.name.as_deref())];
    cells.extend(counts);
    cells.push(Cell::from(age(meta.creation_timestamp.as_ref(), now)));
    cells
}

/// The wide columns that tell of a template.
pub(crate) fn template_columns() -> [Column; 2] {
    [
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
    ]
}

/// The cells of [`columns`].
pub(crate) fn cells(
    mut own: Vec<Cell>,
    template: Option<&PodTemplateSpec>,
    chosen: Option<&LabelSelector>,
) -> Vec<Cell> {
    own.extend(template_cells(template));
    own.push(Cell::from(selector::format_for_table(chosen)));
    own
}

/// The cells of [`template_columns`].
pub(crate) fn template_cells(template: Option<&PodTemplateSpec>) -> [Cell; 2] {
    let spec = template.and_then(|template| template.spec.as_ref());
    [Cell::from(container_names(spec)), Cell::from(images(spec))]
}
