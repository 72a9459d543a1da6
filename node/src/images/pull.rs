//! One pull: manifest, the part of it that is WebAssembly, and the record of what the reference means.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use oci_client::Reference;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciImageManifest, OciManifest,
};

use super::blobs::{WriteError, digest_of};
use super::cluster::ClusterRegistry;
use super::layout::{self, Compression, Content, ImageConfig, Problem, Tar};
use super::remote::RemoteRegistry;
use super::{CLUSTER_REGISTRY, Credentials, Image, ImageError, Images, lock};

/// What a manifest may be.
pub(super) const MANIFEST_TYPES: &[&str] = &[
    OCI_IMAGE_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];
/// Manifests and configs are small; registries agree on this bound.
pub(super) const MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// What a registry said instead of an answer.
pub(super) enum RegistryError {
    NotFound,
    Denied,
    Other(Box<dyn std::error::Error + Send + Sync>),
}

pub(super) enum Registry<'a> {
    Cluster(&'a ClusterRegistry),
    Remote(RemoteRegistry),
}

impl Registry<'_> {
    async fn manifest(&self, image: &Reference) -> Result<Bytes, RegistryError> {
        match self {
            Self::Cluster(registry) => registry.manifest(image).await,
            Self::Remote(registry) => registry.manifest(image).await,
        }
    }

    async fn blob(
        &self,
        image: &Reference,
        digest: &str,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RegistryError> {
        match self {
            Self::Cluster(registry) => registry.blob(image, digest).await,
            Self::Remote(registry) => registry.blob(image, digest).await,
        }
    }
}

/// One pull and its errors' subject.
pub(super) struct Pull<'a> {
    pub images: &'a Images,
    pub name: &'a str,
    pub parsed: &'a Reference,
    pub registry: Registry<'a>,
}

impl Images {
    pub(super) async fn pull(
        &self,
        name: &str,
        parsed: &Reference,
        credentials: &Credentials,
    ) -> Result<Arc<Image>, ImageError> {
        let _slot = self.inner.slots.acquire().await.expect("the semaphore is never closed");
        let registry = if parsed.registry() == CLUSTER_REGISTRY {
            Registry::Cluster(&self.inner.cluster)
        } else {
            Registry::Remote(self.inner.remote.registry(parsed, credentials))
        };
        let pull = Pull { images: self, name, parsed, registry };
        let (manifest, digest) = pull.manifest().await?;
        let id = format!("{}/{}@{digest}", parsed.registry(), parsed.repository());
        if let Some(known) = self.present(name).filter(|known| known.id == id) {
            return Ok(known);
        }
        let image = pull.content(&manifest, id).await?;
        let disk = |source| ImageError::Disk { image: name.to_owned(), source };
        self.inner.blobs.remember(&image).await.map_err(disk)?;
        let image = Arc::new(image);
        lock(&self.inner.known).insert(name.to_owned(), image.clone());
        Ok(image)
    }
}

