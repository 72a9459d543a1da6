//! Config to wiring of a member: store, identities, API, registry, controllers. Nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_raft_store::{DriverError, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission::{InvalidRange, Policy, ServiceRange};
use crate::api::{self, Api};
use crate::bootstrap;
use crate::controllers::NodeConfig;
use crate::leader::{self, Singletons};
use crate::node_client::NodeClient;
use crate::objects::Objects;
use crate::registry::{self, Nobody, Registry};
use crate::security::ca::{self, CertificateAuthority, IssuedCertificate, Subject};
use crate::security::{kubeconfig, tls};
use crate::serve::{self, Front};

/// Name of the administrator's kubeconfig in the data folder.
pub const KUBECONFIG_FILE: &str = "admin.kubeconfig";

/// Options of a member.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the member's store, certificates and artifacts.
    pub data_dir: PathBuf,
    /// Where the API listens. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Range of Service addresses, as `127.43.0.0/16`.
    pub service_cidr: String,
}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The range of Service addresses is not one.
    #[error("the range of Service addresses cannot be used")]
    ServiceRange(#[from] InvalidRange),
    /// The data folder cannot be used; the message names the file.
    #[error("cannot open the store")]
    Store(#[from] isopod_raft_store::OpenError),
    /// Certificates cannot be read or made.
    #[error("cannot prepare the cluster's certificates")]
    Certificates(#[from] ca::Error),
    /// TLS cannot be set up with them.
    #[error("cannot set up TLS")]
    Tls(#[from] tls::Error),
    /// The registry's folder cannot be used.
    #[error("cannot open the artifact registry")]
    Registry(#[from] registry::OpenError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why a member stopped working.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store ended: its disk failed, or its log could not be written.
    #[error("the store failed")]
    Store(#[from] DriverError),
    /// The listener ended.
    #[error("the API's listener failed")]
    Listener(#[source] io::Error),
    /// A task panicked; the log says where.
    #[error("a part of the member panicked")]
    Panicked(#[from] tokio::task::JoinError),
    /// A part ended although nobody asked it to.
    #[error("{0} ended by itself")]
    Ended(&'static str),
}

/// A member that is listening; [`Member::run`] makes it work.
pub struct Member {
    api_address: SocketAddr,
    authority: CertificateAuthority,
    kubeconfig: PathBuf,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    driver: isopod_raft_store::Driver,
    singletons: Singletons,
    front: Arc<Front>,
    /// Ends the API's watches and makes `/readyz` fail: cancelled first when the member stops.
    draining: CancellationToken,
}

impl Member {
    /// Opens the data folder, binds the address and writes the kubeconfig. Nothing is served before
    /// [`Member::run`]. The address is bound first, so that a taken port changes nothing on disk.
    pub async fn start(config: Config) -> Result<Member, StartError> {
        let service_range: ServiceRange = config.service_cidr.parse()?;
        let (listener, api_address) = listen(config.listen)?;
        let (store, driver) =
            Store::open(isopod_raft_store::Config::new(config.data_dir.join("store"))).await?;
        let authority = CertificateAuthority::load_or_create(&config.data_dir)?;
        let ips = server_ips(api_address.ip(), service_range.first());
        let own = authority.issue_server("isopod-api", &ips, SERVER_NAMES)?;
        let tls = tls::server(&authority, &own)?;
        let kubeconfig = write_kubeconfig(&config.data_dir, api_address, &authority)?;
        let registry =
            Registry::open(&config.data_dir, store.clone(), Arc::new(Nobody), registry::Limits::default())?;
        let objects = Objects::new(store, Policy { service_range });
        let draining = CancellationToken::new();
        let api = Arc::new(Api::new(api::Config {
            objects: objects.clone(),
            nodes: Arc::new(NodeClient::new(tls::client(
                authority.certificate_pem(),
                &authority.issue_client(&Subject::member())?,
            )?)),
            address: reached_at(api_address).to_string(),
            build: api::Build { version: env!("CARGO_PKG_VERSION").into(), commit: String::new() },
            metrics: prometheus_client::registry::Registry::default(),
            shutdown: draining.clone(),
        }));
        let bootstrap = bootstrap::Config {
            api: api_address,
            service_address: service_range.first(),
            root_ca_pem: authority.certificate_pem().to_owned(),
        };
        let singletons = Singletons::new(objects, leader::Config { nodes: NodeConfig::default(), bootstrap });
        let front = Arc::new(Front { api, registry });
        Ok(Member { api_address, authority, kubeconfig, listener, tls, driver, singletons, front, draining })
    }

    /// Works until `shutdown`, or until a part fails. Stops in order: requests drain, controllers stop, the store
    /// flushes last.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let (serving, store_stop) = (self.draining, CancellationToken::new());
        let mut driver = tokio::spawn(self.driver.run(store_stop.clone()));
        let mut parts = JoinSet::new();
        let listener = serve::run(self.listener, self.tls, self.front, serving.clone());
        parts.spawn(async { listener.await.map_err(RunError::Listener).map(|()| "the API's listener") });
        let singletons = self.singletons.run(serving.clone());
        parts.spawn(async {
            singletons.await;
            Ok("the controllers")
        });
        // Cancel-safe: the handles are polled again below.
        let outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = &mut driver => return ended?.map_err(Into::into).and(Err(RunError::Ended("the store"))),
            Some(ended) = parts.join_next() => Err(match ended? {
                Ok(name) => RunError::Ended(name),
                Err(error) => error,
            }),
        };
        serving.cancel();
        while let Some(ended) = parts.join_next().await {
            ended??;
        }
        store_stop.cancel();
        driver.await??;
        outcome
    }

    /// Where the API listens, with the port that the kernel chose.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The cluster's authority, PEM.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// The client and server identity of a node on this machine.
    pub fn node_identity(
        &self,
        name: &str,
        address: IpAddr,
    ) -> Result<(IssuedCertificate, IssuedCertificate), ca::Error> {
        let client = self.authority.issue_client(&Subject::node(name))?;
        let server = self.authority.issue_server(&format!("system:node:{name}"), &[address], &[name])?;
        Ok((client, server))
    }
}

/// Names by which clients reach the API inside the cluster and on this machine.
const SERVER_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "registry.local",
];

/// The address listened on, loopback, and the API's own Service address (`default/kubernetes`).
fn server_ips(listen: IpAddr, service: Ipv4Addr) -> Vec<IpAddr> {
    let mut ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(service)];
    if !ips.contains(&listen) && !listen.is_unspecified() {
        ips.push(listen);
    }
    ips
}

/// Binds, and says which port the kernel chose where none was named.
fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    TcpListener::from_std(listener).map(|listener| (listener, bound)).map_err(failed)
}

/// Where clients on this machine reach a listener: an unspecified address is reached through loopback.
fn reached_at(listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listener.port()),
        _ => listener,
    }
}

fn write_kubeconfig(
    data_dir: &Path,
    api_address: SocketAddr,
    authority: &CertificateAuthority,
) -> Result<PathBuf, ca::Error> {
    let client = authority.issue_client(&Subject::admin())?;
    let content = kubeconfig::render(
        &format!("https://{}", reached_at(api_address)),
        authority.certificate_pem(),
        &client,
    );
    let path = data_dir.join(KUBECONFIG_FILE);
    ca::write_private(&path, content.as_bytes())?;
    Ok(path)
}
