//! Config to wiring of a member: store, identities, API, registry, controllers. Nothing else.

mod begin;
mod listen;
mod start;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isopod_raft_store::{BackupError, Driver, DriverError, KeyRange, MemberId, OpenError, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::begin::{Began, Beginning};
use crate::admission::InvalidRange;
use crate::bootstrap;
pub use crate::fairness::Limits;
use crate::leader::Singletons;
use crate::membership::follow::Follower;
use crate::membership::presence::Mourner;
use crate::membership::record::Roll;
use crate::membership::{folder, join};
use crate::objects::Objects;
use crate::peers::{Peers, StoreInbound};
use crate::registry;
use crate::security::ca::{self, CertificateAuthority, IssuedCertificate};
use crate::security::tls;
use crate::serve::{self, Front};
pub use isopod_raft_store::{Saved, inspect};

/// Name of the administrator's kubeconfig in the data folder.
pub const KUBECONFIG_FILE: &str = "admin.kubeconfig";

/// Options of a member.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the member's store, certificates and artifacts.
    pub data_dir: PathBuf,
    /// What to do with that folder.
    pub beginning: Beginning,
    /// Where the API listens. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where other members are listened to; `None` for a cluster of this process only.
    pub listen_peers: Option<SocketAddr>,
    /// The host that others are told instead of the addresses listened on.
    pub advertise: Option<String>,
    /// What people call the member; `None` keeps its name, or makes one of its number.
    pub name: Option<String>,
    /// Range of Service addresses, as `127.43.0.0/16`; `None` keeps that of the cluster, or takes the default.
    pub service_cidr: Option<String>,
    /// How long the certificates last that nodes get, who renew them after two thirds of it.
    pub node_certificate_life: Duration,
    /// How many requests are worked on at once.
    pub limits: Limits,
}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder is empty, and nothing says what to do about that.
    #[error(
        "{} holds no member yet: start a new cluster with --init, or join one with --join HOST:6443 --token T (`isopod token create` on a machine of that cluster makes the token)",
        dir.display()
    )]
    NobodyHome {
        /// The folder.
        dir: PathBuf,
    },
    /// There are no others that have its data.
    #[error("{} is the folder of a member that has no others: nobody has its data", dir.display())]
    NobodyToAsk {
        /// The folder.
        dir: PathBuf,
    },
    /// It could not be made the only member.
    #[error("cannot go on alone")]
    Recover(#[from] BackupError),
    /// It has others, and was started in a way that does not reach them.
    #[error("{} belongs to a cluster of several members: start it with `isopod server`", dir.display())]
    NotAlone {
        /// The folder.
        dir: PathBuf,
    },
    /// What the folder says of its member cannot be read or written.
    #[error("cannot use the data folder")]
    Folder(#[from] folder::Error),
    /// The cluster did not let it in.
    #[error("cannot join the cluster")]
    Join(#[from] join::Error),
    /// The range of Service addresses is not one.
    #[error("the range of Service addresses cannot be used")]
    ServiceRange(#[from] InvalidRange),
    /// The data folder cannot be used; the message names the file.
    #[error("cannot open the store")]
    Store(#[from] OpenError),
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
    /// All of a machine's addresses are none that others could be told.
    #[error(
        "other members cannot be told to connect to {address}: name a host or address of this machine with --advertise-address"
    )]
    Unspecified {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The host that others shall be told means nothing.
    #[error("cannot resolve the advertised address {host}")]
    Advertise {
        /// The host.
        host: String,
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
    Store(#[source] DriverError),
    /// The other members took it out.
    #[error(
        "member {member} was removed from the cluster: remove its data folder {}; with a new token the machine can join again",
        dir.display()
    )]
    Removed {
        /// This member.
        member: MemberId,
        /// Its folder.
        dir: PathBuf,
    },
    /// A listener ended.
    #[error("the listener of {0} failed")]
    Listener(&'static str, #[source] io::Error),
    /// A task panicked; the log says where.
    #[error("a part of the member panicked")]
    Panicked(#[from] tokio::task::JoinError),
    /// A part ended although nobody asked it to.
    #[error("{0} ended by itself")]
    Ended(&'static str),
}

impl StartError {
    /// Whether the member's data is damaged, so that it has to be fetched again from the others.
    pub fn wants_reseed(&self) -> bool {
        matches!(self, StartError::Store(OpenError::Damaged { .. }))
    }
}

impl RunError {
    /// Whether the member's data cannot be trusted, so that it has to be fetched again from the others.
    pub fn wants_reseed(&self) -> bool {
        matches!(self, RunError::Store(DriverError::Diverged { .. } | DriverError::Forgot { .. }))
    }
}

/// A member that is listening; [`Member::run`] makes it work.
pub struct Member {
    data_dir: PathBuf,
    own: MemberId,
    name: String,
    began: Began,
    api_address: SocketAddr,
    peer_address: Option<SocketAddr>,
    authority: Arc<CertificateAuthority>,
    kubeconfig: PathBuf,
    listener: TcpListener,
    peer_listener: Option<TcpListener>,
    peers: Peers,
    tls: Arc<rustls::ServerConfig>,
    store: Store,
    objects: Objects,
    driver: Driver,
    follower: Follower,
    singletons: Singletons,
    front: Arc<Front>,
    /// Ends the API's watches and makes `/readyz` fail: cancelled first when the member stops.
    draining: CancellationToken,
    mourner: Mourner,
}

impl Member {
    /// Works until `shutdown`, or until a part fails. Stops in order: requests drain, controllers stop, the store
    /// flushes last.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Member { own, data_dir, store, peers, .. } = self;
        let removed = |own| RunError::Removed { member: own, dir: data_dir.clone() };
        let store_failed = |error| match error {
            DriverError::Removed { .. } => removed(own),
            error => RunError::Store(error),
        };
        let (serving, store_stop, peers_stop) =
            (self.draining, CancellationToken::new(), CancellationToken::new());
        // Dropped last: leadership is handed over through it.
        let _peers_stop = peers_stop.clone().drop_guard();
        let mut driver = tokio::spawn(self.driver.run(store_stop.clone()));
        let mut parts = JoinSet::new();
        let access = self.front.access.clone().run(serving.clone());
        parts.spawn(async {
            access.await;
            Ok("authorization")
        });
        let kinds = self.objects.follow_kinds(serving.clone());
        parts.spawn(async {
            kinds.await;
            Ok("the custom kinds")
        });
        let listener = serve::run(self.listener, self.tls, self.front, serving.clone());
        parts.spawn(async {
            listener
                .await
                .map_err(|error| RunError::Listener("the API", error))
                .map(|()| "the API's listener")
        });
        let singletons = self.singletons.run(serving.clone());
        parts.spawn(async {
            singletons.await;
            Ok("the controllers")
        });
        let mourner = self.mourner.run(serving.clone());
        parts.spawn(async {
            mourner.await;
            Ok("the watch over nodes' connections")
        });
        let follower = self.follower.run(serving.clone());
        parts.spawn(async {
            follower.await;
            Ok("the membership")
        });
        let mut talking =
            tokio::spawn(talk(peers.clone(), self.peer_listener, store.clone(), peers_stop.clone()));
        // Cancel-safe: the handles are polled again below.
        let outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = &mut driver => return ended?.map_err(store_failed).and(Err(RunError::Ended("the store"))),
            ended = &mut talking => return ended?.and(Err(RunError::Ended("the listener for members"))),
            _ = peers.removed() => Err(removed(own)),
            Some(ended) = parts.join_next() => Err(match ended? {
                Ok(_) if Roll::of(&store).is_removed(&store.snapshot(), own) => removed(own),
                Ok(name) => RunError::Ended(name),
                Err(error) => error,
            }),
        };
        serving.cancel();
        while let Some(ended) = parts.join_next().await {
            ended??;
        }
        store_stop.cancel();
        driver.await?.map_err(store_failed)?;
        peers_stop.cancel();
        talking.await??;
        outcome
    }

    /// Resolves when the state has what every cluster has: in a new one shortly after [`Member::run`] began, in a
    /// member that joined when it has been sent the state.
    pub fn has_state(&self) -> impl Future<Output = ()> + Send + use<> {
        let store = self.store.clone();
        let sign = bootstrap::last_key();
        async move {
            loop {
                let state = store.snapshot();
                if state.get(&sign).is_some() {
                    return;
                }
                match store.watch(KeyRange::key(sign.clone()), state.revision()) {
                    // Whatever ends the wait, the state is looked at again.
                    Ok(mut changes) => drop(changes.next().await),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }
    }

    /// The member's number in its cluster.
    pub fn id(&self) -> MemberId {
        self.own
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was done with the data folder.
    pub fn began(&self) -> &Began {
        &self.began
    }

    /// Where other members are listened to, with the port that the kernel chose.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address
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
        self.authority.issue_node(name, address, ca::LIFE)
    }
}

/// Messages to and from other members; a member without others only waits.
async fn talk(
    peers: Peers,
    listener: Option<TcpListener>,
    store: Store,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let Some(listener) = listener else {
        shutdown.cancelled().await;
        return Ok(());
    };
    let (known, roll) = (store.clone(), Roll::of(&store));
    let is_removed = move |member| roll.is_removed(&known.snapshot(), member);
    let inbound = Arc::new(StoreInbound { store, is_removed });
    peers.run(listener, inbound, shutdown).await.map_err(|error| RunError::Listener("members", error))
}
