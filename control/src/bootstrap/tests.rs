//! What the first objects say. That they come to be is tested with the controllers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use isopod_raft_store::MemberId;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Config, at_real_port, places, service};
use crate::membership::record::{Record, Standing};

fn config(api: &str) -> Config {
    Config {
        api: api.parse().unwrap(),
        service_address: "10.43.0.1".parse().unwrap(),
        root_ca_pem: "pem".to_owned(),
    }
}

fn places(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_api_is_found_under_its_service_address_and_real_port() {
    let service = service(&config("192.0.2.7:7443"), &places(&["192.0.2.7:7443"])).spec.unwrap();
    assert_eq!(service.cluster_ip.as_deref(), Some("10.43.0.1"));
    let port = &service.ports.unwrap()[0];
    assert_eq!((port.name.as_deref(), port.port), (Some("https"), 443));
}

#[tokio::test]
async fn the_first_member_is_found_before_it_has_written_anything_down() {
    for (listens, place) in [
        ("192.0.2.7:7443", "192.0.2.7:7443"),
        ("0.0.0.0:6443", "127.0.0.1:6443"),
        ("[::]:6443", "[::1]:6443"),
    ] {
        let found = places::of(&BTreeMap::new(), &[MemberId(1)], listens.parse().unwrap()).await;
        assert_eq!(found, places(&[place]));
    }
}

#[tokio::test]
async fn endpoints_are_the_members_that_vote_and_stay() {
    let record = |number: u64, standing| {
        let api_address = format!("192.0.2.{number}:6443");
        let (name, peer_address) = (format!("m{number}"), String::new());
        (MemberId(number), Record { name, peer_address, api_address, standing, asked_by: None })
    };
    let records = [
        record(1, Standing::Stays),
        record(2, Standing::Leaves),
        record(3, Standing::Stays),
        record(4, Standing::Stays),
    ];
    let voters = [1, 2, 3].map(MemberId);
    let found = places::of(&BTreeMap::from(records), &voters, "192.0.2.9:1".parse().unwrap()).await;
    assert_eq!(found, places(&["192.0.2.1:6443", "192.0.2.3:6443"]));
}

fn described(slice: &EndpointSlice) -> String {
    let addresses: Vec<_> =
        slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses).collect();
    let port = slice.ports.iter().flatten().find_map(|port| port.port).unwrap();
    format!("{} {} {port} {addresses:?}", slice.metadata.name.as_deref().unwrap(), slice.address_type)
}

#[test]
fn members_on_several_ports_are_in_slices_of_their_own() {
    let on_one_port = places::slices(&places(&["192.0.2.1:6443", "192.0.2.2:6443"]));
    assert_eq!(
        on_one_port.iter().map(described).collect::<Vec<_>>(),
        [r#"kubernetes IPv4 6443 ["192.0.2.1", "192.0.2.2"]"#]
    );
    let mixed = places(&["127.0.0.1:7001", "127.0.0.1:7002", "[::1]:7002"]);
    let slices = places::slices(&mixed);
    assert_eq!(
        slices.iter().map(described).collect::<Vec<_>>(),
        [
            r#"kubernetes IPv4 7001 ["127.0.0.1"]"#,
            r#"kubernetes-ipv4-7002 IPv4 7002 ["127.0.0.1"]"#,
            r#"kubernetes-ipv6-7002 IPv6 7002 ["::1"]"#,
        ]
    );
    assert!(slices.iter().all(places::is_ours));
    let mut other = slices[0].clone();
    other.metadata.name = Some("kubernetes-mine".into());
    assert!(!places::is_ours(&other));
    assert_eq!(places::endpoints(&mixed).subsets.unwrap().len(), 3);
}

#[test]
fn the_service_leads_to_the_port_that_the_api_has_now() {
    let at = |place: &str| service(&config(place), &places(&[place]));
    let (before, now) = (at("192.0.2.7:7443"), at("192.0.2.7:7444"));
    assert_eq!(at_real_port(&before, &before), None);
    let mut labelled = before.clone();
    labelled.metadata.labels.get_or_insert_default().insert("mine".into(), "stays".into());
    let corrected = at_real_port(&labelled, &now).unwrap();
    assert_eq!(corrected.metadata, labelled.metadata);
    let port = &corrected.spec.unwrap().ports.unwrap()[0];
    assert_eq!((port.port, &port.target_port), (443, &Some(IntOrString::Int(7444))));
}
