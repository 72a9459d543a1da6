//! The PriorityClasses that every cluster has.

use isopod_spec::scheduling::priority_class::SYSTEM;
use isopod_spec::status::Status;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::keep;
use crate::objects::Objects;

const DESCRIPTIONS: [&str; 2] = [
    "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    "Used for system critical pods that must not be moved from their current node.",
];

/// Creates those that are missing.
pub(super) async fn create(objects: &Objects) -> Result<(), Status> {
    for ((name, value), description) in SYSTEM.into_iter().zip(DESCRIPTIONS) {
        let class = PriorityClass {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            value: Some(value),
            description: Some(description.to_owned()),
            ..PriorityClass::default()
        };
        keep(objects, class, |_, _| None).await?;
    }
    Ok(())
}
