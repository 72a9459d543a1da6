//! Service addresses and node ports.

use serde_json::{Value, json};

use super::harness::Member;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_service_gets_an_address_that_is_its_own_until_it_goes() {
    let member = Member::start().await;
    let made = member.created(SERVICES, &service("a", json!({}))).await;
    let ip = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    assert!(ip.starts_with("10.43.0."), "{ip}");
    assert_eq!(made["spec"]["clusterIPs"], json!([ip]));
    let taken = member.post(SERVICES, &service("b", json!({"clusterIP": ip}))).await;
    assert_eq!(
        taken.status(),
        format!(
            "422 Invalid: Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{ip}\"]: failed to allocate IP {ip}: provided IP is already allocated"
        )
    );
    let outside = member.post(SERVICES, &service("b", json!({"clusterIP": "10.44.0.1"}))).await;
    assert!(outside.status().ends_with("The range of valid IPs is 10.43.0.0/24"), "{}", outside.status());
    assert_eq!(member.delete(&format!("{SERVICES}/a"), None).await.code, 200);
    assert_eq!(
        member.created(SERVICES, &service("b", json!({"clusterIP": ip}))).await["spec"]["clusterIP"],
        json!(ip)
    );
    let headless = member.created(SERVICES, &service("c", json!({"clusterIP": "None"}))).await;
    assert_eq!(headless["spec"]["clusterIP"], "None");
}

#[tokio::test]
async fn applying_again_keeps_what_was_given_and_a_change_of_type_frees_it() {
    let member = Member::start().await;
    let made = member.created(SERVICES, &service("a", json!({"type": "NodePort"}))).await;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
    assert!((30000..=32767).contains(&port), "{port}");
    let again = member.put(&format!("{SERVICES}/a"), &service("a", json!({"type": "NodePort"}))).await.json();
    assert_eq!(again["spec"], made["spec"]);
    assert_eq!(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let taken = service("b", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    assert_eq!(
        member.post(SERVICES, &taken).await.status(),
        format!(
            "422 Invalid: Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
        )
    );
    let plain = member.put(&format!("{SERVICES}/a"), &service("a", json!({}))).await.json();
    assert_eq!(plain["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert!(plain["spec"]["ports"][0]["nodePort"].is_null());
    assert_eq!(member.post(SERVICES, &taken).await.code, 201);
    let out = service("c", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}));
    assert_eq!(
        member.post(SERVICES, &out).await.status(),
        "422 Invalid: Service \"c\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
    );
}

#[tokio::test]
async fn racing_services_never_share_an_address() {
    let member = Member::start().await;
    let bodies: Vec<Value> =
        (0..100).map(|index| service(&format!("s{index}"), json!({"type": "NodePort"}))).collect();
    let made = futures::future::join_all(bodies.iter().map(|body| member.created(SERVICES, body))).await;
    let distinct =
        |pick: fn(&Value) -> String| made.iter().map(pick).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(distinct(|own| own["spec"]["clusterIP"].to_string()), 100);
    assert_eq!(distinct(|own| own["spec"]["ports"][0]["nodePort"].to_string()), 100);
}

#[tokio::test]
async fn a_full_range_is_told() {
    let member = Member::start().await;
    let bodies: Vec<Value> = (0..254).map(|index| service(&format!("s{index}"), json!({}))).collect();
    futures::future::join_all(bodies.iter().map(|body| member.created(SERVICES, body))).await;
    assert_eq!(
        member.post(SERVICES, &service("more", json!({}))).await.status(),
        "500 InternalError: Internal error occurred: failed to allocate a serviceIP: range is full"
    );
}
