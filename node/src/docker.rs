//! Docker containers, for images that are not WebAssembly.
//!
//! A pod's containers share the network of its sandbox, a container that only waits. Everything that is made carries
//! labels with the pod, the container and the run it belongs to and with this node's folder, so that another life of
//! the agent finds it again, and only its own. What is a decision (the body of a create call, what an end means) is a
//! pure function of the pod; this file and `sandbox` hold the state.

pub(crate) mod archive;
mod body;
mod container;
mod exec;
mod files;
mod image;
mod pause;
mod ports;
mod sandbox;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bollard::errors::Error as ApiError;
use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions};
use thiserror::Error;

pub use self::body::{Limits, Wanted};
pub use self::container::{Container, Run};
pub use self::exec::Exec;
pub(crate) use self::files::NAME_SERVER;
pub use self::image::{Image, PullError};
pub use self::ports::OpenPort;
pub use self::sandbox::Sandbox;
use crate::local::LocalPods;
use crate::namespace::Namespace;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

const HOME: &str = "dev.isopod.home";
const KIND: &str = "dev.isopod.kind";
const ATTEMPT: &str = "dev.isopod.attempt";
const POD_UID: &str = "io.kubernetes.pod.uid";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// Seconds that a call may take; pulls and waits are streams and have none.
const CALL_SECONDS: u64 = 120;

/// Which Docker daemon a node uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// None.
    #[default]
    Never,
    /// The one at this socket, if it answers.
    IfThere(PathBuf),
    /// The one at this socket; without it the node does not start.
    At(PathBuf),
}

impl Choice {
    /// By what a person says: a socket, `none`, or nothing, which means the usual place if something is there.
    pub fn of(said: Option<&str>) -> Self {
        match said {
            Some("none") => Self::Never,
            Some(elsewhere) if elsewhere.contains("://") && !elsewhere.starts_with("unix://") => {
                tracing::warn!(
                    docker = elsewhere,
                    "only a Docker daemon on this machine can be used: give its socket"
                );
                Self::Never
            }
            Some(socket) => Self::At(socket.trim_start_matches("unix://").into()),
            None if Path::new(DEFAULT_SOCKET).exists() => Self::IfThere(DEFAULT_SOCKET.into()),
            None => Self::Never,
        }
    }
}

/// The Docker daemon of this machine. A cheap handle.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    client: bollard::Docker,
    /// Where files are kept that are mounted into containers; also what tells this node's containers from others'.
    folder: PathBuf,
    version: String,
    architecture: String,
    local: LocalPods,
    /// Pods that have, or may have, something in the daemon.
    pods: Mutex<HashMap<String, sandbox::Place>>,
}

/// Why Docker cannot be used, or did not do what it was asked to.
#[derive(Debug, Error)]
pub enum DockerError {
    /// Nothing listens there, or no Docker daemon.
    #[error("no Docker daemon answers at {socket}: {reason}")]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What happened instead.
        reason: String,
    },
    /// This process lacks a right.
    #[error(
        "containers' networks cannot be entered ({reason}): the node must run as root to run Docker containers"
    )]
    NotAllowed {
        /// The kernel's reason.
        reason: String,
    },
    /// The daemon refused, or did not answer.
    #[error("{0}")]
    Call(String),
    /// A file for a container could not be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<ApiError> for DockerError {
    fn from(error: ApiError) -> Self {
        Self::Call(told(&error))
    }
}

/// What the daemon said, without the words of the library around it.
fn told(error: &ApiError) -> String {
    match error {
        ApiError::DockerResponseServerError { message, .. } => message.clone(),
        other => {
            let causes = std::iter::successors(std::error::Error::source(other), |cause| cause.source());
            causes.fold(format!("the Docker daemon cannot be asked: {other}"), |line, cause| {
                format!("{line}: {cause}")
            })
        }
    }
}

fn is_missing(error: &ApiError) -> bool {
    matches!(error, ApiError::DockerResponseServerError { status_code: 404, .. })
}

/// A container that an earlier life of the agent made.
pub struct Found {
    id: String,
    /// It was made, but never started.
    pub unstarted: bool,
}

