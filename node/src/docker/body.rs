//! What the daemon is asked to make: pure functions of the pod.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use k8s_openapi::api::core::v1::{Container as Declared, Pod, SecurityContext};

use super::{ATTEMPT, CONTAINER_NAME, HOME, Image, KIND, POD_NAME, POD_NAMESPACE, POD_UID, files, pause};
use crate::agent::pod::spec;
use crate::runtime::{Access, Mount};

/// The daemon's own copy of a log only bridges the time that the agent is away.
const LOG_OPTIONS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "2")];
/// The length of a period in which processor time is counted, in microseconds.
const CPU_PERIOD: i64 = 100_000;

/// A container to make.
pub struct Wanted<'a> {
    /// Its pod.
    pub pod: &'a Pod,
    /// As the pod declares it.
    pub declared: &'a Declared,
    /// Which run of it: 0 is the first.
    pub attempt: u32,
    /// What it is made of.
    pub image: &'a Image,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The environment, complete.
    pub env: Vec<(String, String)>,
    /// What it sees of the machine's files.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
}

/// What a container may use of the machine, and what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// In bytes.
    pub memory: Option<u64>,
    /// In thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// In thousandths of a core: its share when all want more than there is.
    pub cpu_request_millis: u32,
}

/// The container that holds the pod's network.
pub(super) fn sandbox(pod: &Pod, home: &Path, network: &str) -> ContainerCreateBody {
    let security = spec(pod).security_context.as_ref();
    let sysctls = security.and_then(|security| security.sysctls.as_ref()).into_iter().flatten();
    let sysctls: HashMap<_, _> = sysctls.map(|one| (one.name.clone(), one.value.clone())).collect();
    let host = HostConfig {
        network_mode: Some(network.to_owned()),
        ipc_mode: Some(if spec(pod).host_ipc == Some(true) { "host" } else { "shareable" }.to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        readonly_rootfs: Some(true),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        sysctls: Some(sysctls).filter(|sysctls| !sysctls.is_empty()),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(pause::IMAGE.to_owned()),
        hostname: (network != "host").then(|| files::hostname(pod)),
        user: Some("65535:65535".to_owned()),
        labels: Some(labels(pod, home, "sandbox")),
        host_config: Some(host),
        ..Default::default()
    }
}

/// A container of the pod, in the networks of its sandbox.
pub(super) fn container(
    wanted: &Wanted<'_>,
    home: &Path,
    sandbox: &str,
) -> Result<ContainerCreateBody, String> {
    let Wanted { pod, declared, image, .. } = wanted;
    if let Some(part) = wanted.mounts.iter().find(|mount| mount.held.is_some()) {
        // It is held open by this process, and the daemon can only be told a name, which may come to mean another.
        return Err(format!(
            "{}: subPath is not supported in Docker containers: mount the whole volume",
            part.guest_path
        ));
    }
    let user = user(wanted)?;
    let mut labels = labels(pod, home, "container");
    labels.insert(CONTAINER_NAME.to_owned(), declared.name.clone());
    labels.insert(ATTEMPT.to_owned(), wanted.attempt.to_string());
    let mut command = wanted.command.iter().cloned();
    let env = wanted.env.iter().map(|(name, value)| format!("{name}={value}"));
    Ok(ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some(command.by_ref().take(1).collect()),
        cmd: Some(command.collect()),
        env: Some(env.collect()),
        working_dir: declared.working_dir.clone().filter(|folder| !folder.is_empty()),
        user,
        tty: declared.tty,
        open_stdin: declared.stdin,
        stdin_once: declared.stdin_once,
        labels: Some(labels),
        host_config: Some(host_config(wanted, home, sandbox)),
        ..Default::default()
    })
}

