//! Blobs on disk: `blobs/sha256/<first two digits>/<hex>`, each written to `uploads/` first, verified, synced
//! and renamed. A file in `blobs/` is therefore always whole and of the digest in its name.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tokio::fs;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::Limits;
use super::error::Error;
use super::reference::Digest;

/// The registry's folder could not be prepared.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare the registry folder {path}")]
pub struct OpenError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// All blobs of one member, and the uploads in progress.
pub(super) struct Blobs {
    folder: PathBuf,
    limits: Limits,
    uploads: Mutex<HashMap<String, Upload>>,
}

/// How far an upload is. The hash runs along, so a blob is read once.
#[derive(Clone)]
struct Upload {
    hasher: Sha256,
    length: u64,
}

impl Blobs {
    pub(super) fn open(folder: &Path, limits: Limits) -> Result<Blobs, OpenError> {
        let failed = |path: &Path, source| OpenError { path: path.to_owned(), source };
        let uploads = folder.join("uploads");
        if uploads.exists() {
            std::fs::remove_dir_all(&uploads).map_err(|source| failed(&uploads, source))?;
        }
        for path in [uploads, folder.join("blobs/sha256")] {
            std::fs::create_dir_all(&path).map_err(|source| failed(&path, source))?;
        }
        Ok(Blobs { folder: folder.to_owned(), limits, uploads: Mutex::default() })
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex())
    }

    /// Length in bytes of a blob that is here.
    pub(super) async fn length(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).await.ok().map(|metadata| metadata.len())
    }

    fn upload_path(&self, id: &str) -> PathBuf {
        self.folder.join("uploads").join(id)
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, HashMap<String, Upload>> {
        self.uploads.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens an upload and returns its id.
    pub(super) async fn start(&self) -> Result<String, Error> {
        let id = uuid::Uuid::new_v4().to_string();
        {
            let mut uploads = self.uploads();
            if uploads.len() >= self.limits.uploads_max {
                return Err(Error::too_many_uploads());
            }
            uploads.insert(id.clone(), Upload { hasher: Sha256::new(), length: 0 });
        }
        fs::write(self.upload_path(&id), b"").await.map_err(|e| Error::internal("start an upload", &e))?;
        Ok(id)
    }

    /// Bytes received so far.
    pub(super) fn progress(&self, id: &str) -> Result<u64, Error> {
        self.uploads().get(id).map(|upload| upload.length).ok_or_else(Error::upload_unknown)
    }

    /// Appends a body; returns the new length. `from`, when told, must be where the upload stands.
    ///
    /// The upload is taken out of the table meanwhile, so that two writers of one id cannot mix; it goes back
    /// only with what was received, and a body that broke off can be resumed from there.
    pub(super) async fn append<B>(&self, id: &str, from: Option<u64>, body: B) -> Result<u64, Error>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut upload = self.uploads().remove(id).ok_or_else(Error::upload_unknown)?;
        let outcome = match from {
            Some(start) if start != upload.length => Err(Error::upload_invalid(format!(
                "the upload stands at byte {}, not {start}",
                upload.length
            ))),
            _ => self.receive(id, &mut upload, body).await,
        };
        let length = upload.length;
        self.uploads().insert(id.to_owned(), upload);
        outcome.map(|()| length)
    }

    async fn receive<B>(&self, id: &str, upload: &mut Upload, mut body: B) -> Result<(), Error>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let failed = |e: io::Error| Error::internal("write a blob", &e);
        let mut file = fs::OpenOptions::new().write(true).open(self.upload_path(id)).await.map_err(failed)?;
        file.seek(SeekFrom::Start(upload.length)).await.map_err(failed)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Error::interrupted(format!("the body broke off: {}", e.into())))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = upload.length + data.len() as u64;
            if length > self.limits.blob_bytes_max {
                return Err(Error::size_invalid(format!(
                    "a blob may have {} bytes at most",
                    self.limits.blob_bytes_max
                )));
            }
            file.write_all(&data).await.map_err(failed)?;
            upload.hasher.update(&data);
            upload.length = length;
        }
        file.flush().await.map_err(failed)
    }

    /// Verifies the digest, makes the blob durable and visible, and ends the upload.
    pub(super) async fn finish(&self, id: &str, expected: &Digest) -> Result<(), Error> {
        let upload = self.uploads().remove(id).ok_or_else(Error::upload_unknown)?;
        let found = Digest::finish(upload.hasher);
        let draft = self.upload_path(id);
        if found != *expected {
            self.discard(&draft).await;
            return Err(Error::digest_invalid(format!("the content has digest {found}, not {expected}")));
        }
        self.publish(&draft, expected).await.map_err(|e| Error::internal("store a blob", &e))
    }

    async fn publish(&self, draft: &Path, digest: &Digest) -> io::Result<()> {
        let target = self.path(digest);
        let folder = target.parent().expect("a blob's path has a folder");
        fs::create_dir_all(folder).await?;
        fs::File::open(draft).await?.sync_all().await?;
        fs::rename(draft, &target).await?;
        fs::File::open(folder).await?.sync_all().await
    }

    /// Ends an upload without a blob.
    pub(super) async fn cancel(&self, id: &str) -> Result<(), Error> {
        self.uploads().remove(id).ok_or_else(Error::upload_unknown)?;
        self.discard(&self.upload_path(id)).await;
        Ok(())
    }

    /// As [`cancel`](Self::cancel), also for an upload whose writer was dropped with it in hand.
    pub(super) async fn forget(&self, id: &str) {
        self.uploads().remove(id);
        self.discard(&self.upload_path(id)).await;
    }

    async fn discard(&self, draft: &Path) {
        if let Err(error) = fs::remove_file(draft).await {
            tracing::warn!(path = %draft.display(), %error, "registry: cannot remove an ended upload");
        }
    }
}
