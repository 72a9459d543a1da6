//! Tables: objects in, routes out.

use std::fmt::Write;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::*;
use crate::local::LocalPods;
use crate::proxy::endpoint::Endpoints;
use crate::proxy::metrics::Metrics;
use crate::proxy::routes::Routes;

/// Compiles a Service of this spec with these slices on node `here`, and renders all that was made of it.
fn check(spec: Value, slices: &[Value], expected: Expect) {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "u1"}, "spec": spec,
    }))
    .unwrap();
    let slices: Vec<SliceFacts> = slices
        .iter()
        .map(|slice| SliceFacts::of(&serde_json::from_value::<EndpointSlice>(slice.clone()).unwrap(), "here"))
        .collect();
    let name = Arc::new(ServiceName::new("shop", "web"));
    let endpoints = Endpoints::new(LocalPods::default());
    let route = compile(
        &name,
        &ServiceFacts::of(&service),
        &slices.iter().collect::<Vec<_>>(),
        &Metrics::default().service(&name),
        &mut |addr, place| endpoints.intern(addr, place),
    );
    let routes = Routes::new([Arc::new(route)], Some([127, 0, 0, 1].into()));
    expected.assert_eq(&render(&routes));
}

fn render(routes: &Routes) -> String {
    let mut text = String::new();
    for service in routes.services() {
        for port in &service.ports {
            let list = |backends: &Backends| {
                let addrs: Vec<_> =
                    backends.endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect();
                format!("{} of {}", addrs.join(" "), backends.of)
            };
            let (inside, outside) = (list(&port.inside), list(&port.outside));
            let _ = write!(text, "{:?} {:?} {:?}: {inside}", port.name, port.protocol, port.affinity);
            let _ = writeln!(
                text,
                "{}",
                if inside == outside { String::new() } else { format!("; outside: {outside}") }
            );
        }
        let hosts: Vec<_> = service
            .hosts
            .iter()
            .map(|host| format!("{}={}", host.hostname.as_deref().unwrap_or_default(), host.addr))
            .collect();
        let _ = writeln!(text, "hosts: {}", hosts.join(" "));
        if let Reach::Alias(name) = &service.reach {
            let _ = writeln!(text, "alias of {name}");
        }
    }
    let mut addresses: Vec<_> = routes
        .addresses()
        .map(|(addr, route)| format!("{addr} {:?} {:?}", route.side, route.port.name))
        .collect();
    addresses.sort_unstable();
    let _ = write!(text, "listens: {}", addresses.join(", "));
    text
}

fn slice(ports: Value, endpoints: Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": "web-1"}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints})
}

/// An endpoint 127.42.0.`last` on node `node` with these conditions: ready, serving, terminating.
fn endpoint(last: u8, node: &str, conditions: [bool; 3]) -> Value {
    let [ready, serving, terminating] = conditions;
    json!({
        "addresses": [format!("127.42.0.{last}")],
        "nodeName": node,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    })
}

const READY: [bool; 3] = [true, true, false];
const STARTING: [bool; 3] = [false, false, false];
const DRAINING: [bool; 3] = [false, true, true];
const GONE: [bool; 3] = [false, false, true];