impl Pull<'_> {
    /// The manifest of the image for WebAssembly, and the digest of what the reference names.
    async fn manifest(&self) -> Result<(OciImageManifest, String), ImageError> {
        let (manifest, digest) = self.named_manifest(self.parsed).await?;
        let index = match manifest {
            OciManifest::Image(manifest) => return Ok((manifest, digest)),
            OciManifest::ImageIndex(index) => index,
        };
        let chosen = layout::choose(&index).map_err(|problem| self.problem(problem))?;
        match self.named_manifest(&self.parsed.clone_with_digest(chosen)).await? {
            (OciManifest::Image(manifest), _) => Ok((manifest, digest)),
            (OciManifest::ImageIndex(_), _) => {
                Err(self.problem(Problem::Unclear("its index points to another index".to_owned())))
            }
        }
    }

    pub(super) async fn named_manifest(
        &self,
        reference: &Reference,
    ) -> Result<(OciManifest, String), ImageError> {
        let bytes = self.registry.manifest(reference).await.map_err(|error| self.refused(error))?;
        let digest = digest_of(&bytes);
        if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
            return Err(self.untrue(format!("the manifest does not have the digest {expected} but {digest}")));
        }
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|error| self.untrue(format!("its manifest is malformed: {error}")))?;
        Ok((manifest, digest))
    }

    async fn content(&self, manifest: &OciImageManifest, id: String) -> Result<Image, ImageError> {
        let by_type = layout::wasm_layer(manifest).map_err(|problem| self.problem(problem))?;
        let content = match by_type {
            Some(content) => content,
            None => {
                let config = self.config(&manifest.config.digest).await?;
                layout::image_content(manifest, config).map_err(|problem| self.problem(problem))?
            }
        };
        let reference = self.name.to_owned();
        match content {
            Content::Layer { digest } => {
                let size = self.keep_blob(&digest).await?;
                Ok(Image { reference, id, digest, size, entrypoint: vec![], cmd: vec![], env: vec![] })
            }
            Content::File { layers, entrypoint, cmd, env } => {
                let bytes = self.file(layers, entrypoint.clone(), cmd.clone()).await?;
                let (digest, size) = (digest_of(&bytes), bytes.len() as u64);
                self.keep(&digest, stream::iter([Ok(bytes)])).await?;
                Ok(Image { reference, id, digest, size, entrypoint, cmd, env })
            }
        }
    }

    /// A blob in memory, checked.
    pub(super) async fn blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let stream = self.registry.blob(self.parsed, digest).await.map_err(|error| self.refused(error))?;
        self.collect(stream, digest, self.images.inner.max_bytes).await
    }

    async fn config(&self, digest: &str) -> Result<ImageConfig, ImageError> {
        let stream = self.registry.blob(self.parsed, digest).await.map_err(|error| self.refused(error))?;
        let bytes = self.collect(stream, digest, MANIFEST_BYTES as u64).await?;
        // Anything may serve as a config; one that is not JSON of an image simply says nothing.
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Makes sure that a blob is kept, and returns its size.
    async fn keep_blob(&self, digest: &str) -> Result<u64, ImageError> {
        if let Ok(Some(bytes)) = self.images.inner.blobs.read(digest).await {
            return Ok(bytes.len() as u64);
        }
        let stream = self.registry.blob(self.parsed, digest).await.map_err(|error| self.refused(error))?;
        self.keep(digest, stream).await
    }

    async fn keep<S>(&self, digest: &str, stream: S) -> Result<u64, ImageError>
    where
        S: futures::Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let limit = self.images.inner.max_bytes;
        let image = || self.name.to_owned();
        self.images.inner.blobs.write(digest, stream, limit).await.map_err(|error| match error {
            WriteError::TooLarge(limit) => {
                ImageError::TooLarge { image: image(), what: digest.to_owned(), limit }
            }
            WriteError::Digest { .. } | WriteError::Unknown(_) => self.untrue(error.to_string()),
            WriteError::Transfer(source) => ImageError::Registry { image: image(), source: source.into() },
            WriteError::Disk(source) => ImageError::Disk { image: image(), source },
        })
    }

    /// Collects a blob in memory and checks it.
    async fn collect(
        &self,
        mut stream: BoxStream<'static, io::Result<Bytes>>,
        digest: &str,
        limit: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            let broken = |source: io::Error| ImageError::Registry {
                image: self.name.to_owned(),
                source: source.into(),
            };
            bytes.extend_from_slice(&piece.map_err(broken)?);
            if bytes.len() as u64 > limit {
                return Err(ImageError::TooLarge {
                    image: self.name.to_owned(),
                    what: digest.to_owned(),
                    limit,
                });
            }
        }
        let found = digest_of(&bytes);
        if found != digest {
            return Err(self.untrue(format!("the blob does not have the digest {digest} but {found}")));
        }
        Ok(bytes)
    }

    /// The module out of an image's file system.
    async fn file(
        &self,
        layers: Vec<Tar>,
        entrypoint: Vec<String>,
        cmd: Vec<String>,
    ) -> Result<Bytes, ImageError> {
        let limit = self.images.inner.max_bytes;
        let mut archives = Vec::new();
        for layer in layers {
            let stream =
                self.registry.blob(self.parsed, &layer.digest).await.map_err(|error| self.refused(error))?;
            archives.push((self.collect(stream, &layer.digest, limit).await?, layer.compression));
        }
        let found = tokio::task::spawn_blocking(move || unpack(&archives, &entrypoint, &cmd, limit)).await;
        let found = found
            .unwrap_or_else(|error| Err(Problem::Unclear(format!("its layers cannot be read: {error}"))));
        found.map(Bytes::from).map_err(|problem| self.problem(problem))
    }

    fn refused(&self, error: RegistryError) -> ImageError {
        let image = self.name.to_owned();
        match error {
            RegistryError::NotFound => ImageError::NotFound { image },
            RegistryError::Denied => ImageError::Denied { image },
            RegistryError::Other(source) => ImageError::Registry { image, source },
        }
    }

    fn untrue(&self, what: String) -> ImageError {
        ImageError::Untrue { image: self.name.to_owned(), what }
    }

    fn problem(&self, problem: Problem) -> ImageError {
        let image = self.name.to_owned();
        match problem {
            Problem::NotWasm(found) => ImageError::NotWasm { image, found },
            Problem::Unclear(reason) => ImageError::Layout { image, reason },
        }
    }
}

/// Finds the module in the layers: of two files of one name that of the later layer counts.
fn unpack(
    archives: &[(Vec<u8>, Compression)],
    entrypoint: &[String],
    cmd: &[String],
    limit: u64,
) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: io::Error| Problem::Unclear(format!("its layers cannot be read: {error}"));
    let mut names = Vec::new();
    for (archive, compression) in archives {
        each_file(archive, *compression, limit, |name, _| {
            names.push(name.to_owned());
            Ok(())
        })
        .map_err(unreadable)?;
    }
    names.sort();
    names.dedup();
    let wanted = layout::file_of(&names, entrypoint, cmd)?.to_owned();
    let mut found = Vec::new();
    for (archive, compression) in archives {
        each_file(archive, *compression, limit, |name, file| {
            if name == wanted {
                found.clear();
                file.read_to_end(&mut found)?;
            }
            Ok(())
        })
        .map_err(unreadable)?;
    }
    Ok(found)
}

/// Goes through the files of a layer. What unpacks to more than `limit` bytes is cut there, which ends in an error.
fn each_file(
    archive: &[u8],
    compression: Compression,
    limit: u64,
    mut visit: impl FnMut(&str, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let plain: Box<dyn Read> = match compression {
        Compression::None => Box::new(archive),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(archive)),
    };
    let mut archive = tar::Archive::new(plain.take(limit));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let name = entry.path()?.to_string_lossy().into_owned();
            visit(&name, &mut entry)?;
        }
    }
    Ok(())
}
