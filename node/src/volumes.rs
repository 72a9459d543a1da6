//! The folders of pods, and which of them a container sees.
//!
//! A volume lies in `<root>/<uid>/<volume>` as long as its pod lives. Volumes made of objects (ConfigMap, Secret,
//! downward API, projected) are read-only for containers, follow their objects, and are replaced as a whole: readers
//! see the old files or the new ones, never a mixture. A guest sees a volume as a preopened folder, so what is mounted must be a folder.

mod beneath;
mod claims;
mod content;
mod made;
mod refresh;
mod swap;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, Volume, VolumeMount};
use thiserror::Error;

pub use self::beneath::Held;
use self::beneath::Missing;
use self::claims::Writing;
pub use self::claims::{Claims, FOLDER};
use self::made::{Made, Table};
pub use self::refresh::Refresher;
use crate::agent::env::{self, Host, Inputs};
use crate::agent::events::Events;
use crate::agent::pod::spec;
use crate::agent::sources::Sources;
use crate::runtime::{Access, Mount};

/// The volumes of this node's pods. A cheap handle.
#[derive(Clone)]
pub struct Volumes {
    root: Arc<PathBuf>,
    sources: Sources,
    host: Arc<Host>,
    /// Those that outlive pods.
    claims: Claims,
    /// Those made of objects.
    table: Table,
}

/// Why a volume is not ready.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// What it is made of is not there, or cannot be used.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
    SetUp {
        /// Its name.
        volume: String,
        /// What is the matter.
        reason: String,
    },
    /// The container mounts a volume that the pod does not have.
    #[error("volume \"{volume}\" is mounted by a container, but not declared by the pod")]
    Undeclared {
        /// Its name.
        volume: String,
    },
}

impl Volumes {
    /// Volumes below `root`, which is made when first needed, on the machine `host`, and those of `claims`.
    pub fn new(root: PathBuf, sources: Sources, claims: Claims, host: Host) -> Self {
        Self { root: Arc::new(root), sources, claims, host: Arc::new(host), table: Table::default() }
    }

    /// The task that keeps volumes made of objects up to date. What it cannot do it tells as events.
    pub fn refresher(&self, client: kube::Client, events: Events) -> Refresher {
        Refresher::new(self.clone(), client, events)
    }

    /// The pod is as given now: what its volumes tell of it is brought up to date.
    pub fn pod_changed(&self, pod: &Arc<Pod>) {
        self.table.pod_changed(pod);
    }

    /// Makes ready what the container mounts; `variables` are its environment.
    pub async fn mounts(
        &self,
        inputs: &Inputs<'_>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Vec<Mount>, VolumeError> {
        let mut mounts = Vec::new();
        for mount in inputs.container.volume_mounts.iter().flatten() {
            let declared = spec(inputs.pod).volumes.iter().flatten().find(|volume| volume.name == mount.name);
            let volume = declared.ok_or_else(|| VolumeError::Undeclared { volume: mount.name.clone() })?;
            let ready = self.mount(volume, mount, inputs, variables).await;
            mounts.push(ready.map_err(|reason| VolumeError::SetUp { volume: volume.name.clone(), reason })?);
        }
        // Of two folders of which one lies in the other, the inner one must come last.
        mounts.sort_by(|one, other| one.guest_path.cmp(&other.guest_path));
        Ok(mounts)
    }

    /// Deletes the volumes of a pod that is gone. Blocks on the disk.
    pub fn remove_pod(&self, uid: &str) -> io::Result<()> {
        self.table.remove(uid);
        match std::fs::remove_dir_all(self.root.join(uid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Deletes the volumes of all pods but these, left by an earlier run of this node. Blocks on the disk.
    pub fn remove_unknown(&self, known: &[String]) -> io::Result<()> {
        let folders = match std::fs::read_dir(&*self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for folder in folders {
            let folder = folder?;
            if !known.iter().any(|uid| folder.file_name() == uid.as_str()) {
                std::fs::remove_dir_all(folder.path())?;
            }
        }
        Ok(())
    }

    async fn mount(
        &self,
        volume: &Volume,
        mount: &VolumeMount,
        inputs: &Inputs<'_>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Mount, String> {
        let uid = inputs.pod.metadata.uid.as_deref().unwrap_or_default();
        let folder = self.root.join(uid).join(&volume.name);
        let (folder, writable) = if volume.empty_dir.is_some() {
            make_folder(&folder).map_err(|error| error.to_string())?;
            (folder, true)
        } else if let Some(host_path) = &volume.host_path {
            (host_folder(host_path)?, true)
        } else if let Some(claim) = claims::wanted(inputs.pod, volume) {
            let (folder, writing) = self.claims.folder(&claim).await?;
            (folder, matches!(writing, Writing::Allowed))
        } else {
            let made = self.table.enter(Made::new(folder.clone(), volume, inputs));
            made.make(&self.sources, &self.host).await?;
            (folder, false)
        };
        let missing = if writable { Missing::Made } else { Missing::Told };
        let held = match sub_path(mount, variables)? {
            Some(path) => Some(beneath::folder(&folder, &path, missing)?),
            None => None,
        };
        let access = match writable && mount.read_only != Some(true) {
            true => Access::ReadWrite,
            false => Access::ReadOnly,
        };
        let host_path = held.as_ref().map_or(folder, Held::path);
        Ok(Mount { host_path, guest_path: mount.mount_path.clone(), access, held })
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

fn host_folder(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => {
            make_folder(&path).map_err(|error| format!("hostPath {}: {error}", source.path))?
        }
        "" | "Directory" => {}
        other => {
            return Err(format!(
                "hostPath type {other} cannot be mounted by a WebAssembly container: only folders"
            ));
        }
    }
    if !path.is_dir() {
        return Err(format!("hostPath type check failed: {} is not a directory", source.path));
    }
    Ok(path)
}

/// The part of the volume that is mounted, if it is not the whole.
fn sub_path(mount: &VolumeMount, variables: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    if let Some(path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
        return Ok(Some(path.to_owned()));
    }
    let Some(expression) = mount.sub_path_expr.as_deref().filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = env::expand(expression, |name| variables.get(name).map(String::as_str));
    // As upstream: what is left of a reference names a variable that the container does not have.
    match path.contains("$(") {
        true => Err(format!(
            "failed to expand subPath for volumeMount \"{}\": missing value in {expression:?}",
            mount.name
        )),
        false => Ok(Some(path)),
    }
}

#[cfg(test)]
mod tests;