fn host_config(wanted: &Wanted<'_>, home: &Path, sandbox: &str) -> HostConfig {
    let own = wanted.declared.security_context.clone().unwrap_or_default();
    let of_pod = spec(wanted.pod).security_context.clone().unwrap_or_default();
    let joined = format!("container:{sandbox}");
    let shared = spec(wanted.pod).share_process_namespace == Some(true);
    let pid_mode = match spec(wanted.pod).host_pid {
        Some(true) => Some("host".to_owned()),
        _ => shared.then(|| joined.clone()),
    };
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let groups = of_pod.supplemental_groups.iter().flatten().chain(of_pod.fs_group.as_ref());
    let groups: Vec<String> = groups.map(i64::to_string).collect();
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = wanted.limits.memory.map(number);
    HostConfig {
        network_mode: Some(joined.clone()),
        ipc_mode: Some(joined),
        pid_mode,
        binds: Some(binds(wanted, home)),
        memory,
        // No swap beyond it.
        memory_swap: memory,
        cpu_period: wanted.limits.cpu_millis.map(|_| CPU_PERIOD),
        cpu_quota: wanted.limits.cpu_millis.map(|millis| (i64::from(millis) * CPU_PERIOD / 1000).max(1000)),
        cpu_shares: Some((i64::from(wanted.limits.cpu_request_millis) * 1024 / 1000).max(2)),
        privileged: own.privileged,
        readonly_rootfs: own.read_only_root_filesystem,
        cap_add: capabilities.add,
        cap_drop: capabilities.drop,
        group_add: Some(groups).filter(|groups| !groups.is_empty()),
        security_opt: Some(security_options(&own, wanted.pod)),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(LOG_OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        }),
        ..Default::default()
    }
}

/// As `uid:gid`; `None` leaves what the image says. An error where it would be root and must not be.
fn user(wanted: &Wanted<'_>) -> Result<Option<String>, String> {
    let own = wanted.declared.security_context.as_ref();
    let of_pod = spec(wanted.pod).security_context.as_ref();
    let uid = own.and_then(|own| own.run_as_user).or(of_pod.and_then(|pod| pod.run_as_user));
    let gid = own.and_then(|own| own.run_as_group).or(of_pod.and_then(|pod| pod.run_as_group));
    let not_root = own.and_then(|own| own.run_as_non_root).or(of_pod.and_then(|pod| pod.run_as_non_root));
    let of_image = wanted.image.user.split(':').next().unwrap_or_default();
    if not_root == Some(true) {
        match uid {
            Some(0) => return Err("container's runAsUser breaks non-root policy".to_owned()),
            Some(_) => {}
            None if matches!(of_image, "" | "0" | "root") => {
                return Err("container has runAsNonRoot and image will run as root".to_owned());
            }
            None if of_image.parse::<u32>().is_err() => {
                return Err(format!(
                    "container has runAsNonRoot and image has non-numeric user ({of_image}), cannot verify user is non-root"
                ));
            }
            None => {}
        }
    }
    Ok(match (uid, gid) {
        (Some(uid), Some(gid)) => Some(format!("{uid}:{gid}")),
        (Some(uid), None) => Some(uid.to_string()),
        (None, Some(gid)) => Some(format!("{}:{gid}", if of_image.is_empty() { "0" } else { of_image })),
        (None, None) => None,
    })
}

fn security_options(own: &SecurityContext, pod: &Pod) -> Vec<String> {
    let mut options = Vec::new();
    if own.allow_privilege_escalation == Some(false) {
        options.push("no-new-privileges".to_owned());
    }
    let of_pod = spec(pod).security_context.as_ref().and_then(|pod| pod.seccomp_profile.as_ref());
    let profile = own.seccomp_profile.as_ref().or(of_pod);
    // Anything else is the daemon's default, which is stricter than nothing.
    if profile.is_some_and(|profile| profile.type_ == "Unconfined") {
        options.push("seccomp=unconfined".to_owned());
    }
    options
}

fn binds(wanted: &Wanted<'_>, home: &Path) -> Vec<String> {
    let uid = wanted.pod.metadata.uid.as_deref().unwrap_or_default();
    let mounted = |path: &str| wanted.mounts.iter().any(|mount| mount.guest_path == path);
    let bind = |from: &PathBuf, to: &str, how: &str| format!("{}:{to}:{how}", from.display());
    let mut binds = Vec::new();
    if spec(wanted.pod).host_network != Some(true) {
        for name in ["hosts", "resolv.conf"] {
            let (file, at) = (home.join(uid).join(name), format!("/etc/{name}"));
            if file.exists() && !mounted(&at) {
                binds.push(bind(&file, &at, "rw"));
            }
        }
    }
    let message = wanted.declared.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    let file = files::message_path(home, uid, &wanted.declared.name, wanted.attempt);
    binds.push(bind(&file, message, "rw"));
    for mount in &wanted.mounts {
        let how = if mount.access == Access::ReadWrite { "rw" } else { "ro" };
        binds.push(bind(&mount.host_path, &mount.guest_path, how));
    }
    binds
}

