//! What ReplicaSets and Deployments have in common: a selector, a pod template that fits it, a number of replicas.
//!
//! Follows `pkg/apis/apps/validation` (ValidatePodTemplateSpecForReplicaSet).

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::core::pod::{container_names, images, template_warnings, validate_template};
use crate::field_error::{FieldErrors, Path, Shown};
use crate::selector::{self, Selector};
use crate::table::{Cell, Column};

pub(super) const SPEC: Path<'_> = Path::new("spec");

/// A selector must select something, and the template's pods must be among it.
pub(super) fn selector_and_template(
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

fn fits(chosen: &LabelSelector, template: &PodTemplateSpec, path: &Path<'_>, errors: &mut FieldErrors) {
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
pub(super) fn warnings(template: &PodTemplateSpec) -> Vec<String> {
    template_warnings(template, &SPEC.child("template"))
}

/// The last columns of a workload's row.
pub(super) fn wide_columns() -> [Column; 3] {
    [
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
        Column::text("Selector", "Labels of the pods.").wide(),
    ]
}

/// The cells of [`wide_columns`].
pub(super) fn wide_cells(template: Option<&PodTemplateSpec>, chosen: Option<&LabelSelector>) -> [Cell; 3] {
    let spec = template.and_then(|template| template.spec.as_ref());
    [
        Cell::from(container_names(spec)),
        Cell::from(images(spec)),
        Cell::from(selector::format_for_table(chosen)),
    ]
}
