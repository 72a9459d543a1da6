//! Config to wiring of a node, and the order in which its parts end.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::agent::addresses::Addresses;
use crate::agent::env::Host;
use crate::agent::events::{EventWriter, Events};
use crate::agent::services::{ServiceWatch, Services};
use crate::agent::sources::Sources;
use crate::agent::start::Starter;
use crate::client::{ApiClient, Identity, Shown, TlsError, api_client};
use crate::docker::{Choice, Docker, DockerError};
use crate::images::{self, Images};
use crate::known::{Keep, Keeper, Known};
use crate::local::LocalPods;
use crate::logs::{Flusher, Logs};
use crate::machine::Machine;
use crate::members::Members;
use crate::metrics;
use crate::proxy::{self, Proxy, Range, Sharing};
use crate::register::{Facts, Registration};
use crate::renewal::Renewal;
use crate::runtime::{self, Runtime, RuntimeError};
use crate::server::{self, Server};
use crate::volumes::{Claims, Refresher, Volumes};

/// Pods of one node at most. An idle one costs little; this bounds what the API has to hold for a node.
const PODS: u32 = 10_000;

/// How long the API may take to be ready when the node starts.
const API_PATIENCE: Duration = Duration::from_secs(60);
const API_RETRY: Duration = Duration::from_millis(100);

/// Parts that end when no traffic is left.
const WORK: [&str; 7] = [
    "agent",
    "watch of Services",
    "refresher of volumes",
    "registration",
    "watch of members",
    "renewal of certificates",
    "memory of the cluster",
];

/// What a node needs to be told.
#[derive(Clone)]
pub struct Config {
    /// The name of the Node object.
    pub name: String,
    /// Where the node keeps logs, images and volumes; nobody else may write there.
    pub data_dir: PathBuf,
    /// The API server as a URL, `https://127.0.0.1:6443`; several, separated by commas, are asked in turn.
    pub server: String,
    /// The cluster's authority, PEM.
    pub authority_pem: String,
    /// The certificate that the node shows to the API, PEM.
    pub client_certificate_pem: String,
    /// Its key, PEM.
    pub client_key_pem: String,
    /// The certificate of the node's own server, PEM.
    pub server_certificate_pem: String,
    /// Its key, PEM.
    pub server_key_pem: String,
    /// The node's address, which is also where its server listens.
    pub address: IpAddr,
    /// The range of pod addresses, `127.42.0.0/16`; no other node has any of them.
    pub pod_cidr: String,
    /// Where the ingress listens; port 0 lets the kernel choose. None: nowhere.
    pub ingress: Option<SocketAddr>,
    /// Whether other nodes on this machine answer at the same Service addresses.
    pub sharing: Sharing,
    /// The runtime of this process, if other nodes in it use it too: an engine reserves much address space.
    pub runtime: Option<Runtime>,
    /// The Docker daemon, for images that are not WebAssembly.
    pub docker: Choice,
    /// Keeps what the node learns of its cluster, to be told again at the next start. None: it is forgotten.
    pub keep: Option<Keep>,
}

