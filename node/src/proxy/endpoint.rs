//! The live state of one endpoint address: who answers, how many requests it has, whether it is ejected.
//!
//! Routes come and go with every change of a Service; an [`Endpoint`] lasts as long as any route names its
//! address, so that load and health survive the change. All of it is atomics: the data path takes no lock.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::balance::State;
use super::facts::Place;
use super::remote::Pool;
use crate::local::{LocalPods, Slot};

/// The first ejection lasts this long; each further failure in a row doubles it.
const FIRST_EJECTION_MS: u64 = 500;

/// No ejection lasts longer, so that an endpoint that is well again is soon found.
const LONGEST_EJECTION_MS: u64 = 30_000;

/// Milliseconds since the proxy was made; never 0, which stands for "not ejected".
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now_ms(self) -> u64 {
        // A u64 of milliseconds outlasts any process.
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// An address that serves requests.
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    pub(crate) place: Place,
    /// Who answers in process, if anyone.
    pub(crate) slot: Arc<Slot>,
    /// Connections to it that wait for a request.
    pub(crate) pool: Pool,
    in_flight: AtomicU32,
    failures: AtomicU32,
    ejected_until_ms: AtomicU64,
}

impl Endpoint {
    pub(crate) fn new(addr: SocketAddr, place: Place, slot: Arc<Slot>) -> Endpoint {
        Endpoint {
            addr,
            place,
            slot,
            pool: Pool::default(),
            in_flight: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
        }
    }

    /// Counts a request or connection until the returned guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// What the balancer needs to know. The clock is read only where something was ejected.
    pub(crate) fn state(&self, now_ms: impl FnOnce() -> u64) -> State {
        // A pod of this node that is not registered is starting or gone: its address must not be tried over
        // TCP, where a listener about to close could take the request and lose it.
        if self.place == Place::Here && !self.slot.is_registered() && !self.slot.is_housed() {
            return State::Unusable;
        }
        let load = self.in_flight.load(Ordering::Relaxed);
        match self.ejected_until_ms.load(Ordering::Relaxed) {
            0 => State::Fit(load),
            until if now_ms() >= until => State::Fit(load),
            _ => State::Ejected(load),
        }
    }

    /// Whether it is reached over TCP: it is on another node, or in a network of its own on this one.
    pub(crate) fn is_connected_to(&self) -> bool {
        self.place == Place::Elsewhere || self.slot.is_housed()
    }

    /// Whether requests to it are calls in this process.
    pub(crate) fn answers_in_process(&self) -> bool {
        self.slot.is_registered()
    }

    /// Notes that the endpoint could not be reached: it is left alone for a while.
    pub(crate) fn failed(&self, now_ms: u64) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        self.ejected_until_ms.store(now_ms + ejection(failures), Ordering::Relaxed);
    }

    /// Notes that the endpoint was reached.
    pub(crate) fn reached(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Requests and connections it has now.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.addr, self.place)
    }
}

/// How long an endpoint is left alone after this many earlier failures in a row, in milliseconds.
fn ejection(failures: u32) -> u64 {
    FIRST_EJECTION_MS.saturating_mul(1 << failures.min(16)).min(LONGEST_EJECTION_MS)
}

/// A request or connection an endpoint has.
pub(crate) struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All endpoints that a route names, by address and place: one address is not in two places for longer than
/// news of a move takes.
pub(crate) struct Endpoints {
    local: LocalPods,
    known: Mutex<HashMap<(SocketAddr, Place), Weak<Endpoint>>>,
}

impl Endpoints {
    pub(crate) fn new(local: LocalPods) -> Endpoints {
        Endpoints { local, known: Mutex::default() }
    }

    /// The endpoint of this address; the same one as long as anybody holds it.
    pub(crate) fn intern(&self, addr: SocketAddr, place: Place) -> Arc<Endpoint> {
        let mut known = self.known();
        if let Some(endpoint) = known.get(&(addr, place)).and_then(Weak::upgrade) {
            return endpoint;
        }
        let endpoint = Arc::new(Endpoint::new(addr, place, self.local.slot(addr)));
        known.insert((addr, place), Arc::downgrade(&endpoint));
        endpoint
    }

    /// The endpoint of this address, if it is known.
    pub(crate) fn get(&self, addr: SocketAddr) -> Option<Arc<Endpoint>> {
        let known = self.known();
        [Place::Here, Place::Elsewhere].iter().find_map(|place| known.get(&(addr, *place))?.upgrade())
    }

    /// Forgets endpoints that no route names any more, and closes connections that nobody used for `idle`.
    pub(crate) fn sweep(&self, idle: Duration) {
        self.known().retain(|_, endpoint| {
            endpoint.upgrade().is_some_and(|endpoint| {
                endpoint.pool.close_idle(idle);
                true
            })
        });
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(SocketAddr, Place), Weak<Endpoint>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(place: Place) -> (LocalPods, Endpoint) {
        let local = LocalPods::default();
        let addr = "127.42.0.5:80".parse().unwrap();
        let slot = local.slot(addr);
        (local, Endpoint::new(addr, place, slot))
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_and_one_success_forgives() {
        let (_local, endpoint) = endpoint(Place::Elsewhere);
        assert_eq!(endpoint.state(|| 1), State::Fit(0));
        let mut now_ms = 1;
        for ejected_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            endpoint.failed(now_ms);
            assert_eq!(endpoint.state(|| now_ms + ejected_ms - 1), State::Ejected(0));
            now_ms += ejected_ms;
            assert_eq!(endpoint.state(|| now_ms), State::Fit(0));
        }
        endpoint.failed(now_ms);
        endpoint.reached();
        assert_eq!(endpoint.state(|| now_ms), State::Fit(0));
    }

    #[test]
    fn pod_of_this_node_is_usable_only_while_registered() {
        let (_local, endpoint) = endpoint(Place::Here);
        assert_eq!(endpoint.state(|| 1), State::Unusable);
    }

    #[test]
    fn load_is_what_is_in_flight() {
        let (_local, endpoint) = endpoint(Place::Elsewhere);
        let endpoint = Arc::new(endpoint);
        let (one, two) = (endpoint.enter(), endpoint.enter());
        assert_eq!(endpoint.in_flight(), 2);
        drop(one);
        assert_eq!(endpoint.state(|| 1), State::Fit(1));
        drop(two);
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn endpoint_is_the_same_while_held_and_forgotten_after() {
        let endpoints = Endpoints::new(LocalPods::default());
        let addr = "127.42.0.5:80".parse().unwrap();
        let held = endpoints.intern(addr, Place::Elsewhere);
        assert!(Arc::ptr_eq(&held, &endpoints.intern(addr, Place::Elsewhere)));
        drop(held);
        endpoints.sweep(Duration::ZERO);
        assert!(endpoints.known().is_empty());
    }
}
