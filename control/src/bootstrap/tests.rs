//! What the first objects say. That they come to be is tested with the controllers.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Config, at_real_port, endpoints, service, slice};

fn config(api: &str) -> Config {
    Config {
        api: api.parse().unwrap(),
        service_address: "10.43.0.1".parse().unwrap(),
        root_ca_pem: "pem".to_owned(),
    }
}

#[test]
fn the_api_is_found_under_its_service_address_and_real_port() {
    let service = service(&config("192.0.2.7:7443")).spec.unwrap();
    assert_eq!(service.cluster_ip.as_deref(), Some("10.43.0.1"));
    let port = &service.ports.unwrap()[0];
    assert_eq!((port.name.as_deref(), port.port), (Some("https"), 443));
}

#[test]
fn endpoints_name_an_address_that_can_be_reached() {
    for (api, family, address) in [
        ("192.0.2.7:7443", "IPv4", "192.0.2.7"),
        ("0.0.0.0:6443", "IPv4", "127.0.0.1"),
        ("[::]:6443", "IPv6", "::1"),
    ] {
        let config = config(api);
        let slice = slice(&config);
        assert_eq!(slice.address_type, family);
        assert_eq!(slice.endpoints.unwrap()[0].addresses, [address]);
        assert_eq!(endpoints(&config).subsets.unwrap()[0].addresses.as_ref().unwrap()[0].ip, address);
    }
}

#[test]
fn the_service_leads_to_the_port_that_the_api_has_now() {
    let (before, now) = (service(&config("192.0.2.7:7443")), service(&config("192.0.2.7:7444")));
    assert_eq!(at_real_port(&before, &before), None);
    let mut labelled = before.clone();
    labelled.metadata.labels.get_or_insert_default().insert("mine".into(), "stays".into());
    let corrected = at_real_port(&labelled, &now).unwrap();
    assert_eq!(corrected.metadata, labelled.metadata);
    let port = &corrected.spec.unwrap().ports.unwrap()[0];
    assert_eq!((port.port, &port.target_port), (443, &Some(IntOrString::Int(7444))));
}
