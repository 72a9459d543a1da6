//! Addresses and node ports: given out, honoured, refused, freed.

use serde_json::{Value, json};

use super::*;

fn service(spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec}))
        .expect("a service")
}

fn range() -> ServiceRange {
    "10.43.0.0/24".parse().expect("a range")
}

/// What assigning does, as `ip ports; +claimed -freed`.
fn shown(service: &Service, old: Option<&Service>, taken: &[&str]) -> String {
    let mut service = service.clone();
    let taken: BTreeSet<String> = taken.iter().map(|own| (*own).to_owned()).collect();
    let is_taken = |key: &str| taken.iter().any(|own| key.ends_with(&format!("/{own}")));
    match assign_free(&mut service, old, range(), &is_taken, 0) {
        Err(Refusal::Full(why)) => why.to_owned(),
        Err(Refusal::Invalid(errors)) => errors.message(),
        Ok(additions) => {
            let spec = service.spec.unwrap_or_default();
            let ports: Vec<String> =
                spec.ports.iter().flatten().map(|port| port.node_port.unwrap_or(0).to_string()).collect();
            let short =
                |key: &Bytes| String::from_utf8_lossy(key).rsplit('/').next().unwrap_or_default().to_owned();
            let ops: Vec<String> = additions
                .ops
                .iter()
                .map(|op| match op {
                    Op::Put(key, _) => format!("+{}", short(key)),
                    Op::Delete(key) => format!("-{}", short(key)),
                })
                .collect();
            let claimed = additions.ops.iter().filter(|op| matches!(op, Op::Put(..))).count();
            assert_eq!(additions.compares.len(), claimed, "each claim is under a compare");
            format!("{} {}; {}", spec.cluster_ip.unwrap_or_default(), ports.join(","), ops.join(" "))
        }
    }
}

#[test]
fn services_get_what_their_type_needs() {
    let ports = json!([{"port": 80}]);
    for (spec, taken, expected) in [
        (json!({"ports": ports}), vec![], "10.43.0.17 0; +10.43.0.17"),
        (json!({"ports": ports}), vec!["10.43.0.17"], "10.43.0.18 0; +10.43.0.18"),
        (json!({"clusterIP": "None", "ports": ports}), vec![], "None 0; "),
        (json!({"type": "ExternalName", "externalName": "x.y"}), vec![], " ; "),
        (json!({"clusterIP": "10.43.0.5", "ports": ports}), vec![], "10.43.0.5 0; +10.43.0.5"),
        (json!({"type": "NodePort", "ports": ports}), vec!["30086"], "10.43.0.17 30087; +10.43.0.17 +30087"),
        (
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}),
            vec![],
            "10.43.0.17 0; +10.43.0.17",
        ),
        (
            json!({"type": "NodePort", "ports": [
                {"port": 53, "protocol": "TCP", "nodePort": 30053}, {"port": 53, "protocol": "UDP", "nodePort": 30053}
            ]}),
            vec![],
            "10.43.0.17 30053,30053; +10.43.0.17 +30053",
        ),
        (
            json!({"clusterIP": "10.43.0.5"}),
            vec!["10.43.0.5"],
            "spec.clusterIPs: Invalid value: [\"10.43.0.5\"]: failed to allocate IP 10.43.0.5: provided IP is already allocated",
        ),
        (
            json!({"clusterIP": "10.43.0.255"}),
            vec![],
            "spec.clusterIPs: Invalid value: [\"10.43.0.255\"]: failed to allocate IP 10.43.0.255: the provided IP (10.43.0.255) is not in the valid range. The range of valid IPs is 10.43.0.0/24",
        ),
    ] {
        assert_eq!(shown(&service(spec.clone()), None, &taken), expected, "{spec}");
    }
}

#[test]
fn updates_keep_move_and_free() {
    let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30100}]);
    let old = service(
        json!({"type": "NodePort", "clusterIP": "10.43.0.20", "clusterIPs": ["10.43.0.20"], "ports": ports}),
    );
    let held = ["10.43.0.20", "30100"];
    let port = |number: u16| json!([{"port": number, "protocol": "TCP"}]);
    for (spec, expected) in [
        (json!({"type": "NodePort", "ports": port(80)}), "10.43.0.20 30100; "),
        (json!({"type": "ClusterIP", "ports": port(80)}), "10.43.0.20 0; -30100"),
        (
            json!({"type": "ClusterIP", "clusterIP": "10.43.0.20", "clusterIPs": ["10.43.0.20"], "ports": ports}),
            "10.43.0.20 0; -30100",
        ),
        (json!({"type": "NodePort", "ports": port(81)}), "10.43.0.20 30086; +30086 -30100"),
        (
            json!({"type": "ExternalName", "externalName": "x.y", "clusterIP": "10.43.0.20", "clusterIPs": ["10.43.0.20"]}),
            " ; -10.43.0.20 -30100",
        ),
    ] {
        assert_eq!(shown(&service(spec.clone()), Some(&old), &held), expected, "{spec}");
    }
    let freed: Vec<Op> = release(&old).ops;
    assert_eq!(freed.len(), 2);
}

#[test]
fn the_last_address_is_found_and_then_none() {
    let all: BTreeSet<u32> = (0..254).collect();
    for free in [0, 15, 16, 100, 253] {
        let only = |offset: u32| offset == free;
        for seed in [0, 7, u32::MAX] {
            assert_eq!(pick(254, &ADDRESS_BAND, seed, only), Some(free));
        }
    }
    assert_eq!(pick(254, &ADDRESS_BAND, 9, |offset| !all.contains(&offset)), None);
}

#[test]
fn ranges_are_read_and_bounded() {
    for (text, first, size) in [("10.43.0.0/16", "10.43.0.1", 65534), ("127.43.7.9/24", "127.43.7.1", 254)] {
        let range: ServiceRange = text.parse().expect(text);
        assert_eq!((range.first().to_string().as_str(), range.size()), (first, size));
        assert!(range.contains(range.first()));
        assert!(!range.contains(Ipv4Addr::from_bits(range.base)));
    }
    for text in ["", "10.43.0.0", "10.43.0.0/33", "10.43.0.0/29", "fd00::/64", "10.43.0/16"] {
        assert!(text.parse::<ServiceRange>().is_err(), "{text}");
    }
}
