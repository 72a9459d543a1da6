//! The objects of an empty cluster: its namespaces, the Service by which pods find the API, and the roles that everybody
//! knows.
//!
//! They are created when they are missing, at the start of every term. The endpoints of the API's Service are the members
//! that vote, whoever leads: pods and nodes find all of them there.
//! What every namespace has besides is the business of `controllers::namespace_defaults`.

mod places;
mod priorities;
mod roles;
mod storage;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use isopod_raft_store::WatchEnd;
use isopod_spec::registry;
use isopod_spec::resource::Resource;
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::controllers::outcome;
use crate::membership::record::Roll;
use crate::objects::{DeleteOptions, Objects};

/// What the objects say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where this member's API really listens.
    pub api: SocketAddr,
    /// Its address as a Service: the first of the service range.
    pub service_address: Ipv4Addr,
    /// The certificate that the API's own is signed with, in PEM.
    pub root_ca_pem: String,
}

/// Namespaces that always exist.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Name of the API's Service and its endpoints.
const API: &str = "kubernetes";
/// The port of the Service.
const API_PORT: i32 = 443;
const API_PORT_NAME: &str = "https";
/// Wait between tries while the store cannot be written.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Creates what is missing, trying until it succeeds, and again whenever the members change; until `shutdown`.
pub(crate) async fn run(objects: Objects, config: Config, shutdown: CancellationToken) {
    let (store, roll) = (objects.store().clone(), Roll::of(objects.store()));
    let mut members = store.members();
    loop {
        let state = store.snapshot();
        let voters = members.borrow_and_update().voters.clone();
        let places = places::of(&roll.all(&state), &voters, config.api).await;
        if let Err(status) = create(&objects, &config, &places).await {
            tracing::warn!(%status, "the cluster's first objects are not complete yet");
            match shutdown.run_until_cancelled(tokio::time::sleep(RETRY_AFTER)).await {
                Some(()) => continue,
                None => return,
            }
        }
        let mut changes = match store.watch(roll.range(), state.revision()) {
            Ok(changes) => changes,
            Err(WatchEnd::Closed) => return shutdown.cancelled().await,
            // The state moved on between the two.
            Err(_) => continue,
        };
        // Cancel-safe: everything is looked at anew.
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = changes.next() => {}
            _ = members.changed() => {}
        }
    }
}

/// Creates what is missing and corrects where the API is.
async fn create(objects: &Objects, config: &Config, places: &[SocketAddr]) -> Result<(), Status> {
    for name in NAMESPACES {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        keep(objects, Namespace { metadata, ..Namespace::default() }, |_, _| None).await?;
    }
    keep(objects, service(config, places), at_real_port).await?;
    let slices = places::slices(places);
    let names: Vec<_> = slices.iter().filter_map(|slice| slice.metadata.name.clone()).collect();
    for slice in slices {
        keep(objects, slice, |stored: &EndpointSlice, wanted: &EndpointSlice| {
            let is_current = stored.endpoints == wanted.endpoints && stored.ports == wanted.ports;
            let (endpoints, ports) = (wanted.endpoints.clone(), wanted.ports.clone());
            (!is_current).then(|| EndpointSlice { endpoints, ports, ..stored.clone() })
        })
        .await?;
    }
    remove_others(objects, &names).await?;
    keep(objects, places::endpoints(places), |stored: &Endpoints, wanted: &Endpoints| {
        let subsets = wanted.subsets.clone();
        (stored.subsets != subsets).then(|| Endpoints { subsets, ..stored.clone() })
    })
    .await?;
    priorities::create(objects).await?;
    storage::create(objects).await?;
    roles::create(objects).await
}

/// Removes slices of members that are elsewhere now.
async fn remove_others(objects: &Objects, names: &[String]) -> Result<(), Status> {
    let slices = objects.list::<EndpointSlice>(&objects.store().snapshot(), Some("default"));
    for slice in slices.iter().filter(|slice| places::is_ours(slice)) {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        if !names.iter().any(|known| known == name) {
            let options = DeleteOptions { uid: slice.metadata.uid.clone(), ..DeleteOptions::default() };
            outcome::settled(objects.delete::<EndpointSlice>("default", name, &options).await)?;
        }
    }
    Ok(())
}

/// The key of what is created last: where it is, all is.
pub(crate) fn last_key() -> Vec<u8> {
    registry::kind_of::<Endpoints>().key("default", API)
}

/// The Service with the port at which the API really listens, if it has another one.
fn at_real_port(stored: &Service, wanted: &Service) -> Option<Service> {
    let port = |service: &Service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.filter(|port| port.port == API_PORT).find_map(|port| port.target_port.clone())
    };
    let target = port(wanted);
    if port(stored) == target {
        return None;
    }
    let mut corrected = stored.clone();
    let ports = corrected.spec.iter_mut().flat_map(|spec| spec.ports.iter_mut().flatten());
    for port in ports.filter(|port| port.port == API_PORT) {
        port.target_port.clone_from(&target);
    }
    Some(corrected)
}

/// Creates the object, or writes what `correct` makes of the stored one.
async fn keep<T: Resource>(
    objects: &Objects,
    wanted: T,
    correct: impl Fn(&T, &T) -> Option<T>,
) -> Result<(), Status> {
    let meta = wanted.metadata();
    let (namespace, name) =
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    match objects.get::<T>(&namespace, &name).await? {
        Some(stored) => match correct(&stored, &wanted) {
            Some(corrected) => objects.update(&corrected).await.map(drop),
            None => Ok(()),
        },
        None => match objects.create(wanted).await {
            Err(status) if outcome::is_taken(&status) => Ok(()),
            created => created.map(drop),
        },
    }
}

fn metadata(labels: &[(&str, &str)]) -> ObjectMeta {
    ObjectMeta {
        name: Some(API.to_owned()),
        namespace: Some("default".to_owned()),
        labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        ..ObjectMeta::default()
    }
}

fn service(config: &Config, places: &[SocketAddr]) -> Service {
    let port = ServicePort {
        name: Some(API_PORT_NAME.to_owned()),
        port: API_PORT,
        protocol: Some("TCP".to_owned()),
        // Where members listen on several ports, that of the first.
        target_port: places.first().map(|place| IntOrString::Int(i32::from(place.port()))),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(&[("component", "apiserver"), ("provider", "kubernetes")]),
        spec: Some(ServiceSpec {
            cluster_ip: Some(config.service_address.to_string()),
            ports: Some(vec![port]),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