impl Docker {
    /// Connects to the daemon at `socket`. Files for containers are kept in `folder`; pods get their networks into
    /// `local`.
    pub async fn connect(socket: &Path, folder: PathBuf, local: LocalPods) -> Result<Self, DockerError> {
        let unreachable =
            |error: ApiError| DockerError::Unreachable { socket: socket.to_owned(), reason: told(&error) };
        let path = socket.to_string_lossy();
        let client = bollard::Docker::connect_with_unix(&path, CALL_SECONDS, bollard::API_DEFAULT_VERSION);
        let client = client.map_err(unreachable)?.negotiate_version().await.map_err(unreachable)?;
        let version = client.version().await.map_err(unreachable)?;
        let entered = Namespace::may_enter().await;
        entered.map_err(|error| DockerError::NotAllowed { reason: error.to_string() })?;
        let file = |source| DockerError::File { path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(file)?;
        let inner = Inner {
            folder: std::fs::canonicalize(&folder).map_err(file)?,
            client,
            version: version.version.unwrap_or_default(),
            architecture: version.arch.unwrap_or_default(),
            local,
            pods: Mutex::default(),
        };
        let docker = Self { inner: Arc::new(inner) };
        docker.recall().await?;
        Ok(docker)
    }

    /// The daemon's version.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Notes the pods of which an earlier life of the agent left something.
    async fn recall(&self) -> Result<(), DockerError> {
        for (uid, ..) in self.listed(&[]).await? {
            lock(&self.inner.pods).entry(uid).or_default();
        }
        Ok(())
    }

    /// Whether the pod has, or may have, something in the daemon.
    pub fn knows(&self, uid: &str) -> bool {
        lock(&self.inner.pods).contains_key(uid)
    }

    /// The container of this run, if an earlier life of the agent made it.
    pub async fn find(&self, uid: &str, name: &str, attempt: u32) -> Result<Option<Found>, DockerError> {
        let labels =
            [format!("{POD_UID}={uid}"), format!("{CONTAINER_NAME}={name}"), format!("{ATTEMPT}={attempt}")];
        let found = self.listed(&labels).await?.into_iter().next();
        Ok(found.map(|(_, id, unstarted)| Found { id, unstarted }))
    }

    /// Removes what other runs of this container left.
    pub async fn remove_others(&self, uid: &str, name: &str) -> Result<(), DockerError> {
        let labels = [format!("{POD_UID}={uid}"), format!("{CONTAINER_NAME}={name}")];
        for (_, id, _) in self.listed(&labels).await? {
            self.remove(&id).await?;
        }
        Ok(())
    }

    /// Ends and removes all that the pod has in the daemon.
    pub async fn remove_pod(&self, uid: &str) -> Result<(), DockerError> {
        if !self.knows(uid) {
            return Ok(());
        }
        let labels = [format!("{POD_UID}={uid}")];
        for (_, id, _) in self.listed(&labels).await? {
            self.remove(&id).await?;
        }
        lock(&self.inner.pods).remove(uid);
        let folder = self.inner.folder.join(uid);
        match tokio::fs::remove_dir_all(&folder).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DockerError::File { path: folder, source })
            }
            _ => Ok(()),
        }
    }

    /// Removes all of pods other than these.
    pub async fn remove_unknown(&self, known: &HashSet<String>) -> Result<(), DockerError> {
        let pods: Vec<String> = lock(&self.inner.pods).keys().cloned().collect();
        for uid in pods.iter().filter(|uid| !known.contains(*uid)) {
            self.remove_pod(uid).await?;
        }
        Ok(())
    }

    /// This node's containers with these labels: pod, id, and whether they were never started.
    async fn listed(&self, labels: &[String]) -> Result<Vec<(String, String, bool)>, DockerError> {
        let mut wanted = vec![format!("{HOME}={}", self.inner.folder.display())];
        wanted.extend_from_slice(labels);
        let filters = Some(HashMap::from([("label".to_owned(), wanted)]));
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let all = self.inner.client.list_containers(Some(options)).await?;
        let listed = all.into_iter().filter_map(|one| {
            let uid = one.labels?.remove(POD_UID)?;
            let unstarted = one.state.is_some_and(|state| state.to_string() == "created");
            Some((uid, one.id?, unstarted))
        });
        Ok(listed.collect())
    }

    async fn remove(&self, id: &str) -> Result<(), DockerError> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        match self.inner.client.remove_container(id, Some(options)).await {
            Err(error) if is_missing(&error) => Ok(()),
            // Another call is removing it already.
            Err(ApiError::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            other => Ok(other?),
        }
    }
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docker").field("version", &self.inner.version).finish_non_exhaustive()
    }
}

/// The lock is never held while anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
