//! Artifacts by reference: pulled, verified and kept on this node.
//!
//! Blobs lie on the disk under their digest and are checked each time they are read; what a reference was last
//! resolved to is remembered beside them, so that `IfNotPresent` and `Never` also hold after a restart. The host
//! `registry.local` is the cluster's own registry, asked over the connection to the API server; any other is asked
//! over the OCI distribution protocol.

mod archive;
mod blobs;
mod cluster;
mod credentials;
mod layout;
mod pull;
mod reference;
mod remote;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Semaphore;

pub use credentials::{Credentials, CredentialsError};

use self::blobs::Blobs;
pub(crate) use self::blobs::digest_of;
use self::cluster::ClusterRegistry;
use self::remote::RemoteRegistries;
use crate::coalesce::Coalesce;

/// The host name in `image:` that means the cluster's own registry.
pub const CLUSTER_REGISTRY: &str = "registry.local";

/// The host name of the registry that `image` is in; empty if that is no reference.
pub fn registry_of(image: &str) -> String {
    reference::parse(image).map(|parsed| parsed.registry().to_owned()).unwrap_or_default()
}

/// Pulls at a time; more would only share the same link and disk.
const PULLS: usize = 4;

/// The artifacts of this node. A cheap handle.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    blobs: Blobs,
    cluster: ClusterRegistry,
    remote: RemoteRegistries,
    max_bytes: u64,
    /// By reference, as written in `image:`.
    known: Mutex<HashMap<String, Arc<Image>>>,
    pulls: Coalesce<(String, Credentials), Result<Arc<Image>, Arc<ImageError>>>,
    slots: Semaphore,
}

/// What to start [`Images`] with.
pub struct Config {
    /// Where blobs and references are kept.
    pub folder: PathBuf,
    /// The largest component or layer that is taken, in bytes.
    pub max_bytes: u64,
}

impl Config {
    /// With the default limit of 256 MiB: interpreters compiled to WebAssembly stay well below.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, max_bytes: 256 * 1024 * 1024 }
    }
}

/// An artifact that is on this node.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// As written in `image:`.
    pub reference: String,
    /// For `imageID`: the repository and the manifest's digest.
    pub id: String,
    /// Digest of the WebAssembly bytes, `sha256:…`.
    pub digest: String,
    /// Their number.
    pub size: u64,
    /// The image's `Entrypoint`, where it has one.
    pub entrypoint: Vec<String>,
    /// The image's `Cmd`, where it has one.
    pub cmd: Vec<String>,
    /// The image's environment.
    pub env: Vec<(String, String)>,
}

/// When to ask the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time: a tag may have moved. What it resolves to is fetched only if it is new.
    Always,
    /// Only if this node has nothing under that reference.
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// The policy of a container: what it says, or by the tag, as upstream defaults it.
    pub fn of(declared: Option<&str>, image: &str) -> Self {
        match declared {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if reference::parse(image)
                .is_ok_and(|parsed| parsed.digest().is_none() && parsed.tag() == Some("latest")) =>
            {
                Self::Always
            }
            _ => Self::IfNotPresent,
        }
    }
}

/// An image that is ready to be started, and how it came.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The image.
    pub image: Arc<Image>,
    /// How long it took to ask the registry; `None` when that was not needed.
    pub pulled_in: Option<Duration>,
}

