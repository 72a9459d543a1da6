//! Where the members' APIs are, as the endpoints of `default/kubernetes`. A slice has one family of addresses and one port,
//! so members that listen on different ports, as those of one machine do, are in slices of their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use isopod_raft_store::MemberId;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{self as discovery, Endpoint, EndpointConditions, EndpointSlice};

use super::{API, API_PORT_NAME, metadata};
use crate::controllers::endpoint_slice::SERVICE_NAME;
use crate::membership::record::{Record, Standing};

/// The APIs of those that vote and stay, in the order of their numbers; that of this member alone while no record says
/// anything, in the first moments of a cluster. A host that has no address now is left out.
pub(super) async fn of(
    records: &BTreeMap<MemberId, Record>,
    voters: &[MemberId],
    own: SocketAddr,
) -> Vec<SocketAddr> {
    let mut places = Vec::new();
    for (member, record) in records {
        if record.standing != Standing::Stays || !voters.contains(member) {
            continue;
        }
        match tokio::net::lookup_host(&record.api_address).await.map(|mut found| found.next()) {
            Ok(Some(place)) if !places.contains(&place) => places.push(place),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%member, host = record.api_address, %error, "the API of a member has no address");
            }
        }
    }
    if places.is_empty() { vec![reachable(own)] } else { places }
}

/// A wildcard is no address that anybody could connect to.
pub(super) fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listens.port())
}

/// Places with the same port, each group where its first was.
fn by_port(places: &[SocketAddr]) -> Vec<Vec<SocketAddr>> {
    let mut groups: Vec<Vec<SocketAddr>> = Vec::new();
    let is_same =
        |one: &SocketAddr, other: &SocketAddr| (one.is_ipv4(), one.port()) == (other.is_ipv4(), other.port());
    for place in places {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| is_same(first, place))) {
            Some(group) => group.push(*place),
            None => groups.push(vec![*place]),
        }
    }
    groups
}

/// The slices; the first has the name that clients look for.
pub(super) fn slices(places: &[SocketAddr]) -> Vec<EndpointSlice> {
    let groups = by_port(places).into_iter().enumerate();
    let slices = groups.filter_map(|(index, group)| {
        let first = *group.first()?;
        let family = if first.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut metadata = metadata(&[(SERVICE_NAME, API)]);
        if index > 0 {
            metadata.name = Some(format!("{API}-{}-{}", family.to_lowercase(), first.port()));
        }
        let endpoint = |place: &SocketAddr| Endpoint {
            addresses: vec![place.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        };
        let port = discovery::EndpointPort {
            name: Some(API_PORT_NAME.to_owned()),
            port: Some(i32::from(first.port())),
            protocol: Some("TCP".to_owned()),
            app_protocol: None,
        };
        Some(EndpointSlice {
            metadata,
            address_type: family.to_owned(),
            endpoints: Some(group.iter().map(endpoint).collect()),
            ports: Some(vec![port]),
        })
    });
    slices.collect()
}

/// Whether a slice was made here.
pub(super) fn is_ours(slice: &EndpointSlice) -> bool {
    let meta = &slice.metadata;
    let labels = meta.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
    let name = meta.name.as_deref().and_then(|name| name.strip_prefix(API));
    labels.is_some_and(|service| service == API)
        && name.is_some_and(|rest| rest.is_empty() || rest.starts_with("-ipv"))
}

/// The same in the older form, which has room for several ports in one object.
pub(super) fn endpoints(places: &[SocketAddr]) -> Endpoints {
    let subset = |group: &Vec<SocketAddr>| {
        let port = EndpointPort {
            name: Some(API_PORT_NAME.to_owned()),
            port: group.first().map_or(0, |first| i32::from(first.port())),
            protocol: Some("TCP".to_owned()),
            app_protocol: None,
        };
        let address =
            |place: &SocketAddr| EndpointAddress { ip: place.ip().to_string(), ..EndpointAddress::default() };
        EndpointSubset {
            addresses: Some(group.iter().map(address).collect()),
            not_ready_addresses: None,
            ports: Some(vec![port]),
        }
    };
    Endpoints {
        metadata: metadata(&[("endpointslice.kubernetes.io/skip-mirror", "true")]),
        subsets: Some(by_port(places).iter().map(subset).collect()),
    }
}
