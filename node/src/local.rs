//! Pods of this node that answer HTTP in process, and the way out for their own requests.
//!
//! The runtime implements [`HttpHandler`] for a running container and asks [`Outbound`] to send what the
//! guest sends. The agent registers each handler under its pod's address in [`LocalPods`]. The proxy listens
//! on those addresses, dispatches to the handlers without a socket, and implements [`Outbound`].
//!
//! Invariant: an address answers with the handler registered last; dropping an older [`Registration`] never
//! removes a younger one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use arc_swap::{ArcSwapOption, Guard};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::{Notify, watch};

use crate::namespace::Namespace;

/// Any error, as it travels inside a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or response's body: frames of bytes, then perhaps trailers.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of no bytes; allocates nothing.
pub fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of exactly these bytes.
pub fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Who a pod is, as far as the network and the runtime need to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodIdentity {
    /// The pod's namespace; unqualified names are looked up there.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// The pod's address.
    pub addr: IpAddr,
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The calling pod's address, or the client's where a client called.
    pub addr: IpAddr,
}

/// Answers the HTTP requests of one running container.
pub trait HttpHandler: Send + Sync {
    /// Answers one request; dropping the future gives the request up.
    ///
    /// Called from serving threads: what takes long, or computes, belongs in the future or elsewhere.
    fn call(
        &self,
        caller: Caller,
        req: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, CallError>>;
}

/// Why a handler gave no response. The proxy answers for it, with the status named here.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing of the request was read, and it may be tried on another pod: the container is stopping, or has
    /// all the requests it may have. 503 when there is no other pod.
    #[error("the container takes no more requests")]
    Refused(Box<Request<Body>>),
    /// The container cannot answer, and may have read some of the request: 503.
    #[error("the container is unavailable")]
    Unavailable,
    /// The guest trapped; the text is the trap and its first frames: 500.
    #[error("the container trapped: {0}")]
    Trap(String),
    /// The guest ended without a response: 502.
    #[error("the container ended without a response")]
    NoResponse,
    /// The request's body is larger than the container takes: 413.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The guest took longer than it may: 504.
    #[error("the container took too long to respond")]
    Timeout,
}

/// The way out of a pod for HTTP requests and name lookups. Implemented by the proxy.
pub trait Outbound: Send + Sync {
    /// Sends a request of the pod `from`. Its URI has an authority.
    ///
    /// The authority is looked up as a cluster name (`svc`, `svc.ns`, `svc.ns.svc.cluster.local`, a pod of a
    /// headless service) or a cluster address first; other hosts need an egress rule. Like over a network, a
    /// service without a pod that answers is a response (503), not an error.
    fn send(
        &self,
        from: &PodIdentity,
        req: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>>;

    /// The addresses of a cluster name, or `None` if it names nothing in the cluster.
    fn resolve(&self, from: &PodIdentity, name: &str) -> Option<Vec<IpAddr>>;
}

/// Why a pod's request was not sent, or got no response.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The request cannot be sent as it is: no authority, a scheme or method that is not carried.
    #[error("the request cannot be sent: {0}")]
    BadRequest(&'static str),
    /// The name looks like a cluster name, and names nothing.
    #[error("no such host: {name}")]
    UnknownName {
        /// The name as the guest gave it.
        name: String,
    },
    /// No egress rule allows the host.
    #[error(
        "egress to {host} is denied: it is no name or address of the cluster, and no egress rule allows it"
    )]
    Denied {
        /// Host and port as the guest gave them.
        host: String,
    },
    /// No connection could be made.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port as the guest gave them.
        host: String,
        /// What the attempt failed with.
        #[source]
        source: BoxError,
    },
    /// The connection failed before a response came.
    #[error("no response from {host}")]
    NoResponse {
        /// Host and port as the guest gave them.
        host: String,
        /// What ended the connection.
        #[source]
        source: BoxError,
    },
    /// The connection could not be made in time.
    #[error("timed out connecting to {host}")]
    Timeout {
        /// Host and port as the guest gave them.
        host: String,
    },
}

/// The table of addresses that are answered in process. A cheap clone shares the table.
///
/// One proxy follows its changes and keeps a listener for each address.
#[derive(Clone, Default)]
pub struct LocalPods {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    slots: RwLock<HashMap<SocketAddr, Weak<Slot>>>,
    /// Pods with a network of their own. Locked before `slots` where both are.
    housed: RwLock<Housed>,
    /// Moves with `housed`.
    houses: watch::Sender<u64>,
    changed: Mutex<HashSet<SocketAddr>>,
    wake: Notify,
}

/// The lasting place of one address, held by its registrations and by whoever routes to it, so that the data
/// path finds the handler by one atomic load.
pub(crate) struct Slot {
    addr: SocketAddr,
    registered: ArcSwapOption<Registered>,
    /// Whether the pod has a network of its own, in which it may answer.
    housed: AtomicBool,
    shared: Weak<Shared>,
}

