//! Blobs on the disk, by digest. A file is only ever put in place whole and checked, and is checked again when read:
//! what is run is what was asked for, whatever happened to the disk in between.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use super::Image;

/// The store. Blobs in `blobs/`, what references were resolved to in `references/`, unfinished files in `partial/`.
pub(super) struct Blobs {
    folder: PathBuf,
}

/// Why a blob was not kept.
#[derive(Debug, Error)]
pub(super) enum WriteError {
    #[error("the blob does not have the digest {expected} but {found}")]
    Digest { expected: String, found: String },
    #[error("the digest {0:?} is not a sha256 digest")]
    Unknown(String),
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    #[error("the transfer broke off")]
    Transfer(#[source] io::Error),
    #[error("cannot write the blob")]
    Disk(#[source] io::Error),
}

impl Blobs {
    /// Where all of it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        let partial = folder.join("partial");
        if partial.exists() {
            // Left by a process that was killed.
            fs::remove_dir_all(&partial)?;
        }
        for name in ["blobs", "references", "partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        Ok(Self { folder })
    }

    /// What references were resolved to, as far as their blobs are still here.
    pub(super) fn references(&self) -> io::Result<Vec<Image>> {
        let mut images = Vec::new();
        for file in fs::read_dir(self.folder.join("references"))? {
            let text = fs::read(file?.path())?;
            // An unreadable entry is only a reference to resolve again.
            let Ok(image) = serde_json::from_slice::<Image>(&text) else { continue };
            if self.has(&image.digest) {
                images.push(image);
            }
        }
        Ok(images)
    }

    /// Remembers what a reference was resolved to.
    pub(super) async fn remember(&self, image: &Image) -> io::Result<()> {
        let text = serde_json::to_vec(image)?;
        let name = format!("{}.json", hex(&Sha256::digest(image.reference.as_bytes())));
        let partial = self.partial();
        tokio::fs::write(&partial, text).await?;
        tokio::fs::rename(&partial, self.folder.join("references").join(name)).await
    }

    pub(super) fn has(&self, digest: &str) -> bool {
        self.path(digest).is_some_and(|path| path.exists())
    }

    /// The blob, if it is here and whole. A damaged one is removed.
    pub(super) async fn read(&self, digest: &str) -> io::Result<Option<Bytes>> {
        let Some(path) = self.path(digest) else { return Ok(None) };
        let expected = digest.to_owned();
        let read = tokio::task::spawn_blocking(move || read_checked(&path, &expected));
        read.await.map_err(io::Error::other)?
    }

    /// Keeps what `stream` gives, if it has the digest. Returns its size in bytes.
    pub(super) async fn write<S>(&self, digest: &str, mut stream: S, limit: u64) -> Result<u64, WriteError>
    where
        S: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let path = self.path(digest).ok_or_else(|| WriteError::Unknown(digest.to_owned()))?;
        let partial = self.partial();
        let mut file = tokio::fs::File::create(&partial).await.map_err(WriteError::Disk)?;
        let cleanup = RemoveOnDrop(&partial);
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(WriteError::Transfer)?;
            size += piece.len() as u64;
            if size > limit {
                return Err(WriteError::TooLarge(limit));
            }
            hash.update(&piece);
            file.write_all(&piece).await.map_err(WriteError::Disk)?;
        }
        file.flush().await.map_err(WriteError::Disk)?;
        let found = format!("sha256:{}", hex(&hash.finalize()));
        if found != digest {
            return Err(WriteError::Digest { expected: digest.to_owned(), found });
        }
        tokio::fs::rename(&partial, &path).await.map_err(WriteError::Disk)?;
        std::mem::forget(cleanup);
        Ok(size)
    }

    /// Where a blob lies; `None` for what is no sha256 digest, so that a digest never becomes a path elsewhere.
    fn path(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        let valid = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| self.folder.join("blobs").join(hex))
    }

    fn partial(&self) -> PathBuf {
        self.folder.join("partial").join(uuid::Uuid::new_v4().to_string())
    }
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        fs::remove_file(self.0).ok();
    }
}

fn read_checked(path: &Path, expected: &str) -> io::Result<Option<Bytes>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if digest_of(&bytes) != expected {
        tracing::warn!(path = %path.display(), "a blob on the disk is damaged; it is removed");
        fs::remove_file(path)?;
        return Ok(None);
    }
    Ok(Some(bytes.into()))
}

/// `sha256:…` of some bytes.
/// The digest of these bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
