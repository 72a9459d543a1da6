//! What a pod says when its author did not.
//!
//! Follows `pkg/apis/core/v1/defaults.go`. Some defaults belong to pods only, not to the templates of workloads:
//! those would change what is stored for every workload.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, DownwardAPIVolumeFile, EmptyDirVolumeSource, EphemeralContainer, HTTPGetAction,
    Lifecycle, Pod, PodSpec, Probe, ResourceRequirements, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{DEFAULT_GRACE_SECONDS, volumes};
use crate::defaults::{nonzero, text};
use crate::quantity;

/// Mode of files from ConfigMaps, Secrets and the like: 0644.
const FILE_MODE: i32 = 0o644;

/// Seconds a projected service account token is good for.
const TOKEN_SECONDS: i64 = 3600;

/// Defaults of a pod.
pub(super) fn pod(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    pod_spec(spec);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        requests_from_limits(container.resources.get_or_insert_default());
    }
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network == Some(true) {
        let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
        containers.flat_map(|container| container.ports.iter_mut().flatten()).for_each(
            |port: &mut ContainerPort| {
                nonzero(&mut port.host_port, port.container_port);
            },
        );
    }
}

/// Defaults of a pod's spec, in a pod or in a template.
pub(super) fn pod_spec(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(DEFAULT_GRACE_SECONDS);
    service_account(spec);
    spec.containers.iter_mut().for_each(container);
    spec.init_containers.iter_mut().flatten().for_each(container);
    spec.ephemeral_containers.iter_mut().flatten().for_each(ephemeral_container);
    spec.volumes.iter_mut().flatten().for_each(volume);
    spec.overhead.iter_mut().for_each(amounts);
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are kept and the same.
fn service_account(spec: &mut PodSpec) {
    if let Some(old) = spec.service_account.clone().filter(|name| !name.is_empty()) {
        text(&mut spec.service_account_name, &old);
    }
    spec.service_account.clone_from(&spec.service_account_name);
}

fn container(container: &mut Container) {
    image_pull_policy(&mut container.image_pull_policy, container.image.as_deref());
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    for port in container.ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
    }
    for variable in container.env.iter_mut().flatten() {
        if let Some(field) = variable.value_from.as_mut().and_then(|source| source.field_ref.as_mut()) {
            text(&mut field.api_version, "v1");
        }
    }
    let resources = container.resources.get_or_insert_default();
    resources.limits.iter_mut().chain(resources.requests.iter_mut()).for_each(amounts);
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(probe);
    container.lifecycle.iter_mut().for_each(lifecycle);
}

/// An ephemeral container has no ports, probes or resources to fill.
fn ephemeral_container(container: &mut EphemeralContainer) {
    image_pull_policy(&mut container.image_pull_policy, container.image.as_deref());
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    container.resources.get_or_insert_default();
}

/// A tag that moves is pulled each time, anything else once.
fn image_pull_policy(policy: &mut Option<String>, image: Option<&str>) {
    text(policy, if moves(image.unwrap_or_default()) { "Always" } else { "IfNotPresent" });
}

/// True for an image with the tag `latest`, or with neither tag nor digest, which means the same.
fn moves(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    // A colon before the last slash belongs to the registry's port.
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none(),
    }
}

fn amounts(list: &mut BTreeMap<String, Quantity>) {
    list.values_mut().for_each(quantity::canonicalize);
}

/// Who only says how much a container may use is given as much.
fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) else { return };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

fn probe(probe: &mut Probe) {
    nonzero(&mut probe.timeout_seconds, 1);
    nonzero(&mut probe.period_seconds, 10);
    nonzero(&mut probe.success_threshold, 1);
    nonzero(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(http_get);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn lifecycle(lifecycle: &mut Lifecycle) {
    let handlers = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
    handlers.into_iter().flatten().filter_map(|handler| handler.http_get.as_mut()).for_each(http_get);
}

fn http_get(action: &mut HTTPGetAction) {
    text(&mut action.path, "/");
    text(&mut action.scheme, "HTTP");
}

fn volume(volume: &mut Volume) {
    if volumes::sources(volume).is_empty() {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(limit) = volume.empty_dir.as_mut().and_then(|dir| dir.size_limit.as_mut()) {
        quantity::canonicalize(limit);
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(config) = &mut volume.config_map {
        config.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        downward.items.iter_mut().flatten().for_each(downward_file);
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        projected.sources.iter_mut().flatten().for_each(projection);
    }
    if let Some(path) = &mut volume.host_path {
        path.type_.get_or_insert_default();
    }
    if let Some(image) = &mut volume.image {
        image_pull_policy(&mut image.pull_policy, image.reference.as_deref());
    }
    let claim = volume.ephemeral.as_mut().and_then(|ephemeral| ephemeral.volume_claim_template.as_mut());
    if let Some(claim) = claim {
        text(&mut claim.spec.volume_mode, "Filesystem");
    }
}

fn projection(source: &mut VolumeProjection) {
    if let Some(token) = &mut source.service_account_token {
        token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
    }
    if let Some(downward) = &mut source.downward_api {
        downward.items.iter_mut().flatten().for_each(downward_file);
    }
}

fn downward_file(file: &mut DownwardAPIVolumeFile) {
    if let Some(field) = &mut file.field_ref {
        text(&mut field.api_version, "v1");
    }
}

#[cfg(test)]
mod tests {
    use super::moves;

    #[test]
    fn only_images_whose_tag_moves_are_pulled_each_time() {
        for (image, expected) in [
            ("hello", true),
            ("hello:latest", true),
            ("hello:v1", false),
            ("registry.local/hello", true),
            ("localhost:5000/hello", true),
            ("localhost:5000/a/hello:v1", false),
            ("hello@sha256:abc", false),
            ("hello:latest@sha256:abc", true),
        ] {
            assert_eq!(moves(image), expected, "{image}");
        }
    }
}