type Housed = HashMap<IpAddr, (Arc<PodIdentity>, Arc<Namespace>)>;

/// A pod with a network of its own: dropping it closes the way into it.
#[must_use = "dropping it closes the way into the pod's network"]
pub struct Housing {
    addr: IpAddr,
    network: Arc<Namespace>,
    shared: Arc<Shared>,
}

/// What answers at an address now.
pub(crate) struct Registered {
    pub(crate) pod: Arc<PodIdentity>,
    pub(crate) handler: Arc<dyn HttpHandler>,
}

/// A pod's place in [`LocalPods`]: dropping it takes the address out of the table. Requests already handed to
/// the handler go on.
#[must_use = "dropping a registration takes the address out of service"]
pub struct Registration {
    slot: Arc<Slot>,
    registered: Arc<Registered>,
    shared: Arc<Shared>,
}

impl LocalPods {
    /// Has `handler` answer at the pod's address and `port` from now on, in the place of any earlier one.
    pub fn register(&self, pod: Arc<PodIdentity>, port: u16, handler: Arc<dyn HttpHandler>) -> Registration {
        let slot = self.slot(SocketAddr::new(pod.addr, port));
        let registered = Arc::new(Registered { pod, handler });
        slot.registered.store(Some(Arc::clone(&registered)));
        self.shared.mark(slot.addr);
        Registration { slot, registered, shared: Arc::clone(&self.shared) }
    }

    /// The handler that answers at this address now.
    pub fn lookup(&self, addr: SocketAddr) -> Option<Arc<dyn HttpHandler>> {
        let slot = self.shared.existing(addr)?;
        let registered = slot.registered();
        registered.as_ref().map(|registered| Arc::clone(&registered.handler))
    }

    /// The place of this address, whether or not something is registered there.
    pub(crate) fn slot(&self, addr: SocketAddr) -> Arc<Slot> {
        let housed = self.shared.housed();
        let mut slots = self.shared.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&addr).and_then(Weak::upgrade) {
            return slot;
        }
        let shared = Arc::downgrade(&self.shared);
        let slot = Arc::new(Slot {
            addr,
            registered: ArcSwapOption::empty(),
            housed: AtomicBool::new(housed.contains_key(&addr.ip())),
            shared,
        });
        slots.insert(addr, Arc::downgrade(&slot));
        slot
    }

    /// From now on, what is not registered of the pod's address is to be found in `network`.
    pub fn house(&self, pod: PodIdentity, network: Arc<Namespace>) -> Housing {
        let addr = pod.addr;
        self.shared.set_housed(addr, Some((Arc::new(pod), network.clone())));
        Housing { addr, network, shared: Arc::clone(&self.shared) }
    }

    /// The network of the pod with this address, if it has one of its own.
    pub fn network(&self, addr: IpAddr) -> Option<Arc<Namespace>> {
        self.shared.housed().get(&addr).map(|(_, network)| Arc::clone(network))
    }

    /// All pods with networks of their own.
    pub(crate) fn networks(&self) -> Vec<(Arc<PodIdentity>, Arc<Namespace>)> {
        self.shared.housed().values().cloned().collect()
    }

    /// Tells when there are others than before.
    pub(crate) fn houses(&self) -> watch::Receiver<u64> {
        self.shared.houses.subscribe()
    }

    /// The addresses at which something of this pod answers in process.
    pub(crate) fn registered_at(&self, addr: IpAddr) -> Vec<SocketAddr> {
        let slots = self.shared.slots.read().unwrap_or_else(PoisonError::into_inner);
        let of_pod = slots.iter().filter(|(at, _)| at.ip() == addr);
        let held: Vec<Arc<Slot>> = of_pod.filter_map(|(_, slot)| slot.upgrade()).collect();
        drop(slots);
        held.iter().filter(|slot| slot.is_registered()).map(|slot| slot.addr).collect()
    }

    /// Waits for registrations or their ends, and takes the addresses concerned: look at each slot for what is
    /// true now. Cancel-safe: addresses are taken only as they are returned.
    pub(crate) async fn changed(&self) -> HashSet<SocketAddr> {
        loop {
            let woken = self.shared.wake.notified();
            let changed = std::mem::take(&mut *self.shared.changes());
            if !changed.is_empty() {
                return changed;
            }
            woken.await;
        }
    }
}

impl fmt::Debug for LocalPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.shared.slots.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(slots.keys()).finish()
    }
}

