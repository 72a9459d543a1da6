//! Messages between members: HTTP/2 over mutual TLS, one long-lived stream from each member to each other one.
//!
//! [`Peers`] is the store's [`Transport`]: [`Peers::send`](Transport::send) puts a message into the queue of its
//! receiver and never waits. A queue is bounded in bytes; what does not fit is dropped and counted, for Raft sends
//! again what matters. Every peer has its own queue, connection and task, so one that is slow or dead takes nothing
//! from the others.
//!
//! Both sides show a certificate of the cluster's authority that names the member, and a message is taken only from
//! the member that its connection belongs to.

mod frames;
mod incoming;
mod metrics;
mod outgoing;
mod queue;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use isopod_raft_store::transport::{MessageError, Transport};
use isopod_raft_store::{MemberId, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::metrics::PeerMetrics;
use self::queue::{Full, Queue};
use crate::security::tls::PeerTls;

/// Messages that wait for one peer, in bytes: some round trips of full messages, and little next to the state.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// The path that messages are posted to; the number is the format of the stream.
const PATH: &str = "/isopod/raft/1";

/// The header in which a member says where it is reached, so that one that moved is found again.
const ADDRESS_HEADER: &str = "isopod-peer-address";

/// Where messages of other members go.
pub trait Inbound: Send + Sync + 'static {
    /// Whether messages of this member are welcome.
    fn admit(&self, from: MemberId) -> Admission;

    /// Takes one message of an admitted member; must not block.
    fn receive(&self, from: MemberId, message: &[u8]) -> Result<(), MessageError>;
}

/// Whether a member may talk to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Welcome,
    /// It was removed from the cluster, and should know.
    Removed,
}

/// What is known of the way to one peer, for `/metrics` and `isopod member list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub member: MemberId,
    /// Where it is tried to be reached.
    pub address: String,
    /// Whether it takes messages now.
    pub connected: bool,
    /// Messages handed to the connection.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages dropped because the queue was full or the connection lost.
    pub dropped: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

/// The way to all other members. Cloning costs a pointer.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    own: MemberId,
    tls: PeerTls,
    /// Where this member is reached, as it tells its peers.
    advertised: String,
    /// The peers that have an address. Read by the store's thread for every message.
    peers: ArcSwap<BTreeMap<MemberId, Arc<Peer>>>,
    /// Counts changes of `peers`, for the task that starts and ends theirs.
    changed: watch::Sender<u64>,
    /// The member that said that this one is removed.
    removed_by: watch::Sender<Option<MemberId>>,
    /// Messages for members of whom no address is known.
    unaddressed: AtomicU64,
}

/// One peer.
struct Peer {
    member: MemberId,
    /// What [`Peers::set_addresses`] said last.
    recorded: Mutex<String>,
    /// Where it is tried: what was said last, there or by the peer itself.
    address: watch::Sender<String>,
    queue: Arc<Queue>,
    connected: AtomicBool,
}

impl Peers {
    /// No peer is known before [`set_addresses`](Peers::set_addresses), nothing is sent before [`run`](Peers::run).
    pub fn new(own: MemberId, tls: PeerTls, advertised: String) -> Peers {
        let shared = Shared {
            own,
            tls,
            advertised,
            peers: ArcSwap::default(),
            changed: watch::Sender::new(0),
            removed_by: watch::Sender::new(None),
            unaddressed: AtomicU64::new(0),
        };
        Peers { shared: Arc::new(shared) }
    }

    /// Who else there is, and where. Peers that are not named any more are forgotten with what waits for them; this
    /// member itself may be among them.
    pub fn set_addresses(&self, addresses: &BTreeMap<MemberId, String>) {
        let known = self.shared.peers.load();
        let others = addresses.iter().filter(|(member, _)| **member != self.shared.own);
        let peers = others.map(|(member, address)| match known.get(member) {
            Some(peer) => {
                peer.record(address);
                (*member, Arc::clone(peer))
            }
            None => (*member, Arc::new(Peer::new(*member, address.clone()))),
        });
        self.shared.peers.store(Arc::new(peers.collect()));
        self.shared.changed.send_modify(|changes| *changes += 1);
    }

