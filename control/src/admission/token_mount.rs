//! What a pod gets from its ServiceAccount: the volume in which it finds its token, and the secrets to pull images with.
//!
//! As upstream's `plugin/pkg/admission/serviceaccount`.

use isopod_spec::meta::generate_name;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    ObjectFieldSelector, Pod, ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, Volume,
    VolumeMount, VolumeProjection,
};

/// Where programs look for their token.
const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour, and some seconds by which the API server knows that a pod asks.
const TOKEN_SECONDS: i64 = 3607;
const FILE_MODE: i32 = 0o644;

/// Completes the pod; `account` is absent while a controller has not made it yet. `seed` chooses the volume's name.
pub(super) fn add(pod: &mut Pod, account: Option<&ServiceAccount>, seed: u64) {
    let Some(spec) = pod.spec.as_mut() else { return };
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
        let secrets = account.and_then(|account| account.image_pull_secrets.clone());
        spec.image_pull_secrets = secrets.or(spec.image_pull_secrets.take());
    }
    let of_account = account.and_then(|account| account.automount_service_account_token);
    if !spec.automount_service_account_token.or(of_account).unwrap_or(true) {
        return;
    }
    let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    let mut wanting = containers.filter(|container| !has_mount(container)).peekable();
    if wanting.peek().is_none() {
        return;
    }
    let name = generate_name("kube-api-access-", seed);
    for container in wanting {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: name.clone(),
            mount_path: PATH.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    spec.volumes.get_or_insert_default().push(volume(name));
}

fn has_mount(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == PATH)
}

/// Complete with its defaults: those of the client's part of the pod have been filled in before.
fn volume(name: String) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(TOKEN_SECONDS),
        audience: None,
    };
    let authority = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
        optional: None,
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: "metadata.namespace".to_owned(),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let namespace = DownwardAPIProjection { items: Some(vec![namespace]) };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
        VolumeProjection { downward_api: Some(namespace), ..VolumeProjection::default() },
    ];
    Volume {
        name,
        projected: Some(ProjectedVolumeSource { default_mode: Some(FILE_MODE), sources: Some(sources) }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a pod")
    }

    fn mounts(pod: &Pod) -> Vec<(&str, usize)> {
        let spec = pod.spec.as_ref().expect("there");
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.map(|own| (own.name.as_str(), own.volume_mounts.iter().flatten().count())).collect()
    }

    #[test]
    fn every_container_gets_the_token_once_unless_it_has_another_there() {
        let mut pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": PATH}]}]}));
        add(&mut pod, None, 1);
        assert_eq!(mounts(&pod), [("i", 1), ("a", 1), ("b", 1)]);
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).expect("one");
        assert_eq!(volumes.len(), 1);
        assert!(volumes[0].name.starts_with("kube-api-access-"), "{}", volumes[0].name);
        let before = pod.clone();
        add(&mut pod, None, 2);
        assert_eq!(pod, before, "idempotent");
    }

    #[test]
    fn pod_and_account_may_do_without_and_the_pod_has_the_last_word() {
        let account = |value: serde_json::Value| -> ServiceAccount {
            serde_json::from_value(value).expect("an account")
        };
        let without = account(json!({"metadata": {}, "automountServiceAccountToken": false}));
        for (own, of_account, expected) in [
            (json!(null), None, 1),
            (json!(null), Some(&without), 0),
            (json!(true), Some(&without), 1),
            (json!(false), None, 0),
        ] {
            let mut pod = pod(json!({"automountServiceAccountToken": own, "containers": [{"name": "a"}]}));
            add(&mut pod, of_account, 1);
            assert_eq!(mounts(&pod), [("a", expected)], "{own}");
        }
        let pulls = account(json!({"metadata": {}, "imagePullSecrets": [{"name": "s"}]}));
        for (own, expected) in [(json!(null), "s"), (json!([{"name": "mine"}]), "mine")] {
            let mut pod = pod(json!({"imagePullSecrets": own, "containers": []}));
            add(&mut pod, Some(&pulls), 1);
            let secrets = pod.spec.and_then(|spec| spec.image_pull_secrets).expect("one");
            assert_eq!(secrets[0].name, expected);
        }
    }
}
