//! What the first objects say. That they come to be is tested with the controllers.

use super::{Config, endpoints, service, slice};

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