impl Shared {
    fn existing(&self, addr: SocketAddr) -> Option<Arc<Slot>> {
        // The guard ends with this function: a slot dropped while it is held would wait for itself.
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&addr).and_then(Weak::upgrade)
    }

    fn housed(&self) -> std::sync::RwLockReadGuard<'_, Housed> {
        self.housed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_housed(&self, addr: IpAddr, to: Option<(Arc<PodIdentity>, Arc<Namespace>)>) {
        let mut housed = self.housed.write().unwrap_or_else(PoisonError::into_inner);
        let is = to.is_some();
        match to {
            Some(to) => housed.insert(addr, to),
            None => housed.remove(&addr),
        };
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let of_pod = slots.iter().filter(|(at, _)| at.ip() == addr);
        let held: Vec<Arc<Slot>> = of_pod.filter_map(|(_, slot)| slot.upgrade()).collect();
        drop(slots);
        for slot in held {
            slot.housed.store(is, Ordering::Release);
        }
        drop(housed);
        self.houses.send_modify(|changes| *changes += 1);
    }

    fn changes(&self) -> std::sync::MutexGuard<'_, HashSet<SocketAddr>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, addr: SocketAddr) {
        self.changes().insert(addr);
        self.wake.notify_one();
    }
}

impl Slot {
    pub(crate) fn registered(&self) -> Guard<Option<Arc<Registered>>> {
        self.registered.load()
    }

    /// Whether what is not registered is to be found in a network of the pod's own.
    pub(crate) fn is_housed(&self) -> bool {
        self.housed.load(Ordering::Acquire)
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.load().is_some()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut slots = shared.slots.write().unwrap_or_else(PoisonError::into_inner);
        // Another slot may have been made for the address since the last handle of this one went.
        if slots.get(&self.addr).is_some_and(|slot| slot.strong_count() == 0) {
            slots.remove(&self.addr);
        }
    }
}

impl Registration {
    /// The address that is answered.
    pub fn addr(&self) -> SocketAddr {
        self.slot.addr
    }
}

impl fmt::Debug for Housing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Housing").field(&self.addr).finish()
    }
}

impl Drop for Housing {
    fn drop(&mut self) {
        let now = self.shared.housed().get(&self.addr).map(|(_, network)| Arc::clone(network));
        // A younger one stays.
        if now.is_some_and(|now| Arc::ptr_eq(&now, &self.network)) {
            self.shared.set_housed(self.addr, None);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.addr()).finish()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.slot.registered.compare_and_swap(&self.registered, None);
        self.shared.mark(self.slot.addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl HttpHandler for Named {
        fn call(&self, _: Caller, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
            let name = self.0;
            Box::pin(async move { Ok(Response::new(full_body(name))) })
        }
    }

    fn pod(addr: &str) -> Arc<PodIdentity> {
        Arc::new(PodIdentity {
            namespace: "shop".into(),
            name: "web-0".into(),
            uid: "1".into(),
            addr: addr.parse().unwrap(),
        })
    }

    async fn answer(local: &LocalPods, addr: SocketAddr) -> Option<Bytes> {
        let caller = Caller { addr: addr.ip() };
        let response = local.lookup(addr)?.call(caller, Request::new(empty_body())).await;
        Some(response.unwrap().into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn registration_ends_when_dropped() {
        let local = LocalPods::default();
        let registration = local.register(pod("127.42.0.5"), 80, Arc::new(Named("a")));
        let addr = registration.addr();
        assert_eq!(answer(&local, addr).await, Some("a".into()));
        drop(registration);
        assert_eq!(answer(&local, addr).await, None);
        assert_eq!(format!("{local:?}"), "{}");
    }

    #[tokio::test]
    async fn younger_registration_survives_the_end_of_the_older() {
        let local = LocalPods::default();
        let older = local.register(pod("127.42.0.5"), 80, Arc::new(Named("older")));
        let younger = local.register(pod("127.42.0.5"), 80, Arc::new(Named("younger")));
        drop(older);
        assert_eq!(answer(&local, younger.addr()).await, Some("younger".into()));
    }

    #[test]
    fn slot_sees_registrations_made_after_it() {
        let local = LocalPods::default();
        let slot = local.slot("127.42.0.5:80".parse().unwrap());
        assert!(!slot.is_registered());
        let registration = local.register(pod("127.42.0.5"), 80, Arc::new(Named("a")));
        assert!(slot.is_registered());
        drop(registration);
        assert!(!slot.is_registered());
    }

    #[tokio::test]
    async fn changes_name_each_address_once() {
        let local = LocalPods::default();
        let a = local.register(pod("127.42.0.5"), 80, Arc::new(Named("a")));
        let b = local.register(pod("127.42.0.6"), 80, Arc::new(Named("b")));
        drop(local.register(pod("127.42.0.6"), 80, Arc::new(Named("c"))));
        assert_eq!(local.changed().await, HashSet::from([a.addr(), b.addr()]));
        let waiting = local.changed();
        drop(b);
        assert_eq!(waiting.await.len(), 1);
    }
}
