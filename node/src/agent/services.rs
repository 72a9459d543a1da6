//! The Services of the cluster, as far as containers are told of them in variables.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::env::{Link, LinkPort, links};

/// Services by namespace and name. A cheap handle.
#[derive(Clone)]
pub struct Services {
    known: Arc<RwLock<HashMap<String, BTreeMap<String, Link>>>>,
    synced: watch::Receiver<bool>,
}

/// The task that keeps [`Services`] up to date.
pub struct ServiceWatch {
    known: Arc<RwLock<HashMap<String, BTreeMap<String, Link>>>>,
    synced: watch::Sender<bool>,
    client: kube::Client,
}

/// Whether a container is told of the Services in its namespace, or only of the API server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `enableServiceLinks: true`, the default.
    Namespace,
    /// `enableServiceLinks: false`.
    ApiServer,
}

impl Services {
    /// The handle and its task.
    pub fn new(client: kube::Client) -> (Self, ServiceWatch) {
        let (sender, synced) = watch::channel(false);
        let known: Arc<RwLock<_>> = Arc::default();
        (Self { known: known.clone(), synced }, ServiceWatch { known, synced: sender, client })
    }

    /// Waits until all Services that exist are known.
    pub async fn synced(&mut self) {
        // An error means that the task ended, and with it the node.
        self.synced.wait_for(|synced| *synced).await.ok();
    }

    /// The variables for a container in `namespace`.
    pub fn variables(&self, namespace: &str, scope: Scope) -> BTreeMap<String, String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let api_server = known.get("default").and_then(|services| services.get("kubernetes"));
        let own = known.get(namespace).filter(|_| scope == Scope::Namespace);
        // The API server's come last: a Service of the same name elsewhere does not hide them.
        links(own.into_iter().flat_map(BTreeMap::values).chain(api_server))
    }
}

impl ServiceWatch {
    /// Follows the cluster until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let api: Api<Service> = Api::all(self.client.clone());
        let mut changes = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed = HashMap::new();
        while let Some(Some(change)) = shutdown.run_until_cancelled(changes.next()).await {
            match change {
                Ok(change) => self.take(change, &mut listed),
                Err(error) => tracing::warn!(%error, "watching Services is interrupted"),
            }
        }
    }

    fn take(&self, change: Event<Service>, listed: &mut HashMap<String, BTreeMap<String, Link>>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Event::Init => listed.clear(),
            Event::InitApply(service) => put(listed, &service),
            Event::InitDone => {
                *known = std::mem::take(listed);
                self.synced.send_replace(true);
            }
            Event::Apply(service) => put(&mut known, &service),
            Event::Delete(service) => remove(&mut known, &service),
        }
    }
}

fn put(known: &mut HashMap<String, BTreeMap<String, Link>>, service: &Service) {
    match link(service) {
        Some(link) => {
            let services = known.entry(service.namespace().unwrap_or_default()).or_default();
            services.insert(link.name.clone(), link);
        }
        None => remove(known, service),
    }
}

fn remove(known: &mut HashMap<String, BTreeMap<String, Link>>, service: &Service) {
    if let Some(services) = known.get_mut(&service.namespace().unwrap_or_default()) {
        services.remove(&service.name_any());
    }
}

/// `None` for a Service without an address of its own.
fn link(service: &Service) -> Option<Link> {
    let spec = service.spec.as_ref()?;
    let address = spec.cluster_ip.clone().filter(|address| !address.is_empty() && address != "None")?;
    let ports: Vec<_> = spec
        .ports
        .iter()
        .flatten()
        .map(|port| LinkPort {
            name: port.name.clone().unwrap_or_default(),
            port: port.port,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        })
        .collect();
    (!ports.is_empty()).then(|| Link { name: service.name_any(), address, ports })
}