fn labels(pod: &Pod, home: &Path, kind: &str) -> HashMap<String, String> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    HashMap::from([
        (HOME.to_owned(), home.display().to_string()),
        (KIND.to_owned(), kind.to_owned()),
        (POD_UID.to_owned(), text(&meta.uid)),
        (POD_NAME.to_owned(), text(&meta.name)),
        (POD_NAMESPACE.to_owned(), text(&meta.namespace)),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(spec: Value, container_spec: Value, image: Image) -> Result<ContainerCreateBody, String> {
        let mut declared = json!({"name": "c"});
        declared.as_object_mut().unwrap().extend(container_spec.as_object().unwrap().clone());
        let mut whole = json!({"containers": [declared]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let meta = json!({"name": "p", "namespace": "ns", "uid": "u"});
        let pod: Pod = serde_json::from_value(json!({"metadata": meta, "spec": whole})).unwrap();
        let folder = Mount {
            host_path: "/v".into(),
            guest_path: "/data".into(),
            access: Access::ReadOnly,
            held: None,
        };
        let wanted = Wanted {
            pod: &pod,
            declared: &pod.spec.as_ref().unwrap().containers[0],
            attempt: 2,
            image: &image,
            command: vec!["/bin/x".into(), "a".into()],
            env: vec![("A".into(), "b=c".into())],
            mounts: vec![folder],
            limits: Limits { memory: Some(64), cpu_millis: Some(500), cpu_request_millis: 250 },
        };
        container(&wanted, Path::new("/home"), "sandbox")
    }

    #[test]
    fn what_the_pod_says_is_what_the_daemon_is_asked_for() {
        let security = json!({"securityContext": {"runAsUser": 7, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}});
        let of_pod = json!({"shareProcessNamespace": true, "securityContext": {"runAsGroup": 8, "fsGroup": 9,
            "seccompProfile": {"type": "Unconfined"}}});
        let body = made(of_pod, security, Image { id: "sha256:1".into(), ..Image::default() }).unwrap();
        assert_eq!(body.entrypoint.unwrap(), ["/bin/x"]);
        assert_eq!(body.cmd.unwrap(), ["a"]);
        assert_eq!(body.env.unwrap(), ["A=b=c"]);
        assert_eq!(body.user.as_deref(), Some("7:8"));
        assert_eq!(body.labels.unwrap()[ATTEMPT], "2");
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("container:sandbox"));
        assert_eq!(host.pid_mode.as_deref(), Some("container:sandbox"));
        assert_eq!((host.memory, host.memory_swap), (Some(64), Some(64)));
        assert_eq!(
            (host.cpu_quota, host.cpu_period, host.cpu_shares),
            (Some(50_000), Some(100_000), Some(256))
        );
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(
            (host.cap_add.unwrap(), host.cap_drop.unwrap()),
            (vec!["CHOWN".into()], vec!["ALL".into()])
        );
        assert_eq!(host.group_add.unwrap(), ["9"]);
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges", "seccomp=unconfined"]);
        assert_eq!(host.binds.unwrap(), ["/home/u/c-2:/dev/termination-log:rw", "/v:/data:ro"]);
    }

    #[test]
    fn root_is_refused_where_the_pod_forbids_it() {
        let not_root = json!({"securityContext": {"runAsNonRoot": true}});
        let by = |user: &str| Image { user: user.into(), ..Image::default() };
        for (own, image, refused) in [
            (json!({}), by(""), "container has runAsNonRoot and image will run as root"),
            (json!({}), by("root:root"), "container has runAsNonRoot and image will run as root"),
            (
                json!({}),
                by("web"),
                "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root",
            ),
            (
                json!({"securityContext": {"runAsUser": 0}}),
                by("5"),
                "container's runAsUser breaks non-root policy",
            ),
            (json!({}), by("5"), ""),
            (json!({"securityContext": {"runAsUser": 5}}), by(""), ""),
        ] {
            let result = made(not_root.clone(), own, image).err().unwrap_or_default();
            assert_eq!(result, refused);
        }
    }
}
