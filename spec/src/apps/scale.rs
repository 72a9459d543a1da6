//! The scale subresource: how many replicas there should be and are.
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/>; `kubectl scale` and autoscalers use it.

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::field_error::{FieldErrors, Path};
use crate::selector::Selector;
use crate::status::{GroupKind, Status};
use crate::validation;

/// The scale of a workload.
pub(crate) fn of(meta: &ObjectMeta, wanted: i32, observed: i32, selector: &LabelSelector) -> Scale {
    Scale {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            creation_timestamp: meta.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: Some(wanted) }),
        status: Some(ScaleStatus {
            replicas: observed,
            selector: Some(Selector::of(Some(selector)).to_string()),
        }),
    }
}

/// The number of replicas a client asks for; fewer than none is Invalid.
pub fn wanted_replicas(scale: &Scale) -> Result<i32, Status> {
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let mut errors = FieldErrors::new();
    validation::nonnegative(&Path::new("spec").child("replicas"), Some(replicas.into()), &mut errors);
    match errors.is_empty() {
        true => Ok(replicas),
        false => {
            let name = scale.metadata.name.as_deref().unwrap_or_default();
            Err(Status::invalid(GroupKind { group: "autoscaling", kind: "Scale" }, name, &errors))
        }
    }
}
