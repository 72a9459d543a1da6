//! Images of the cluster's registry for the Docker daemon, which cannot ask it itself.

use std::future::ready;
use std::io::{self, Seek, SeekFrom};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use oci_client::manifest::{OciImageManifest, OciManifest};
use tokio_util::io::ReaderStream;

use super::pull::{Pull, Registry};
use super::{ImageError, Images, reference};
use crate::docker::archive;

impl Images {
    /// The image as `docker save` writes it, for a machine of this architecture. It lies on the disk until it is
    /// read.
    pub async fn archive(
        &self,
        name: &str,
        architecture: &str,
    ) -> Result<impl Stream<Item = Bytes> + Send + 'static + use<>, ImageError> {
        let parsed = reference::parse(name)?;
        let pull =
            Pull { images: self, name, parsed: &parsed, registry: Registry::Cluster(&self.inner.cluster) };
        let manifest = pull.manifest_for(architecture).await?;
        let disk = |source| ImageError::Disk { image: name.to_owned(), source };
        let config = pull.blob(&manifest.config.digest).await?;
        let layers: Vec<String> = (0..manifest.layers.len()).map(|index| format!("{index}.tar")).collect();
        let mut tar = tar::Builder::new(tempfile(self).map_err(disk)?);
        archive::write_head(&mut tar, name, &config, &layers).map_err(disk)?;
        for (layer, file) in manifest.layers.iter().zip(&layers) {
            let content = pull.blob(&layer.digest).await?;
            archive::add(&mut tar, file, 0o644, content.len() as u64, content.as_slice()).map_err(disk)?;
        }
        let mut file = tar.into_inner().map_err(disk)?;
        file.seek(SeekFrom::Start(0)).map_err(disk)?;
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 * 1024);
        // A daemon that gets less than the whole refuses it.
        Ok(pieces.take_while(|piece| ready(piece.is_ok())).filter_map(|piece| ready(piece.ok())))
    }
}

impl Pull<'_> {
    async fn manifest_for(&self, architecture: &str) -> Result<OciImageManifest, ImageError> {
        let (manifest, _) = self.named_manifest(self.parsed).await?;
        let index = match manifest {
            OciManifest::Image(manifest) => return Ok(manifest),
            OciManifest::ImageIndex(index) => index,
        };
        let fits = index.manifests.iter().find(|entry| {
            let platform = entry.platform.as_ref();
            platform.is_some_and(|platform| {
                platform.os.to_string() == "linux" && platform.architecture.to_string() == architecture
            })
        });
        let none = || ImageError::Layout {
            image: self.name.to_owned(),
            reason: format!("no matching manifest for linux/{architecture} in the manifest list entries"),
        };
        let digest = fits.ok_or_else(none)?.digest.clone();
        match self.named_manifest(&self.parsed.clone_with_digest(digest)).await? {
            (OciManifest::Image(manifest), _) => Ok(manifest),
            (OciManifest::ImageIndex(_), _) => Err(none()),
        }
    }
}

/// A file without a name, which is gone with its last handle.
fn tempfile(images: &Images) -> io::Result<std::fs::File> {
    let path = images.inner.blobs.folder().join(format!(".archive-{}", uuid::Uuid::new_v4().simple()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
