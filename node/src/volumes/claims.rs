//! Volumes that outlive pods: folders of this node, made for claims, and others that the machine has.
//!
//! A claim names a volume, the volume a folder. One that was made for the claim lies below a folder of the node's own
//! data: it is made when it is first mounted, and removed when the control plane asks for that.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::Api;

use super::{host_folder, make_folder};

/// Annotation of the Node: where it makes volumes.
pub const FOLDER: &str = "isopod.dev/volumes-folder";
/// The label by which volumes name the node that has them.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Finds the folders behind claims. A cheap handle.
#[derive(Clone)]
pub struct Claims {
    client: kube::Client,
    node: Arc<str>,
    root: Arc<Path>,
}

/// The claim behind a pod's volume.
pub(super) struct Wanted {
    namespace: String,
    name: String,
    /// The pod must not write.
    read_only: bool,
    /// The uid of the pod that must own it.
    owner: Option<String>,
}

/// The claim that the volume names, or that is made for it.
pub(super) fn wanted(pod: &Pod, volume: &Volume) -> Option<Wanted> {
    let meta = &pod.metadata;
    let namespace = meta.namespace.clone().unwrap_or_default();
    if let Some(claim) = &volume.persistent_volume_claim {
        let read_only = claim.read_only == Some(true);
        return Some(Wanted { namespace, name: claim.claim_name.clone(), read_only, owner: None });
    }
    volume.ephemeral.as_ref()?;
    let name = format!("{}-{}", meta.name.as_deref().unwrap_or_default(), volume.name);
    Some(Wanted { namespace, name, read_only: false, owner: meta.uid.clone() })
}

/// What a container gets of a volume.
pub(super) enum Writing {
    /// It may write.
    Allowed,
    /// It may only read.
    Refused,
}

impl Claims {
    /// The claims of pods on the node `node`, which makes volumes below `root`.
    pub fn new(client: kube::Client, node: &str, root: &Path) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { client, node: node.into(), root: root.into() }
    }

    /// Where volumes are made.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder behind the claim, ready to be mounted.
    pub(super) async fn folder(&self, wanted: &Wanted) -> Result<(PathBuf, Writing), String> {
        let Wanted { namespace, name, read_only, owner } = wanted;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let claim = claims.get_opt(name).await.map_err(|error| error.to_string())?;
        let claim = claim.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
        if let Some(owner) = owner {
            let owners = claim.metadata.owner_references.iter().flatten();
            if !owners.into_iter().any(|own| own.controller == Some(true) && own.uid == *owner) {
                return Err(format!("PVC {namespace}/{name} was not created for pod (pod is not owner)"));
            }
        }
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if bound.is_empty() || phase != "Bound" {
            return Err(format!("PersistentVolumeClaim is not bound: \"{name}\""));
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volume = volumes.get_opt(&bound).await.map_err(|error| error.to_string())?;
        let volume = volume.ok_or_else(|| format!("persistentvolume \"{bound}\" not found"))?;
        let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_ref());
        if holder != claim.metadata.uid.as_ref() {
            return Err(format!("PersistentVolume \"{bound}\" is bound to another claim than \"{name}\""));
        }
        let folder = self.place(&volume)?;
        Ok((folder, if *read_only { Writing::Refused } else { Writing::Allowed }))
    }

    /// The volume's folder on this machine.
    fn place(&self, volume: &PersistentVolume) -> Result<PathBuf, String> {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let spec = volume.spec.as_ref();
        if !is_here(volume, &self.node) {
            return Err(format!("PersistentVolume \"{name}\" is not on this node, by its node affinity"));
        }
        if let Some(host_path) = spec.and_then(|spec| spec.host_path.as_ref()) {
            return host_folder(host_path);
        }
        let Some(local) = spec.and_then(|spec| spec.local.as_ref()) else {
            return Err(format!(
                "PersistentVolume \"{name}\" is neither local nor hostPath, which is all this node mounts"
            ));
        };
        let path = PathBuf::from(&local.path);
        if path == self.root.join(name) {
            make_folder(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        } else if !path.is_dir() {
            return Err(format!("path \"{}\" does not exist", local.path));
        }
        Ok(path)
    }

    /// Removes the folder that was made for the volume `name`; there may be none. Blocks on the disk.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let mut parts = Path::new(name).components();
        let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a volume"));
        };
        match std::fs::remove_dir_all(self.root.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// False when the volume names other hosts than this one.
fn is_here(volume: &PersistentVolume, node: &str) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    affinity.is_none_or(|required| {
        required.node_selector_terms.iter().any(|term| {
            let mut hosts = term.match_expressions.iter().flatten().filter(|own| own.key == HOSTNAME);
            hosts.all(|own| own.operator != "In" || own.values.iter().flatten().any(|host| host == node))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn claims(root: &Path) -> Claims {
        rustls::crypto::ring::default_provider().install_default().ok();
        // Nothing here asks the API.
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        Claims::new(kube::Client::try_from(config).unwrap(), "n1", root)
    }

    fn volume(source: serde_json::Value, host: &str) -> PersistentVolume {
        let mut spec = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": HOSTNAME, "operator": "In", "values": [host]}]}]}}});
        spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "pvc-1"}, "spec": spec})).unwrap()
    }

    #[tokio::test]
    async fn only_the_nodes_own_folders_are_made() {
        let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let claims = claims(folder.path());
        let own = folder.path().join("pvc-1");
        let made = claims.place(&volume(json!({"local": {"path": own}}), "n1")).unwrap();
        assert!(made == own && own.is_dir());
        for (source, host, why) in [
            (json!({"local": {"path": own}}), "n2", "is not on this node"),
            (json!({"local": {"path": other.path().join("x")}}), "n1", "does not exist"),
            (json!({"local": {"path": folder.path().join("pvc-2")}}), "n1", "does not exist"),
            (json!({"nfs": {"server": "a", "path": "/"}}), "n1", "neither local nor hostPath"),
            (json!({"hostPath": {"path": other.path().join("x")}}), "n1", "is not a directory"),
        ] {
            let error = claims.place(&volume(source, host)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(claims.place(&volume(json!({"hostPath": {"path": other.path()}}), "n1")).is_ok());
    }

    #[tokio::test]
    async fn only_what_was_made_for_a_volume_is_removed() {
        let folder = TempDir::new().unwrap();
        let claims = claims(&folder.path().join("claims"));
        std::fs::create_dir_all(claims.root().join("pvc-1/deep")).unwrap();
        for name in ["..", ".", "", "a/b", "/etc"] {
            assert!(claims.remove(name).is_err(), "{name}");
        }
        claims.remove("pvc-1").unwrap();
        claims.remove("pvc-1").unwrap();
        assert!(claims.root().is_dir() && !claims.root().join("pvc-1").exists());
    }
}