/// Why a node does not start, or no longer runs.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server is not given as a URL.
    #[error("{text:?} is not the URL of an API server like https://127.0.0.1:6443")]
    Server {
        /// As configured.
        text: String,
    },
    /// The range of pod addresses cannot be used.
    #[error("{text:?} is not a range of IPv4 addresses with room for pods, like 127.42.0.0/16")]
    PodRange {
        /// As configured.
        text: String,
    },
    /// Certificates.
    #[error("the node cannot use its certificates")]
    Tls(#[from] TlsError),
    /// The data folder.
    #[error("the node cannot use its data folder {path}")]
    Data {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime.
    #[error("the WebAssembly runtime does not start")]
    Runtime(#[from] RuntimeError),
    /// The proxy.
    #[error("the service proxy does not start")]
    Proxy(#[from] proxy::Error),
    /// The Docker daemon.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The node's server.
    #[error("the node's server does not start")]
    NodeServer(#[from] server::Error),
    /// The API did not take the Node object.
    #[error("the node cannot register at the API")]
    Register(#[source] Box<kube::Error>),
    /// A part ended although nobody asked it to.
    #[error("the node's {part} ended by itself")]
    Ended {
        /// Which.
        part: &'static str,
    },
}

/// A node that has registered. Nothing runs before [`Node::run`].
pub struct Node {
    name: String,
    client: kube::Client,
    server_address: SocketAddr,
    ingress: Option<SocketAddr>,
    proxy: Proxy,
    server: Server,
    agent: Agent,
    service_watch: ServiceWatch,
    refresher: Refresher,
    event_writer: EventWriter,
    flusher: Flusher,
    registration: Registration,
    ties: Ties,
}

/// What keeps the node a part of its cluster while that changes.
struct Ties {
    members: Members,
    renewal: Renewal,
    keeper: Keeper,
}

impl Ties {
    fn new(config: &Config, told: Vec<Uri>, api: ApiClient, to_members: Arc<Shown>) -> Ties {
        let ApiClient { client, servers, shown: to_api } = api;
        let (known, receiver) = watch::channel(Known {
            servers: Vec::new(),
            client: client_identity(config),
            server: server_identity(config),
        });
        let renewal = Renewal {
            client: client.clone(),
            name: config.name.clone(),
            address: config.address,
            to_api,
            to_members,
            known: known.clone(),
        };
        Ties {
            members: Members { client, servers, told, known },
            renewal,
            keeper: Keeper { known: receiver, keep: config.keep.clone() },
        }
    }
}

impl Node {
    /// Opens everything, and registers at the API.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let range = pod_range(&config.pod_cidr)?;
        let addresses = Addresses::new(&range);
        let addresses = addresses.ok_or_else(|| Error::PodRange { text: config.pod_cidr.clone() })?;
        let told = servers(&config.server)?;
        let api = api_client(&told, &config.authority_pem, &client_identity(&config))?;
        let client = api.client.clone();
        let data = |name: &str| config.data_dir.join(name);
        let logs = Logs::new(data("logs"));
        let images = open_images(&config, client.clone()).await?;
        let runtime = match config.runtime.clone() {
            Some(runtime) => runtime,
            None => Runtime::new(runtime::Config::new(data("code")))?,
        };
        let local = LocalPods::default();
        let docker = docker(&config, &local).await?;
        let mut registry = metrics::registry(&runtime);
        let counted = registry.sub_registry_with_prefix("isopod_proxy");
        let proxy = proxy(&config, range, local.clone(), counted)?;
        let claims = Claims::new(client.clone(), &config.name, &data("claims"));
        let server =
            Server::bind(server_config(&config, range), logs.clone(), claims.clone(), registry).await?;
        let (events, event_writer) = Events::new(client.clone(), &config.name);
        let (services, service_watch) = Services::new(client.clone());
        let server_address = server.address().unwrap_or(SocketAddr::new(config.address, 0));
        let facts = Facts {
            name: config.name.clone(),
            address: config.address,
            server: server_address,
            pod_cidr: config.pod_cidr.clone(),
            pods: addresses.capacity().min(PODS),
            volumes: claims.root().to_owned(),
            machine: Machine::read(&config.data_dir),
        };
        let flusher = logs.flusher();
        let outbound = proxy.handle().outbound();
        let sources = Sources::new(client.clone());
        let volumes = Volumes::new(data("volumes"), sources.clone(), claims.clone(), host(&facts));
        let refresher = volumes.refresher(client.clone(), events.clone());
        let starter = Starter::new(
            runtime,
            images.clone(),
            sources,
            services,
            volumes,
            logs,
            local,
            outbound,
            events.clone(),
            host(&facts),
        )
        .with_docker(docker);
        let registration = register(facts, &client, &images, &events).await?;
        Ok(Self {
            ties: Ties::new(&config, told, api, server.shown()),
            ingress: proxy.handle().ingress_addr(),
            agent: Agent::new(config.name.clone(), client.clone(), Arc::new(starter), addresses),
            name: config.name,
            client,
            server_address,
            proxy,
            server,
            service_watch,
            refresher,
            event_writer,
            flusher,
            registration,
        })
    }

    /// Where Services answer by host name, with the port that the kernel chose.
    pub fn ingress(&self) -> Option<SocketAddr> {
        self.ingress
    }

    /// Where members ask for logs, with the port that the kernel chose.
    pub fn server_address(&self) -> SocketAddr {
        self.server_address
    }

    /// Runs pods until `shutdown`. Then new requests are refused first, those under way may end, and only then do the
    /// containers end, and what they said last is written.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let (traffic, work, rest) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let mut parts = Parts::default();
        parts.spawn("proxy", self.proxy.run(self.client, traffic.clone()));
        parts.spawn("server", self.server.run(traffic.clone()));
        parts.spawn("agent", self.agent.run(work.clone()));
        parts.spawn("watch of Services", self.service_watch.run(work.clone()));
        parts.spawn("refresher of volumes", self.refresher.run(work.clone()));
        parts.spawn("registration", self.registration.run(work.clone()));
        parts.spawn("watch of members", self.ties.members.run(work.clone()));
        parts.spawn("renewal of certificates", self.ties.renewal.run(work.clone()));
        parts.spawn("memory of the cluster", self.ties.keeper.run(work.clone()));
        parts.spawn("log writer", self.flusher.run(rest.clone()));
        parts.spawn("event writer", self.event_writer.run(rest.clone()));
        tracing::info!(node = self.name, "node runs");
        let ended = shutdown.run_until_cancelled(parts.first()).await;
        traffic.cancel();
        parts.all_of(&["proxy", "server"]).await;
        work.cancel();
        parts.all_of(&WORK).await;
        rest.cancel();
        parts.all_of(&["log writer", "event writer"]).await;
        match ended {
            Some(part) => Err(Error::Ended { part }),
            None => Ok(()),
        }
    }
}

/// The parts that run, by name.
#[derive(Default)]
struct Parts {
    running: Vec<&'static str>,
    tasks: JoinSet<&'static str>,
    ids: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Parts {
    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(async move {
            part.await;
            name
        });
        self.ids.insert(task.id(), name);
        self.running.push(name);
    }

    /// Waits for the next part to end, also by a panic.
    async fn first(&mut self) -> &'static str {
        let name = match self.tasks.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(error)) => {
                tracing::error!(%error, "a part of the node panicked");
                self.ids.get(&error.id()).copied().unwrap_or("task")
            }
            None => std::future::pending().await,
        };
        self.running.retain(|running| *running != name);
        name
    }

    async fn all_of(&mut self, names: &[&str]) {
        while self.running.iter().any(|running| names.contains(running)) {
            self.first().await;
        }
    }
}

