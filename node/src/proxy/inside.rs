//! Services and names inside the networks of pods that have one of their own: the same addresses answer there as
//! elsewhere, through listeners opened in there.
//!
//! Level-driven as the listeners outside: whatever changed, each network has a listener for each Service address and
//! for each port that a WebAssembly container of the same pod answers, and no other.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::{Server, Target, serve};
use super::facts::Place;
use super::path::DataPath;
use super::routes::Side;
use crate::docker::NAME_SERVER;
use crate::local::{Outbound, PodIdentity};
use crate::names::dns;
use crate::namespace::Namespace;

/// What could not be opened is tried again after this, and containers of the same pod are looked for.
const AGAIN: Duration = Duration::from_millis(500);
/// When accepting fails, it rests this long.
const REST: Duration = Duration::from_millis(50);
/// The port of name servers.
const NAMES: u16 = 53;
/// Questions are small; what is longer is none.
const QUESTION_BYTES: usize = 1024;

/// Keeps the listeners inside.
pub(crate) struct Inside {
    pub(crate) path: Arc<DataPath>,
    pub(crate) names: Arc<dyn Outbound>,
    pub(crate) stop: CancellationToken,
}

/// One network and what is open in it.
struct House {
    network: Arc<Namespace>,
    open: HashMap<SocketAddr, DropGuard>,
    names: Option<DropGuard>,
}

impl Inside {
    /// Follows the changes until stopped.
    pub(crate) async fn run(self) {
        let mut houses = HashMap::new();
        let (mut swaps, mut changes) = (self.path.swaps(), self.path.local.houses());
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let server = Arc::new(Server::new(&self.path));
        loop {
            // Cancel-safe: each branch only says that it is time to look.
            tokio::select! {
                swapped = swaps.changed() => if swapped.is_err() { return },
                // The sender is in `path`.
                _ = changes.changed() => {}
                _ = again.tick(), if !houses.is_empty() => {}
                () = self.stop.cancelled() => return,
            }
            self.follow(&server, &mut houses).await;
        }
    }

    async fn follow(&self, server: &Arc<Server>, houses: &mut HashMap<IpAddr, House>) {
        let now = self.path.local.networks();
        houses.retain(|addr, house| {
            now.iter().any(|(pod, network)| pod.addr == *addr && Arc::ptr_eq(network, &house.network))
        });
        for (pod, network) in now {
            let new = House { network, open: HashMap::new(), names: None };
            let house = houses.entry(pod.addr).or_insert(new);
            self.furnish(server, &pod, house).await;
        }
    }

    /// Opens what is to be open in one network, and closes the rest.
    async fn furnish(&self, server: &Arc<Server>, pod: &Arc<PodIdentity>, house: &mut House) {
        let wanted = self.wanted(pod.addr);
        let addrs: HashSet<SocketAddr> = wanted.iter().map(|(addr, _)| *addr).collect();
        house.open.retain(|addr, _| addrs.contains(addr));
        for (addr, target) in wanted {
            if house.open.contains_key(&addr) {
                continue;
            }
            match house.network.listen(addr).await {
                Ok(listener) => {
                    let stop = self.stop.child_token();
                    let accept =
                        accept(self.path.clone(), server.clone(), listener, pod.addr, target, stop.clone());
                    self.path.tasks.spawn(accept);
                    house.open.insert(addr, stop.drop_guard());
                }
                // The pod has the port itself, perhaps on all addresses.
                Err(error) => tracing::debug!(pod = pod.name, %addr, %error, "not open inside the pod"),
            }
        }
        if house.names.is_none()
            && let Ok(server) = NAME_SERVER.parse::<IpAddr>()
            && let Ok(socket) = house.network.datagrams(SocketAddr::new(server, NAMES)).await
        {
            let stop = self.stop.child_token();
            self.path.tasks.spawn(answer_names(socket, pod.clone(), self.names.clone(), stop.clone()));
            house.names = Some(stop.drop_guard());
        }
    }

    fn wanted(&self, pod: IpAddr) -> Vec<(SocketAddr, Target)> {
        let routes = self.path.routes();
        let services = routes.addresses().filter(|(_, route)| route.side == Side::Inside);
        let mut wanted: Vec<_> = services.map(|(addr, _)| (addr, Target::Service(addr))).collect();
        wanted.extend(self.path.local.registered_at(pod).into_iter().map(|addr| {
            let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port());
            (everywhere, Target::Pod(self.path.endpoints.intern(addr, Place::Here)))
        }));
        wanted
    }
}

/// Takes the connections of one listener. Whatever address the kernel chose for it, the caller is the pod.
async fn accept(
    path: Arc<DataPath>,
    server: Arc<Server>,
    listener: TcpListener,
    from: IpAddr,
    target: Target,
    stop: CancellationToken,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                let (path, server, target) = (path.clone(), server.clone(), target.clone());
                let (peer, stop) = (SocketAddr::new(from, peer.port()), stop.child_token());
                path.clone()
                    .tasks
                    .spawn(async move { serve(path, &server, stream, peer, target, stop).await });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection inside a pod was not accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Answers questions for names.
async fn answer_names(
    socket: UdpSocket,
    pod: Arc<PodIdentity>,
    names: Arc<dyn Outbound>,
    stop: CancellationToken,
) {
    let mut question = [0; QUESTION_BYTES];
    while let Some(received) = stop.run_until_cancelled(socket.recv_from(&mut question)).await {
        let Ok((length, asker)) = received else {
            tokio::time::sleep(REST).await;
            continue;
        };
        if let Some(answer) = dns::answer(&question[..length], |name| names.resolve(&pod, name)) {
            // Who asked may be gone; then nobody misses it.
            socket.send_to(&answer, asker).await.ok();
        }
    }
}