fn one_port() -> Value {
    json!({"type": "ClusterIP", "clusterIP": "127.43.0.9", "clusterIPs": ["127.43.0.9"], "ports": [{"port": 80, "targetPort": 8080}]})
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

#[test]
fn cluster_address_leads_to_ready_endpoints() {
    let slices = [slice(
        json!([{"name": "", "port": 8080}]),
        json!([
            endpoint(2, "here", READY),
            endpoint(1, "there", READY),
            endpoint(3, "here", STARTING),
            endpoint(4, "here", DRAINING)
        ]),
    )];
    check(
        one_port(),
        &slices,
        expect![[r#"
            "" Unsaid None: 127.42.0.1:8080 127.42.0.2:8080 of 4
            hosts: =127.42.0.1 =127.42.0.2
            listens: 127.43.0.9:80 Inside """#]],
    );
}

#[test]
fn conditions_left_out_mean_ready() {
    let slices = [slice(json!([{"port": 8080}]), json!([{"addresses": ["127.42.0.1"]}]))];
    check(
        one_port(),
        &slices,
        expect![[r#"
            "" Unsaid None: 127.42.0.1:8080 of 1
            hosts: =127.42.0.1
            listens: 127.43.0.9:80 Inside """#]],
    );
}

#[test]
fn draining_endpoints_serve_only_where_none_is_ready() {
    let slices = [slice(
        json!([{"name": "", "port": 8080}]),
        json!([endpoint(1, "here", GONE), endpoint(2, "here", DRAINING), endpoint(3, "here", STARTING)]),
    )];
    check(
        one_port(),
        &slices,
        expect![[r#"
            "" Unsaid None: 127.42.0.2:8080 of 3
            hosts: 
            listens: 127.43.0.9:80 Inside """#]],
    );
}

#[test]
fn published_endpoints_need_not_be_ready() {
    let slices = [slice(json!([{"name": "", "port": 8080}]), json!([endpoint(3, "here", STARTING)]))];
    check(
        with(one_port(), "publishNotReadyAddresses", json!(true)),
        &slices,
        expect![[r#"
            "" Unsaid None: 127.42.0.3:8080 of 1
            hosts: =127.42.0.3
            listens: 127.43.0.9:80 Inside """#]],
    );
}

#[test]
fn endpoint_in_two_slices_counts_once_in_its_better_state() {
    let slices = [
        slice(json!([{"name": "", "port": 8080}]), json!([endpoint(1, "here", STARTING)])),
        slice(json!([{"name": "", "port": 8080}]), json!([endpoint(1, "here", READY)])),
    ];
    check(
        one_port(),
        &slices,
        expect![[r#"
            "" Unsaid None: 127.42.0.1:8080 of 1
            hosts: =127.42.0.1
            listens: 127.43.0.9:80 Inside """#]],
    );
}

#[test]
fn named_ports_meet_by_name_and_may_differ_by_slice() {
    let spec = json!({
        "clusterIP": "127.43.0.9",
        "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"},
            {"name": "grpc", "port": 9000},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ],
    });
    let slices = [
        slice(
            json!([{"name": "http", "port": 8080}, {"name": "grpc", "port": 9000, "appProtocol": "kubernetes.io/h2c"}]),
            json!([endpoint(1, "here", READY)]),
        ),
        slice(
            json!([{"name": "http", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"}]),
            json!([endpoint(2, "here", READY)]),
        ),
    ];
    check(
        spec,
        &slices,
        expect![[r#"
            "http" Http None: 127.42.0.1:8080 127.42.0.2:8081 of 2
            "grpc" Http2 None: 127.42.0.1:9000 of 1
            hosts: =127.42.0.1 =127.42.0.2
            listens: 127.43.0.9:80 Inside "http", 127.43.0.9:9000 Inside "grpc""#]],
    );
}

#[test]
fn node_port_listens_and_has_its_own_policy() {
    let spec = json!({
        "type": "NodePort",
        "clusterIP": "127.43.0.9",
        "externalTrafficPolicy": "Local",
        "sessionAffinity": "ClientIP",
        "ports": [{"port": 80, "nodePort": 30080}],
    });
    let slices = [slice(
        json!([{"name": "", "port": 80}]),
        json!([endpoint(1, "here", READY), endpoint(2, "there", READY)]),
    )];
    check(
        spec,
        &slices,
        expect![[r#"
            "" Unsaid ClientIp: 127.42.0.1:80 127.42.0.2:80 of 2; outside: 127.42.0.1:80 of 2
            hosts: =127.42.0.1 =127.42.0.2
            listens: 127.0.0.1:30080 Outside "", 127.43.0.9:80 Inside """#]],
    );
}

#[test]
fn local_policy_never_leaves_the_node() {
    let slices = [slice(json!([{"name": "", "port": 80}]), json!([endpoint(2, "there", READY)]))];
    check(
        with(one_port(), "internalTrafficPolicy", json!("Local")),
        &slices,
        expect![[r#"
            "" Unsaid None:  of 1; outside: 127.42.0.2:80 of 1
            hosts: =127.42.0.2
            listens: 127.43.0.9:80 Inside """#]],
    );
}

#[test]
fn headless_service_has_hosts_and_no_address() {
    let mut db = endpoint(1, "here", READY);
    db["hostname"] = json!("db-0");
    let slices = [slice(json!([{"name": "", "port": 80}]), json!([db, endpoint(2, "here", READY)]))];
    check(
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        &slices,
        expect![[r#"
            "" Unsaid None: 127.42.0.1:80 127.42.0.2:80 of 2
            hosts: db-0=127.42.0.1 =127.42.0.2
            listens: "#]],
    );
}

#[test]
fn external_name_is_an_alias() {
    check(
        json!({"type": "ExternalName", "externalName": "db.example.com", "ports": [{"port": 80}]}),
        &[],
        expect![[r#"
            hosts: 
            alias of db.example.com
            listens: "#]],
    );
}

#[test]
fn what_cannot_be_used_is_left_out() {
    let slices = [slice(
        json!([{"name": "", "port": 80}, {"name": "other", "port": 81}]),
        json!([{"addresses": ["db.example.com"]}, {"addresses": []}, endpoint(1, "here", READY)]),
    )];
    check(
        json!({"clusterIP": "", "ports": [{"port": 80}, {"name": "huge", "port": 70_000}]}),
        &slices,
        expect![[r#"
            "" Unsaid None: 127.42.0.1:80 of 1
            hosts: =127.42.0.1
            listens: "#]],
    );
}
