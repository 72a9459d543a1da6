//! The StorageClass that every cluster has: folders of nodes.

use isopod_spec::status::Status;
use isopod_spec::storage::storage_class::DEFAULT_CLASS;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::keep;
use crate::controllers::volumes::PROVISIONER;
use crate::objects::Objects;

const NAME: &str = "local-path";

/// Creates it if it is missing. What users change of it stays.
pub(super) async fn create(objects: &Objects) -> Result<(), Status> {
    let class = StorageClass {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            annotations: Some([(DEFAULT_CLASS.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        provisioner: PROVISIONER.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("WaitForFirstConsumer".to_owned()),
        ..StorageClass::default()
    };
    keep(objects, class, |_, _| None).await
}