fn servers(text: &str) -> Result<Vec<Uri>, Error> {
    let server = |text: &str| {
        let uri =
            text.trim().parse::<Uri>().ok().filter(|uri| uri.scheme().is_some() && uri.host().is_some());
        uri.ok_or_else(|| Error::Server { text: text.to_owned() })
    };
    text.split(',').map(server).collect()
}

fn client_identity(config: &Config) -> Identity {
    Identity {
        certificate_pem: config.client_certificate_pem.clone(),
        key_pem: config.client_key_pem.clone(),
    }
}

fn server_identity(config: &Config) -> Identity {
    Identity {
        certificate_pem: config.server_certificate_pem.clone(),
        key_pem: config.server_key_pem.clone(),
    }
}

fn pod_range(text: &str) -> Result<Range, Error> {
    text.parse().map_err(|_| Error::PodRange { text: text.to_owned() })
}

async fn open_images(config: &Config, client: kube::Client) -> Result<Images, Error> {
    let folder = config.data_dir.join("images");
    let path = folder.clone();
    let opened = tokio::task::spawn_blocking(move || Images::open(images::Config::new(folder), client)).await;
    opened.map_err(io::Error::other).flatten().map_err(|source| Error::Data { path, source })
}

/// Registers, and waits for an API that is not ready yet: nodes and members may start in any order.
async fn register(
    facts: Facts,
    client: &kube::Client,
    images: &Images,
    events: &Events,
) -> Result<Registration, Error> {
    let give_up = Instant::now() + API_PATIENCE;
    loop {
        match Registration::register(facts.clone(), client.clone(), images.clone(), events.clone()).await {
            Ok(registration) => return Ok(registration),
            Err(error) if may_pass(&error) && Instant::now() < give_up => {
                tracing::debug!(%error, "the API does not take the node yet");
                tokio::time::sleep(API_RETRY).await;
            }
            Err(error) => return Err(Error::Register(Box::new(error))),
        }
    }
}