/// Why there is no image.
#[derive(Debug, Error)]
pub enum ImageError {
    /// `image:` is not a reference.
    #[error("couldn't parse image name {image:?}: {reason}")]
    InvalidName {
        /// As written.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The policy forbids to pull.
    #[error("Container image \"{image}\" is not present with pull policy of Never")]
    NeverPull {
        /// As written.
        image: String,
    },
    /// The registry has nothing under that name.
    #[error("{image}: not found")]
    NotFound {
        /// As written.
        image: String,
    },
    /// The registry wants other credentials.
    #[error("{image}: access denied, it may need imagePullSecrets")]
    Denied {
        /// As written.
        image: String,
    },
    /// The registry could not be asked, or gave no usable answer.
    #[error("{image}: {}", chain(source.as_ref()))]
    Registry {
        /// As written.
        image: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What came is not what the registry promised.
    #[error("{image}: {what}")]
    Untrue {
        /// As written.
        image: String,
        /// Which promise was broken.
        what: String,
    },
    /// More than this node takes.
    #[error("{image}: {what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// As written.
        image: String,
        /// A blob's digest or a file's name.
        what: String,
        /// In bytes.
        limit: u64,
    },
    /// The artifact is not for a WebAssembly runtime.
    #[error(
        "image \"{image}\" is not a WebAssembly artifact ({found}), and this node has no Docker to run it: \
         start the node where a Docker daemon runs, or name its socket with --docker"
    )]
    NotWasm {
        /// As written.
        image: String,
        /// What it is instead.
        found: String,
    },
    /// The artifact is for WebAssembly, but not in a form that is understood.
    #[error("image \"{image}\" cannot be used: {reason}")]
    Layout {
        /// As written.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk of this node failed.
    #[error("{image} cannot be kept on this node: {}", chain(source))]
    Disk {
        /// As written.
        image: String,
        /// What it said.
        source: io::Error,
    },
}

/// An error with its causes in one line: these messages end in a status, where nobody can follow `source`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many libraries repeat their cause in their own message.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl Images {
    /// Opens the folder and what was kept there. `client` reaches the API server, and through it the cluster's
    /// registry. Blocks on the disk.
    pub fn open(config: Config, client: kube::Client) -> io::Result<Self> {
        let blobs = Blobs::open(config.folder)?;
        let known =
            blobs.references()?.into_iter().map(|image| (image.reference.clone(), Arc::new(image))).collect();
        let inner = Inner {
            blobs,
            cluster: ClusterRegistry::new(client),
            remote: RemoteRegistries::new(),
            max_bytes: config.max_bytes,
            known: Mutex::new(known),
            pulls: Coalesce::default(),
            slots: Semaphore::new(PULLS),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What this node has under `reference`, without asking anyone.
    pub fn present(&self, reference: &str) -> Option<Arc<Image>> {
        lock(&self.inner.known).get(reference).cloned()
    }

    /// All that this node has, in no particular order.
    pub fn all(&self) -> Vec<Arc<Image>> {
        lock(&self.inner.known).values().cloned().collect()
    }

    /// The image, pulled if the policy asks for it.
    pub async fn ensure(
        &self,
        reference: &str,
        policy: PullPolicy,
        credentials: Credentials,
    ) -> Result<Ready, Arc<ImageError>> {
        let parsed = reference::parse(reference).map_err(Arc::new)?;
        // A digest always means the same bytes.
        let fixed = parsed.digest().is_some();
        if let Some(image) = self.present(reference).filter(|_| fixed || policy != PullPolicy::Always) {
            return Ok(Ready { image, pulled_in: None });
        }
        if policy == PullPolicy::Never {
            return Err(Arc::new(ImageError::NeverPull { image: reference.to_owned() }));
        }
        let started = Instant::now();
        let key = (reference.to_owned(), credentials.clone());
        let (images, name) = (self.clone(), reference.to_owned());
        let pull = async move { images.pull(&name, &parsed, &credentials).await.map_err(Arc::new) };
        let image = self.inner.pulls.get(key, pull).await?;
        Ok(Ready { image, pulled_in: Some(started.elapsed()) })
    }

    /// The WebAssembly bytes of an image, checked against its digest.
    pub async fn bytes(&self, image: &Image) -> Result<Bytes, ImageError> {
        let read = self.inner.blobs.read(&image.digest).await;
        let name = || image.reference.clone();
        match read {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                // Damaged or removed behind our back: to be pulled again next time.
                lock(&self.inner.known).remove(&image.reference);
                let what = format!(
                    "the copy of {} on this node is missing or damaged; it is pulled again",
                    image.digest
                );
                Err(ImageError::Untrue { image: name(), what })
            }
            Err(source) => Err(ImageError::Disk { image: name(), source }),
        }
    }
}

/// The lock is never held while anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
