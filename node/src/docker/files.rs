//! Files that are mounted into a pod's containers: `/etc/hosts`, `/etc/resolv.conf`, and what a container leaves to
//! say when it ends.

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::DockerError;

/// Where cluster names are answered inside a pod's network.
pub(crate) const NAME_SERVER: &str = "127.0.0.53";
/// A termination message is cut here, as upstream.
const MESSAGE_BYTES: u64 = 4096;

/// The pod's host name.
pub(super) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let given = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = given.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    // The kernel's limit; a name must not end in a sign that only joins.
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// `/etc/hosts` as upstream writes it.
pub(super) fn hosts(pod: &Pod, address: IpAddr) -> String {
    let mut text =
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            .to_owned();
    let (name, spec) = (hostname(pod), pod.spec.as_ref());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match spec.and_then(|spec| spec.subdomain.as_deref()).filter(|domain| !domain.is_empty()) {
        Some(domain) => {
            text.push_str(&format!("{address}\t{name}.{domain}.{namespace}.svc.cluster.local\t{name}\n"));
        }
        None => text.push_str(&format!("{address}\t{name}\n")),
    }
    for alias in spec.and_then(|spec| spec.host_aliases.as_ref()).into_iter().flatten() {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

/// `/etc/resolv.conf` by the pod's DNS policy; `None` leaves the machine's own.
pub(super) fn resolv_conf(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let (mut servers, mut searches, mut options) = match policy(spec) {
        "None" => (vec![], vec![], vec![]),
        "Default" => return None,
        _ => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let searches = vec![
                format!("{namespace}.svc.cluster.local"),
                "svc.cluster.local".into(),
                "cluster.local".into(),
            ];
            (vec![NAME_SERVER.to_owned()], searches, vec!["ndots:5".to_owned()])
        }
    };
    if let Some(more) = &spec.dns_config {
        servers.extend(more.nameservers.iter().flatten().cloned());
        searches.extend(more.searches.iter().flatten().cloned());
        options.extend(more.options.iter().flatten().filter_map(|option| {
            let name = option.name.as_deref()?;
            Some(option.value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name}:{value}")))
        }));
    }
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    Some(text)
}

fn policy(spec: &PodSpec) -> &str {
    match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        // On the machine's own network nobody answers cluster names.
        "ClusterFirst" if spec.host_network == Some(true) => "Default",
        policy => policy,
    }
}

/// Writes a file, and the folder it is in.
pub(super) fn write(path: &Path, content: &str) -> Result<(), DockerError> {
    let file = |source| DockerError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    std::fs::write(path, content).map_err(file)
}

/// An empty file that any user of a container may write.
pub(super) fn writable(path: &Path) -> Result<(), DockerError> {
    write(path, "")?;
    let anyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(path, anyone)
        .map_err(|source| DockerError::File { path: path.to_owned(), source })
}

/// What the container left to say; empty if nothing.
pub(super) fn message(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MESSAGE_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Where the message of a run of a container is.
pub(super) fn message_path(folder: &Path, uid: &str, container: &str, attempt: u32) -> PathBuf {
    folder.join(uid).join(format!("{container}-{attempt}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn hosts_names_the_pod_and_its_aliases() {
        let address = "127.42.0.9".parse().unwrap();
        let text = hosts(&pod(json!({"containers": [], "subdomain": "web"})), address);
        assert!(text.contains("127.42.0.9\tweb-0.web.shop.svc.cluster.local\tweb-0\n"), "{text}");
        let aliases = json!([{"ip": "127.0.0.9", "hostnames": ["a", "b"]}]);
        let text = hosts(&pod(json!({"containers": [], "hostname": "h", "hostAliases": aliases})), address);
        assert!(text.ends_with("127.42.0.9\th\n127.0.0.9\ta\tb\n"), "{text}");
    }

    #[test]
    fn names_are_looked_up_by_the_pods_policy() {
        let own = "nameserver 127.0.0.53\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\n";
        let config = json!({"nameservers": ["127.0.0.8"], "options": [{"name": "timeout", "value": "1"}]});
        for (spec, want) in [
            (json!({"containers": []}), Some(format!("{own}options ndots:5\n"))),
            (
                json!({"containers": [], "dnsPolicy": "None", "dnsConfig": config}),
                Some("nameserver 127.0.0.8\noptions timeout:1\n".to_owned()),
            ),
            (json!({"containers": [], "dnsPolicy": "Default"}), None),
            (json!({"containers": [], "hostNetwork": true}), None),
        ] {
            assert_eq!(resolv_conf(&pod(spec.clone())), want, "{spec}");
        }
    }
}
