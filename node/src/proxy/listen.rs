//! Listeners: one for each address that a Service or a pod of this node has, and no other.
//!
//! Level-driven: whatever changed, an address is listened on exactly while something is to answer there. An
//! address that cannot be had (a port under 1024 without the right to it, a port of another program) is
//! reported on its Service or Pod and tried again on a timer; all others work.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::connection::{Server, Target, serve};
use super::facts::Place;
use super::path::DataPath;
use super::report::{Report, Reporter, Subject};
use super::routes::{Route, Routes};

/// Connections that wait to be accepted, for each address.
const BACKLOG: i32 = 1024;

/// How often an address that could not be had is tried again.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(5) };

/// A failure that lasts is reported again this often: events are kept for an hour.
const REPORT_AGAIN: Duration = Duration::from_secs(50 * 60);

/// How long an accept loop rests when the process has no file descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// New listeners opened before other tasks of the thread get their turn: some hundred microseconds.
const OPENED_AT_ONCE: usize = 64;

/// Whether other nodes in this host listen on the same Service addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// No: an address that somebody has is an error.
    #[default]
    Alone,
    /// Yes: with `SO_REUSEPORT`, the kernel gives each connection to one of them.
    WithOtherNodes,
}

/// Keeps the listeners as the routes and the table of pods want them.
pub(crate) struct Listeners {
    path: Arc<DataPath>,
    server: Arc<Server>,
    reporter: Arc<dyn Reporter>,
    sharing: Sharing,
    /// Limits the connections of all listeners.
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    pods: HashMap<SocketAddr, Listener>,
    services: HashMap<SocketAddr, Listener>,
}

/// What became of an address that is wanted.
enum Listener {
    /// Dropping it closes the listener, and ends its connections gracefully.
    Open(#[expect(dead_code, reason = "held to be dropped")] tokio_util::sync::DropGuard),
    Failed {
        kind: io::ErrorKind,
        reported: Instant,
    },
}

impl Listeners {
    pub(crate) fn new(
        path: Arc<DataPath>,
        reporter: Arc<dyn Reporter>,
        sharing: Sharing,
        max_connections: usize,
        stop: CancellationToken,
    ) -> Listeners {
        Listeners {
            server: Arc::new(Server::new(&path)),
            path,
            reporter,
            sharing,
            connections: Arc::new(Semaphore::new(max_connections)),
            stop,
            pods: HashMap::new(),
            services: HashMap::new(),
        }
    }

    /// Follows the changes until stopped.
    pub(crate) async fn run(mut self) {
        let mut swaps = self.path.swaps();
        swaps.mark_changed();
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let path = Arc::clone(&self.path);
        let stop = self.stop.clone();
        loop {
            // Cancel-safe: a change is taken only by the branch that then handles it.
            tokio::select! {
                changed = path.local.changed() => self.follow_pods(changed).await,
                swapped = swaps.changed() => match swapped {
                    Ok(()) => self.follow_services().await,
                    Err(_) => return,
                },
                _ = retry.tick() => self.retry().await,
                () = stop.cancelled() => return,
            }
            self.count();
        }
    }

    /// Accepts on a listener that was opened elsewhere.
    pub(crate) fn accept_on(&self, listener: TcpListener, target: Target) {
        self.spawn_accept(listener, target, self.stop.child_token());
    }

    async fn follow_pods(&mut self, changed: HashSet<SocketAddr>) {
        for (count, addr) in changed.into_iter().enumerate() {
            self.follow_pod(addr);
            rest(count).await;
        }
    }

    fn follow_pod(&mut self, addr: SocketAddr) {
        let slot = self.path.local.slot(addr);
        let registered = slot.registered();
        let Some(local) = registered.as_ref() else {
            self.pods.remove(&addr);
            return;
        };
        let before = self.pods.remove(&addr);
        let listener = match before {
            Some(open @ Listener::Open(_)) => open,
            failed => {
                let endpoint = self.path.endpoints.intern(addr, Place::Here);
                let subject = Subject::pod(&local.pod);
                self.listen(addr, Target::Pod(endpoint), &subject, failed)
            }
        };
        self.pods.insert(addr, listener);
    }

    async fn follow_services(&mut self) {
        let routes = Arc::clone(&self.path.routes());
        self.services.retain(|addr, _| routes.by_addr(*addr).is_some());
        for (count, (addr, route)) in routes.addresses().enumerate() {
            // What failed has its own timer: there may be many, and routes change often.
            if !self.services.contains_key(&addr) {
                self.open_service(addr, route, &routes);
            }
            rest(count).await;
        }
    }

    fn open_service(&mut self, addr: SocketAddr, route: &Route, routes: &Routes) {
        let name = &route.port.service;
        let uid = routes.service(&name.namespace, &name.name).map_or("", |service| &service.uid);
        let before = self.services.remove(&addr);
        let listener = self.listen(addr, Target::Service(addr), &Subject::service(name, uid), before);
        self.services.insert(addr, listener);
    }

