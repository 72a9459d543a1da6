//! The sandbox of a pod: the container that holds its network, and the way into it.

use std::net::IpAddr;
use std::sync::Arc;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};
use futures::stream;
use k8s_openapi::api::core::v1::Pod;

use super::{Docker, DockerError, body, files, is_missing, lock, pause};
use crate::agent::pod::spec;
use crate::agent::start::identity;
use crate::local::Housing;
use crate::namespace::Namespace;

/// A pod's network that lives.
pub struct Sandbox {
    /// The daemon's name for it.
    pub(super) id: String,
    pid: u32,
    /// `None` on the machine's own network.
    network: Option<(Arc<Namespace>, Housing)>,
}

/// Where a pod's sandbox is kept. Held while it is made, so that two containers of a pod get the same.
pub(super) type Place = Arc<tokio::sync::Mutex<Option<Arc<Sandbox>>>>;

impl Sandbox {
    /// The pod's network, if it has its own.
    pub fn network(&self) -> Option<&Arc<Namespace>> {
        self.network.as_ref().map(|(network, _)| network)
    }
}

impl Docker {
    /// The sandbox of a pod: the one that runs, or a new one.
    pub async fn sandbox(&self, pod: &Pod, address: IpAddr) -> Result<Arc<Sandbox>, DockerError> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let place = lock(&self.inner.pods).entry(uid).or_default().clone();
        let mut place = place.lock().await;
        if let Some(known) = &*place
            && self.pid(&known.id).await? == Some(known.pid)
        {
            return Ok(known.clone());
        }
        // Its network goes first: the address may have only one.
        *place = None;
        self.write_files(pod, address)?;
        let name = name(pod);
        let (id, pid) = match self.pid(&name).await? {
            Some(pid) => (self.id(&name).await?, pid),
            None => self.make_sandbox(pod, &name).await?,
        };
        let network = match spec(pod).host_network {
            Some(true) => None,
            _ => {
                let namespace = Arc::new(Namespace::of_process(pid).map_err(|source| DockerError::File {
                    path: format!("/proc/{pid}/ns/net").into(),
                    source,
                })?);
                Some((namespace.clone(), self.inner.local.house(identity(pod, address), namespace)))
            }
        };
        let sandbox = Arc::new(Sandbox { id, pid, network });
        *place = Some(sandbox.clone());
        Ok(sandbox)
    }

    fn write_files(&self, pod: &Pod, address: IpAddr) -> Result<(), DockerError> {
        let folder = self.inner.folder.join(pod.metadata.uid.as_deref().unwrap_or_default());
        files::write(&folder.join("hosts"), &files::hosts(pod, address))?;
        files::resolv_conf(pod).map_or(Ok(()), |text| files::write(&folder.join("resolv.conf"), &text))
    }

    /// The process of a container that runs; `None` if it does not.
    async fn pid(&self, container: &str) -> Result<Option<u32>, DockerError> {
        let found = match self.inner.client.inspect_container(container, None).await {
            Ok(found) => found,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let pid = found.state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok());
        Ok(pid.filter(|pid| *pid != 0))
    }

    async fn id(&self, name: &str) -> Result<String, DockerError> {
        let found = self.inner.client.inspect_container(name, None).await?;
        Ok(found.id.unwrap_or_default())
    }

    async fn make_sandbox(&self, pod: &Pod, name: &str) -> Result<(String, u32), DockerError> {
        // One that was made and does not run is of no use.
        self.remove(name).await?;
        let network = if spec(pod).host_network == Some(true) { "host" } else { "none" };
        let body = body::sandbox(pod, &self.inner.folder, network);
        let id = match self.create(name, body.clone()).await {
            Err(DockerError::Call(message)) if message.contains("No such image") => {
                self.load_pause().await?;
                self.create(name, body).await?
            }
            other => other?,
        };
        self.inner.client.start_container(&id, None::<StartContainerOptions>).await?;
        let pid = self.pid(&id).await?;
        let pid = pid.ok_or_else(|| {
            DockerError::Call("the pod's sandbox ended as soon as it was started".to_owned())
        })?;
        Ok((id, pid))
    }

    async fn load_pause(&self) -> Result<(), DockerError> {
        let architecture = &self.inner.architecture;
        let unknown =
            || DockerError::Call(format!("there is no sandbox for the architecture {architecture}"));
        let archive = pause::image(architecture).ok_or_else(unknown)?;
        let archive = archive.map_err(|error| DockerError::Call(error.to_string()))?;
        let loaded = self.load(pause::IMAGE, stream::iter([archive.into()])).await;
        loaded.map(|_| ()).map_err(|error| DockerError::Call(error.to_string()))
    }

    pub(super) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, DockerError> {
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
        Ok(self.inner.client.create_container(Some(options), body).await?.id)
    }
}

fn name(pod: &Pod) -> String {
    container_name(pod, "POD", 0)
}

/// As a person sees it in `docker ps`.
pub(super) fn container_name(pod: &Pod, container: &str, attempt: u32) -> String {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!("isopod_{container}_{}_{}_{}_{attempt}", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}