    /// Works until `shutdown`: takes messages of others on `listener` and sends what is queued. Also ends when the
    /// listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        inbound: Arc<dyn Inbound>,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        let stop = shutdown.child_token();
        let _guard = stop.clone().drop_guard();
        let receiving = incoming::run(listener, self.clone(), inbound, stop.clone());
        let sending = self.send_all(stop.clone());
        // Cancel-safe: whichever ends, both are dropped.
        tokio::select! {
            ended = receiving => ended,
            () = sending => Ok(()),
        }
    }

    /// One task for each peer, for as long as it is one.
    async fn send_all(&self, shutdown: CancellationToken) {
        let mut changes = self.shared.changed.subscribe();
        let mut tasks = JoinSet::new();
        let mut stops: BTreeMap<MemberId, (Arc<Peer>, CancellationToken)> = BTreeMap::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let peers = self.shared.peers.load_full();
            stops.retain(|member, (peer, stop)| {
                let stays = peers.get(member).is_some_and(|now| Arc::ptr_eq(now, peer));
                if !stays {
                    stop.cancel();
                }
                stays
            });
            for (member, peer) in
                peers.iter().filter(|(member, _)| !stops.contains_key(member)).collect::<Vec<_>>()
            {
                let stop = shutdown.child_token();
                tasks.spawn(outgoing::run(Arc::clone(&self.shared), Arc::clone(peer), stop.clone()));
                stops.insert(*member, (Arc::clone(peer), stop));
            }
            // Cancel-safe: `changed` only waits.
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits until another member says that this one was removed from the cluster; returns who said it.
    pub async fn removed(&self) -> MemberId {
        let mut removed = self.shared.removed_by.subscribe();
        let by = removed.wait_for(Option::is_some).await.ok().and_then(|by| *by);
        match by {
            Some(member) => member,
            // The sender lives in `self`.
            None => std::future::pending().await,
        }
    }

    /// The way to each peer.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.shared.peers.load().values().map(|peer| peer.status()).collect()
    }

    /// A peer has said where it is reached. Only peers that are known are believed.
    fn heard_from(&self, member: MemberId, address: &str) {
        if let Some(peer) = self.shared.peers.load().get(&member) {
            peer.move_to(address);
        }
    }
}

impl Transport for Peers {
    fn send(&self, to: MemberId, message: Bytes) {
        match self.shared.peers.load().get(&to) {
            Some(peer) => match peer.queue.push(message) {
                Ok(()) => {}
                Err(Full) => tracing::debug!(peer = %to, "a message was dropped: the queue is full"),
            },
            None => drop(self.shared.unaddressed.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl Peer {
    fn new(member: MemberId, address: String) -> Peer {
        Peer {
            member,
            recorded: Mutex::new(address.clone()),
            address: watch::Sender::new(address),
            queue: Arc::new(Queue::new(QUEUE_BYTES_MAX)),
            connected: AtomicBool::new(false),
        }
    }

    /// An address that was recorded before says nothing new: the peer may have moved since, and said so itself.
    fn record(&self, address: &str) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if *recorded != address {
            address.clone_into(&mut recorded);
            drop(recorded);
            self.move_to(address);
        }
    }

    fn move_to(&self, address: &str) {
        self.address.send_if_modified(|now| {
            let moved = now != address;
            if moved {
                address.clone_into(now);
            }
            moved
        });
    }

    fn status(&self) -> PeerStatus {
        let counts = self.queue.counts();
        PeerStatus {
            member: self.member,
            address: self.address.borrow().clone(),
            connected: self.connected.load(Ordering::Relaxed),
            sent: counts.taken,
            sent_bytes: counts.taken_bytes,
            dropped: counts.dropped,
            dropped_bytes: counts.dropped_bytes,
        }
    }
}

/// Hands messages to the store; asks `is_removed` who may send some.
pub(crate) struct StoreInbound<F> {
    pub(crate) store: Store,
    pub(crate) is_removed: F,
}

impl<F: Fn(MemberId) -> bool + Send + Sync + 'static> Inbound for StoreInbound<F> {
    fn admit(&self, from: MemberId) -> Admission {
        if (self.is_removed)(from) { Admission::Removed } else { Admission::Welcome }
    }

    fn receive(&self, from: MemberId, message: &[u8]) -> Result<(), MessageError> {
        self.store.receive_from(from, message)
    }
}

#[cfg(test)]
mod tests;
