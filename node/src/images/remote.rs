//! Registries elsewhere, over the OCI distribution protocol.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use super::Credentials;
use super::pull::{MANIFEST_TYPES, RegistryError};

/// A registry that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a client for each pull. They are not shared: a client remembers credentials by host, and those of one
/// namespace must not serve another.
pub(super) struct RemoteRegistries;

pub(super) struct RemoteRegistry {
    client: Client,
    auth: RegistryAuth,
}

impl RemoteRegistries {
    pub(super) fn new() -> Self {
        // The HTTP client inside asks for the process's provider; if one is set already, that one is fine.
        rustls::crypto::ring::default_provider().install_default().ok();
        Self
    }

    pub(super) fn registry(&self, image: &Reference, credentials: &Credentials) -> RemoteRegistry {
        let host = image.registry();
        let login = credentials.for_host(host);
        let auth = login.map_or(RegistryAuth::Anonymous, |(user, password)| {
            RegistryAuth::Basic(user.to_owned(), password.to_owned())
        });
        let protocol = if is_this_machine(host) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(PATIENCE),
            read_timeout: Some(PATIENCE),
            user_agent: concat!("isopod/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        RemoteRegistry { client: Client::new(config), auth }
    }
}

/// A registry on this machine is reached without TLS, as other container tools do.
fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

impl RemoteRegistry {
    pub(super) async fn manifest(&self, image: &Reference) -> Result<Bytes, RegistryError> {
        let pulled = self.client.pull_manifest_raw(image, &self.auth, MANIFEST_TYPES).await;
        pulled.map(|(bytes, _)| bytes).map_err(told)
    }

    pub(super) async fn blob(
        &self,
        image: &Reference,
        digest: &str,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RegistryError> {
        // Only the digest is handed on: a descriptor's own URLs could point anywhere.
        let stream = self.client.pull_blob_stream(image, digest).await.map_err(told)?;
        Ok(stream.stream.boxed())
    }
}

fn told(error: OciDistributionError) -> RegistryError {
    use OciDistributionError as E;
    match &error {
        E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => RegistryError::NotFound,
        E::AuthenticationFailure(_) | E::UnauthorizedError { .. } => RegistryError::Denied,
        E::RegistryError { envelope, .. } => match envelope.errors.first().map(|first| &first.code) {
            Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound) => {
                RegistryError::NotFound
            }
            Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => RegistryError::Denied,
            _ => RegistryError::Other(error.into()),
        },
        _ => RegistryError::Other(error.into()),
    }
}
