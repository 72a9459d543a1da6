//! The artifact registry: the OCI distribution API (v1.1) under `/v2/`.
//!
//! Blobs lie on disk by digest ([`blobs`]), on several members ([`others`]); manifests and tags are keys of the
//! replicated store ([`catalog`]), so that what a tag names is decided by one committed write. `image:` references
//! with the host `registry.local` mean this registry.

mod blobs;
mod catalog;
mod error;
mod others;
mod reference;
mod route;
mod serve;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use isopod_raft_store::Store;

pub use blobs::OpenError;
pub use others::{Asked, Nobody, Others, OverTls};
pub use reference::{Digest, RepositoryName};

/// Answers of the registry: small JSON, or a blob streamed from disk.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Largest manifest, in bytes (the distribution specification asks for at least 4 MiB).
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// Bounds of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest blob, in bytes.
    pub blob_bytes_max: u64,
    /// Uploads that may be open at once.
    pub uploads_max: usize,
}

impl Default for Limits {
    /// 1 GiB a blob; 64 uploads at once.
    fn default() -> Limits {
        Limits { blob_bytes_max: 1 << 30, uploads_max: 64 }
    }
}

/// The registry of this member. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    blobs: Arc<blobs::Blobs>,
    catalog: catalog::Catalog,
    others: Arc<dyn Others>,
}

impl Registry {
    /// Opens the registry whose blobs lie below `<data>/registry`.
    ///
    /// Uploads that were open when the process ended are removed: their clients must start again anyway.
    pub fn open(
        data_dir: &Path,
        store: Store,
        others: Arc<dyn Others>,
        limits: Limits,
    ) -> Result<Registry, OpenError> {
        let blobs = Arc::new(blobs::Blobs::open(&data_dir.join("registry"), limits)?);
        Ok(Registry { blobs, catalog: catalog::Catalog::new(store), others })
    }

    /// Answers one request below `/v2`. The caller has been authorized for its method and path.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        serve::answer(self, request).await
    }
}

/// The answer to a caller who may not do what they asked.
pub fn denied(reason: &str) -> Response<Body> {
    error::Error::denied(reason).into_response()
}

#[cfg(test)]
mod tests;