/// Whether another try may go better: not when the API understood and refused.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        _ => true,
    }
}

/// Connects to Docker where the node is told to.
async fn docker(config: &Config, local: &LocalPods) -> Result<Option<Docker>, Error> {
    let (Choice::IfThere(socket) | Choice::At(socket)) = &config.docker else { return Ok(None) };
    let docker = match Docker::connect(socket, config.data_dir.join("docker"), local.clone()).await {
        Ok(docker) => docker,
        Err(error) if matches!(config.docker, Choice::IfThere(_)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "only WebAssembly runs on this node");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    tracing::info!(version = docker.version(), socket = %socket.display(), "Docker runs other images");
    Ok(Some(docker))
}

fn server_config(config: &Config, pods: Range) -> server::Config {
    server::Config {
        // The port is told to the API with the node's status, so that several nodes fit on one machine.
        listen: SocketAddr::new(config.address, 0),
        authority_pem: config.authority_pem.clone(),
        identity: server_identity(config),
        groups: BTreeSet::from(["system:masters".to_owned()]),
        pods,
    }
}

fn proxy(config: &Config, range: Range, local: LocalPods, registry: &mut Registry) -> Result<Proxy, Error> {
    let mut settings = proxy::Config::new(config.name.clone());
    settings.ingress = config.ingress;
    settings.pod_range = Some(range);
    settings.sharing = config.sharing;
    Ok(Proxy::new(settings, local, registry)?)
}

fn host(facts: &Facts) -> Host {
    let machine = &facts.machine;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let allocatable = [
        ("cpu".to_owned(), number(machine.cpus as u64 * 1000)),
        ("memory".to_owned(), number(machine.memory_bytes)),
        ("ephemeral-storage".to_owned(), number(machine.storage_bytes)),
    ];
    Host { node_name: facts.name.clone(), address: facts.address, allocatable: allocatable.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_end_in_the_order_they_are_told_to() {
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let mut parts = Parts::default();
        parts.spawn("one", first.clone().cancelled_owned());
        parts.spawn("two", second.clone().cancelled_owned());
        first.cancel();
        parts.all_of(&["one"]).await;
        assert_eq!(parts.running, ["two"]);
        second.cancel();
        assert_eq!(parts.first().await, "two");
    }

    #[tokio::test]
    async fn a_part_that_panics_is_named() {
        let mut parts = Parts::default();
        parts.spawn("other", std::future::pending());
        parts.spawn("broken", async { panic!("as asked") });
        assert_eq!(parts.first().await, "broken");
    }

    #[test]
    fn what_was_refused_is_not_tried_again() {
        let api = |code| {
            kube::Error::Api(Box::new(kube::core::Status { code, ..kube::core::Status::failure("", "") }))
        };
        for (code, want) in [(403, false), (422, false), (429, true), (503, true)] {
            assert_eq!(may_pass(&api(code)), want, "{code}");
        }
    }
}
