//! From the options to a member that listens: everything is made here and handed to what needs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_raft_store::{Driver, Founding, Store};
use prometheus_client::registry::Registry as Metrics;
use tokio_util::sync::CancellationToken;

use super::begin::{self, Beginning, Identity};
use super::listen::{self, Listening};
use super::{Config, KUBECONFIG_FILE, Member, StartError};
use crate::admission::{Policy, ServiceRange};
use crate::api::{self, Api};
use crate::bootstrap;
use crate::controllers::NodeConfig;
use crate::leader::{self, Singletons};
use crate::membership::folder::Folder;
use crate::membership::follow::Follower;
use crate::membership::presence::{self, Presence};
use crate::membership::record::{Record, Roll, Standing};
use crate::membership::{LeaderClient, Membership};
use crate::node_client::NodeClient;
use crate::objects::Objects;
use crate::peers::{PeerMetrics, Peers};
use crate::registry::{self, OverTls, Registry};
use crate::security::ca::{self, CertificateAuthority, Subject};
use crate::security::tls::Own;
use crate::security::{Access, SigningKey, kubeconfig, tls};
use crate::serve::Front;

impl Member {
    /// Opens the data folder, after founding or joining a cluster when it is empty, binds the addresses and writes the
    /// kubeconfig. Nothing is served before [`Member::run`]. The addresses are bound first, so that a taken port changes
    /// nothing on disk.
    pub async fn start(config: Config) -> Result<Member, StartError> {
        let asked = config.service_cidr.as_deref().map(str::parse::<ServiceRange>).transpose()?;
        let host = config.advertise.as_deref();
        let api = Listening::api(config.listen, host).await?;
        let listening = match config.listen_peers {
            Some(address) => Some(Listening::peers(address, host).await?),
            None => None,
        };
        let advertised = listening.as_ref().map(|listening| listening.advertised.clone());
        let Identity { mut folder, service_cidr, authority, began } =
            Box::pin(begin::begin(&config, &api.advertised, advertised.as_deref())).await?;
        let service_range = match asked {
            Some(range) => range,
            None => service_cidr.parse()?,
        };
        let authority = Arc::new(authority);
        let (issuer, member) = (Arc::clone(&authority), folder.member.0);
        let peer_tls = tls::peers(&authority, Own::new(ca::LIFE, move || issuer.issue_peer(member))?)?;
        let peers = Peers::new(folder.member, peer_tls, advertised.clone().unwrap_or_default());
        let (store, driver) = open_store(&config, &mut folder, peers.clone()).await?;
        if listening.is_none() && store.members().borrow().voters != [folder.member] {
            return Err(StartError::NotAlone { dir: config.data_dir });
        }
        let follower = Follower {
            own: folder.member,
            wanted: Record {
                name: folder.name.clone(),
                peer_address: advertised.unwrap_or_default(),
                api_address: api.advertised.clone(),
                standing: Standing::Stays,
                asked_by: None,
            },
            data_dir: config.data_dir.clone(),
            folder: folder.clone(),
            store: store.clone(),
            peers: peers.clone(),
        };
        let objects = Objects::new(store.clone(), Policy { service_range });
        let draining = CancellationToken::new();
        let (presence, mourner) = presence::new(objects.clone(), draining.clone());
        let parts = Parts { config: &config, store, authority, peers, service_range, service_cidr };
        Ok(Member {
            own: folder.member,
            name: folder.name,
            began,
            api_address: api.bound,
            peer_address: listening.as_ref().map(|listening| listening.bound),
            kubeconfig: write_kubeconfig(&config.data_dir, &api.advertised, &parts.authority)?,
            tls: parts.tls(&api)?,
            driver,
            follower,
            singletons: parts.singletons(objects.clone(), &api)?,
            front: parts.front(objects.clone(), &api, presence, draining.clone())?,
            objects,
            listener: api.listener,
            peer_listener: listening.map(|listening| listening.listener),
            draining,
            mourner,
            store: parts.store,
            authority: parts.authority,
            peers: parts.peers,
            data_dir: config.data_dir,
        })
    }
}

/// What most of a member is made of.
struct Parts<'a> {
    config: &'a Config,
    store: Store,
    authority: Arc<CertificateAuthority>,
    peers: Peers,
    service_range: ServiceRange,
    service_cidr: String,
}