    async fn retry(&mut self) {
        let pods = failed(&self.pods).collect();
        self.follow_pods(pods).await;
        let routes = Arc::clone(&self.path.routes());
        let services: Vec<_> = failed(&self.services).collect();
        for (count, addr) in services.into_iter().enumerate() {
            if let Some(route) = routes.by_addr(addr) {
                self.open_service(addr, route, &routes);
            }
            rest(count).await;
        }
    }

    /// Opens an address, or says why not: once, and again if the reason changes or lasts.
    fn listen(
        &self,
        addr: SocketAddr,
        target: Target,
        subject: &Subject,
        before: Option<Listener>,
    ) -> Listener {
        match bind(addr, self.sharing) {
            Ok(listener) => {
                if let Some(Listener::Failed { .. }) = before {
                    tracing::info!(%addr, %subject, "address opened at last");
                }
                let stop = self.stop.child_token();
                self.spawn_accept(listener, target, stop.clone());
                Listener::Open(stop.drop_guard())
            }
            Err(error) => {
                let now = Instant::now();
                match before {
                    Some(Listener::Failed { kind, reported })
                        if kind == error.kind() && now - reported < REPORT_AGAIN =>
                    {
                        Listener::Failed { kind, reported }
                    }
                    _ => {
                        self.report(addr, subject, &error);
                        Listener::Failed { kind: error.kind(), reported: now }
                    }
                }
            }
        }
    }

    fn report(&self, addr: SocketAddr, subject: &Subject, error: &io::Error) {
        let message = explain(addr, error);
        tracing::warn!(%addr, %subject, %error, "cannot listen");
        self.reporter.report(Report { subject: subject.clone(), reason: "ListenFailed", message });
    }

    fn spawn_accept(&self, listener: TcpListener, target: Target, stop: CancellationToken) {
        let accept = Accept {
            path: Arc::clone(&self.path),
            server: Arc::clone(&self.server),
            connections: Arc::clone(&self.connections),
            listener,
            target,
            stop,
        };
        self.path.tasks.spawn(accept.run());
    }

    fn count(&self) {
        let all = self.pods.len() + self.services.len();
        let failed = failed(&self.pods).chain(failed(&self.services)).count();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.path.metrics.listeners.set(gauge(all - failed));
        self.path.metrics.listeners_failed.set(gauge(failed));
    }
}

/// The addresses that could not be opened.
fn failed(listeners: &HashMap<SocketAddr, Listener>) -> impl Iterator<Item = SocketAddr> {
    listeners
        .iter()
        .filter(|(_, listener)| matches!(listener, Listener::Failed { .. }))
        .map(|(addr, _)| *addr)
}

/// Lets other tasks run now and then in a long loop.
async fn rest(count: usize) {
    if count % OPENED_AT_ONCE == OPENED_AT_ONCE - 1 {
        tokio::task::yield_now().await;
    }
}

/// Opens a listener on exactly this address.
pub(crate) fn bind(addr: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Connections of an earlier life of this address that still linger do not stand in the way.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::WithOtherNodes {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Says what stands in the way of listening, and what to do about it.
pub(crate) fn explain(addr: SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a right that this process lacks. Pods and the ingress address reach it all \
             the same; to open the address: sysctl net.ipv4.ip_unprivileged_port_start={}",
            addr.port()
        ),
        io::ErrorKind::AddrInUse => format!(
            "another program has the port, on this address or on all (see: ss -ltn sport = :{}). Pods and the \
             ingress address reach it all the same; it is tried again every {} seconds",
            addr.port(),
            RETRY.as_secs()
        ),
        io::ErrorKind::AddrNotAvailable => "the address is not one of this host".to_owned(),
        _ => format!("{error}; it is tried again every {} seconds", RETRY.as_secs()),
    };
    format!("Cannot listen on {addr}: {advice}")
}

/// Takes the connections of one listener. There is one for each pod, so it is small.
struct Accept {
    path: Arc<DataPath>,
    server: Arc<Server>,
    connections: Arc<Semaphore>,
    listener: TcpListener,
    target: Target,
    stop: CancellationToken,
}

impl Accept {
    async fn run(self) {
        let stop = self.stop.clone();
        // Dropping the loop closes the listener; accepted connections have their own tasks.
        let _ = stop.run_until_cancelled(self.accept()).await;
    }

    async fn accept(self) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_the_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections for a moment");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            // At the limit, this listener waits with one connection in hand, and the rest in its backlog.
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            let path = Arc::clone(&self.path);
            let server = Arc::clone(&self.server);
            let target = self.target.clone();
            let stop = self.stop.child_token();
            self.path.tasks.spawn(async move {
                path.metrics.connections.inc();
                serve(Arc::clone(&path), &server, stream, peer, target, stop).await;
                path.metrics.connections.dec();
                drop(permit);
            });
        }
    }
}

/// Errors that concern the one connection that was to be accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
