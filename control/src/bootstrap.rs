//! The objects of an empty cluster: its namespaces, the Service by which pods find the API, and the roles that everybody
//! knows.
//!
//! They are created when they are missing, at the start of every term, and the API's address is kept up to date.
//! What every namespace has besides is the business of `controllers::namespace_defaults`.

mod priorities;
mod roles;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use isopod_spec::registry;
use isopod_spec::resource::Resource;
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Namespace, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{self as discovery, Endpoint, EndpointConditions, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::controllers::endpoint_slice::SERVICE_NAME;
use crate::controllers::outcome;
use crate::objects::Objects;

/// What the objects say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the API really listens.
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

/// Creates what is missing, trying until it succeeds; then waits for `shutdown`.
pub(crate) async fn run(objects: Objects, config: Config, shutdown: CancellationToken) {
    while let Err(status) = create(&objects, &config).await {
        tracing::warn!(%status, "the cluster's first objects are not complete yet");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY_AFTER) => {}
        }
    }
    shutdown.cancelled().await;
}

/// Creates what is missing and corrects the API's address.
///
/// # Errors
/// A write was refused; what was created before stays.
pub async fn create(objects: &Objects, config: &Config) -> Result<(), Status> {
    for name in NAMESPACES {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        keep(objects, Namespace { metadata, ..Namespace::default() }, |_, _| None).await?;
    }
    keep(objects, service(config), at_real_port).await?;
    keep(objects, slice(config), |stored: &EndpointSlice, wanted: &EndpointSlice| {
        let is_current = stored.endpoints == wanted.endpoints && stored.ports == wanted.ports;
        let (endpoints, ports) = (wanted.endpoints.clone(), wanted.ports.clone());
        (!is_current).then(|| EndpointSlice { endpoints, ports, ..stored.clone() })
    })
    .await?;
    keep(objects, endpoints(config), |stored: &Endpoints, wanted: &Endpoints| {
        let subsets = wanted.subsets.clone();
        (stored.subsets != subsets).then(|| Endpoints { subsets, ..stored.clone() })
    })
    .await?;
    priorities::create(objects).await?;
    roles::create(objects).await
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

fn service(config: &Config) -> Service {
    let port = ServicePort {
        name: Some(API_PORT_NAME.to_owned()),
        port: API_PORT,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(config.api.port()))),
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

/// A wildcard is no address that anybody could connect to.
fn reachable(config: &Config) -> String {
    match config.api.ip() {
        address if !address.is_unspecified() => address.to_string(),
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.to_string(),
    }
}

fn slice(config: &Config) -> EndpointSlice {
    let port = discovery::EndpointPort {
        name: Some(API_PORT_NAME.to_owned()),
        port: Some(i32::from(config.api.port())),
        protocol: Some("TCP".to_owned()),
        app_protocol: None,
    };
    let endpoint = Endpoint {
        addresses: vec![reachable(config)],
        conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
        ..Endpoint::default()
    };
    EndpointSlice {
        metadata: metadata(&[(SERVICE_NAME, API)]),
        address_type: if config.api.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        endpoints: Some(vec![endpoint]),
        ports: Some(vec![port]),
    }
}

fn endpoints(config: &Config) -> Endpoints {
    let port = EndpointPort {
        name: Some(API_PORT_NAME.to_owned()),
        port: i32::from(config.api.port()),
        protocol: Some("TCP".to_owned()),
        app_protocol: None,
    };
    let address = EndpointAddress { ip: reachable(config), ..EndpointAddress::default() };
    let subset =
        EndpointSubset { addresses: Some(vec![address]), not_ready_addresses: None, ports: Some(vec![port]) };
    Endpoints {
        metadata: metadata(&[("endpointslice.kubernetes.io/skip-mirror", "true")]),
        subsets: Some(vec![subset]),
    }
}