impl Parts<'_> {
    fn tls(&self, api: &Listening) -> Result<Arc<rustls::ServerConfig>, StartError> {
        let (host, service) = (self.config.advertise.clone(), self.service_range.first());
        let (issuer, address) = (Arc::clone(&self.authority), api.bound.ip());
        let issue = move || {
            let (ips, names) = listen::certified(address, service, host.as_deref());
            issuer.issue_server("isopod-api", &ips, &names)
        };
        Ok(tls::server(&self.authority, Own::new(ca::LIFE, issue)?)?)
    }

    fn singletons(&self, objects: Objects, api: &Listening) -> Result<Singletons, StartError> {
        let bootstrap = bootstrap::Config {
            api: api.bound,
            service_address: self.service_range.first(),
            root_ca_pem: self.authority.certificate_pem().to_owned(),
        };
        let config = leader::Config { member: self.store.id(), nodes: NodeConfig::default(), bootstrap };
        let issuer = Arc::clone(&self.authority);
        let own = Own::new(ca::LIFE, move || issuer.issue_client(&Subject::member()))?;
        let nodes = Arc::new(NodeClient::new(tls::client(self.authority.certificate_pem(), own)?));
        Ok(Singletons::new(objects, nodes, config))
    }

    fn front(
        &self,
        objects: Objects,
        api: &Listening,
        presence: Presence,
        draining: CancellationToken,
    ) -> Result<Arc<Front>, StartError> {
        let issuer = Arc::clone(&self.authority);
        let own = Own::new(ca::LIFE, move || issuer.issue_client(&Subject::member()))?;
        let tls = tls::client(self.authority.certificate_pem(), own)?;
        let membership = Membership {
            own: self.store.id(),
            data_dir: self.config.data_dir.clone(),
            store: self.store.clone(),
            peers: self.peers.clone(),
            authority: Arc::clone(&self.authority),
            service_cidr: self.service_cidr.clone(),
            node_certificate_life: self.config.node_certificate_life,
            presence,
            leader: LeaderClient::new(tls.clone()),
        };
        let own = self.store.id();
        let (known, roll) = (self.store.clone(), Roll::of(&self.store));
        let others = move || roll.others(&known.snapshot(), own).map(|other| other.api_address).collect();
        let others = Arc::new(OverTls::new(tls.clone(), others));
        let access = Access::new(self.store.clone(), SigningKey::load_or_create(&self.config.data_dir)?);
        let mut metrics = Metrics::default();
        metrics.register_collector(Box::new(PeerMetrics(self.peers.clone())));
        let data_dir = &self.config.data_dir;
        Ok(Arc::new(Front {
            registry: Registry::open(data_dir, self.store.clone(), others, registry::Limits::default())?,
            api: Arc::new(Api::new(api::Config {
                objects,
                access: access.clone(),
                nodes: Arc::new(NodeClient::new(tls)),
                address: api.advertised.clone(),
                build: api::Build { version: env!("CARGO_PKG_VERSION").into(), commit: String::new() },
                metrics,
                limits: self.config.limits,
                shutdown: draining,
            })),
            access,
            membership: Arc::new(membership),
        }))
    }
}

/// Opens the store; first makes this member the only one, when that is asked for and it is not.
async fn open_store(
    config: &Config,
    folder: &mut Folder,
    peers: Peers,
) -> Result<(Store, Driver), StartError> {
    let options = isopod_raft_store::Config {
        member: folder.member,
        cluster: folder.cluster,
        founding: folder.founding,
        ..isopod_raft_store::Config::new(config.data_dir.join("store"))
    };
    let opened = Store::open_with(options.clone(), Arc::new(peers.clone())).await?;
    let is_alone = opened.0.members().borrow().voters == [folder.member];
    if config.beginning != Beginning::ForceNewCluster || is_alone {
        return Ok(opened);
    }
    drop(opened);
    let recovering = options.clone();
    let recovered = tokio::task::spawn_blocking(move || isopod_raft_store::recover(&recovering)).await;
    let recovered = recovered.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    tracing::warn!(revision = %recovered.revision, keys = recovered.keys, "this member goes on alone, as a new cluster");
    folder.cluster = Some(recovered.cluster);
    folder.founding = Founding::Alone;
    folder.introduced.clear();
    folder.write(&config.data_dir)?;
    Ok(Store::open_with(options, Arc::new(peers)).await?)
}

fn write_kubeconfig(
    data_dir: &Path,
    api_address: &str,
    authority: &CertificateAuthority,
) -> Result<PathBuf, ca::Error> {
    let client = authority.issue_client(&Subject::admin())?;
    let content = kubeconfig::render(&format!("https://{api_address}"), authority.certificate_pem(), &client);
    let path = data_dir.join(KUBECONFIG_FILE);
    ca::write_private(&path, content.as_bytes())?;
    Ok(path)
}
