//! Where the API is and who we are to it, from a kubeconfig.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

/// An API server, and the TLS of its administrator. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Endpoint {
    /// Reads the first cluster and user of a kubeconfig with certificates inline, as `isopod` writes them.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Endpoint> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        parse(&text).with_context(|| format!("{} is not a kubeconfig that can be used", path.display()))
    }
}

fn parse(text: &str) -> anyhow::Result<Endpoint> {
    let kubeconfig: Kubeconfig = serde_saphyr::from_str(text)?;
    let cluster = &kubeconfig.clusters.first().context("no cluster")?.cluster;
    let user = &kubeconfig.users.first().context("no user")?.user;
    let address = cluster.server.strip_prefix("https://").context("the server is not https")?;

    let mut roots = RootCertStore::empty();
    for certificate in certificates(&cluster.certificate_authority_data)? {
        roots.add(certificate)?;
    }
    let key = PrivateKeyDer::from_pem_slice(&STANDARD.decode(&user.client_key_data)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&user.client_certificate_data)?, key)?;
    Ok(Endpoint { address: address.parse()?, tls: Arc::new(tls) })
}

fn certificates(data: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = STANDARD.decode(data)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    Ok(read?)
}
