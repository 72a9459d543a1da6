//! What volumes must look like.
//!
//! Follows `pkg/apis/core/validation` (ValidateVolumes).

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, ProjectedVolumeSource,
    Volume, VolumeProjection,
};

use crate::field_error::{FieldErrors, Path};
use crate::quantity::Amount;
use crate::{meta, validation};

/// Fields of the pod that an environment variable may have as its value.
pub(super) const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of the pod that a file may hold.
const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The sources a volume names, as the manifest spells them.
pub(super) fn sources(volume: &Volume) -> Vec<&'static str> {
    [
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("csi", volume.csi.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("emptyDir", volume.empty_dir.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("image", volume.image.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("projected", volume.projected.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("secret", volume.secret.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect()
}

/// Checks all volumes of a pod.
pub(super) fn all(volumes: &[Volume], list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, volume) in volumes.iter().enumerate() {
        let path = list.index(index);
        match volume.name.as_str() {
            "" => errors.required(&path.child("name"), ""),
            name => {
                validation::syntax(&path.child("name"), name, meta::dns_1123_label_faults, errors);
                if volumes[..index].iter().any(|other| other.name == name) {
                    errors.duplicate(&path.child("name"), name);
                }
            }
        }
        match sources(volume).as_slice() {
            [] => errors.required(&path, "must specify a volume type"),
            [_] => {}
            [_, more @ ..] => {
                for source in more {
                    errors.forbidden(&path.child(source), "may not specify more than 1 volume type");
                }
            }
        }
        source(volume, &path, errors);
    }
}

fn source(volume: &Volume, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(dir) = &volume.empty_dir {
        empty_dir(dir, &path.child("emptyDir"), errors);
    }
    if let Some(host) = &volume.host_path {
        host_path(host, &path.child("hostPath"), errors);
    }
    if let Some(secret) = &volume.secret {
        let path = path.child("secret");
        required(secret.secret_name.as_deref(), &path.child("secretName"), errors);
        mode(secret.default_mode, &path.child("defaultMode"), errors);
        items(secret.items.as_deref(), &path.child("items"), errors);
    }
    if let Some(config) = &volume.config_map {
        let path = path.child("configMap");
        required(Some(&config.name), &path.child("name"), errors);
        mode(config.default_mode, &path.child("defaultMode"), errors);
        items(config.items.as_deref(), &path.child("items"), errors);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        required(Some(&claim.claim_name), &path.child("persistentVolumeClaim").child("claimName"), errors);
    }
    if let Some(downward) = &volume.downward_api {
        let path = path.child("downwardAPI");
        mode(downward.default_mode, &path.child("defaultMode"), errors);
        downward_files(downward.items.as_deref(), &path, errors);
    }
    if let Some(sources) = &volume.projected {
        projected(sources, &path.child("projected"), errors);
    }
    if let Some(image) = &volume.image {
        required(image.reference.as_deref(), &path.child("image").child("reference"), errors);
    }
}

fn required(value: Option<&str>, path: &Path<'_>, errors: &mut FieldErrors) {
    if value.unwrap_or_default().is_empty() {
        errors.required(path, "");
    }
}

fn mode(mode: Option<i32>, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn empty_dir(dir: &EmptyDirVolumeSource, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(limit) = &dir.size_limit else { return };
    if Amount::try_from(limit).map_or(true, Amount::is_negative) {
        errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(host: &HostPathVolumeSource, path: &Path<'_>, errors: &mut FieldErrors) {
    required(Some(&host.path), &path.child("path"), errors);
    no_way_up(&host.path, &path.child("path"), errors);
    validation::optional_word(&path.child("type"), host.type_.as_ref(), HOST_PATH_TYPES, errors);
}

fn items(items: Option<&[KeyToPath]>, list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = list.index(index);
        required(Some(&item.key), &path.child("key"), errors);
        required(Some(&item.path), &path.child("path"), errors);
        descending_path(&item.path, &path.child("path"), errors);
        mode(item.mode, &path.child("mode"), errors);
    }
}

fn downward_files(files: Option<&[DownwardAPIVolumeFile]>, path: &Path<'_>, errors: &mut FieldErrors) {
    for file in files.unwrap_or_default() {
        required(Some(&file.path), &path.child("path"), errors);
        descending_path(&file.path, &path.child("path"), errors);
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path, "resource", detail);
            }
            (Some(field), None) => {
                field_reference(&field.field_path, FILE_FIELDS, &path.child("fieldRef"), errors);
            }
            (None, Some(resource)) => {
                let path = path.child("resourceFieldRef");
                required(resource.container_name.as_deref(), &path.child("containerName"), errors);
                required(Some(&resource.resource), &path.child("resource"), errors);
            }
            (None, None) => {
                errors.required(&path.child("fieldRef"), "one of fieldRef and resourceFieldRef is required")
            }
        }
        mode(file.mode, &path.child("mode"), errors);
    }
}

fn projected(projected: &ProjectedVolumeSource, path: &Path<'_>, errors: &mut FieldErrors) {
    mode(projected.default_mode, &path.child("defaultMode"), errors);
    let list = path.child("sources");
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        projection(source, &list.index(index), errors);
    }
}

fn projection(source: &VolumeProjection, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut given = 0;
    if let Some(secret) = &source.secret {
        given += 1;
        required(Some(&secret.name), &path.child("secret").child("name"), errors);
        items(secret.items.as_deref(), &path.child("secret").child("items"), errors);
    }
    if let Some(config) = &source.config_map {
        given += 1;
        required(Some(&config.name), &path.child("configMap").child("name"), errors);
        items(config.items.as_deref(), &path.child("configMap").child("items"), errors);
    }
    if let Some(downward) = &source.downward_api {
        given += 1;
        downward_files(downward.items.as_deref(), &path.child("downwardAPI"), errors);
    }
    if let Some(token) = &source.service_account_token {
        given += 1;
        let path = path.child("serviceAccountToken");
        required(Some(&token.path), &path.child("path"), errors);
        descending_path(&token.path, &path.child("path"), errors);
        if let Some(seconds) = token.expiration_seconds.filter(|seconds| *seconds < 600) {
            let detail = "may not specify a duration less than 10 minutes";
            errors.invalid(&path.child("expirationSeconds"), seconds, detail);
        }
    }
    given += usize::from(source.cluster_trust_bundle.is_some());
    given += usize::from(source.pod_certificate.is_some());
    match given {
        1 => {}
        0 => errors.required(path, "must specify exactly one source"),
        _ => errors.forbidden(path, "may not specify more than 1 volume type per source"),
    }
}

/// A field of the pod, one of `known` or an entry of its labels or annotations.
pub(super) fn field_reference(field: &str, known: &[&str], path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("fieldPath");
    let entry = ["metadata.labels['", "metadata.annotations['"]
        .into_iter()
        .find_map(|map| field.strip_prefix(map).and_then(|rest| rest.strip_suffix("']")));
    match (field, entry) {
        ("", _) => errors.required(&path, ""),
        (_, Some(key)) => {
            for fault in meta::qualified_name_faults(&key.to_lowercase()) {
                errors.invalid(&path, key, &fault);
            }
        }
        (field, None) if !known.contains(&field) => errors.not_supported(&path, field, known),
        _ => {}
    }
}

/// A path that stays below where it starts.
pub(super) fn descending_path(value: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if value.starts_with('/') {
        errors.invalid(path, value, "must be a relative path");
    }
    no_way_up(value, path, errors);
}

fn no_way_up(value: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if value.split('/').any(|part| part == "..") {
        errors.invalid(path, value, "must not contain '..'");
    }
}
