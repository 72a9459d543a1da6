//! The pod template of a workload: defaults and rules of the pod it stands for.

use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::{defaults, validate, warnings};
use crate::field_error::{FieldErrors, Path};
use crate::meta;

/// Fills what a pod of this template would have.
pub(crate) fn default_template(template: &mut PodTemplateSpec) {
    template.metadata.get_or_insert_default();
    defaults::pod_spec(template.spec.get_or_insert_default());
}

/// Checks the pods of this template, as far as they are known before they exist.
pub(crate) fn validate_template(template: &PodTemplateSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let metadata = path.child("metadata");
    if let Some(labels) = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref()) {
        meta::validate_labels(labels, &metadata.child("labels"), errors);
    }
    if let Some(annotations) = template.metadata.as_ref().and_then(|meta| meta.annotations.as_ref()) {
        let path = metadata.child("annotations");
        meta::validate_annotations(annotations, &path, errors);
        super::annotations::validate(Some(annotations), &path, errors);
    }
    match &template.spec {
        None => errors.required(&path.child("spec").child("containers"), ""),
        Some(spec) => validate::spec(spec, &path.child("spec"), errors),
    }
}

/// What the author of the template is warned of.
pub(crate) fn template_warnings(template: &PodTemplateSpec, path: &Path<'_>) -> Vec<String> {
    template.spec.as_ref().map(|spec| warnings::of(spec, &path.child("spec"))).unwrap_or_default()
}
