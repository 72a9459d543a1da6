//! What slices hold, and how few of them change.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Pod, PodCondition, PodIP, PodSpec, PodStatus, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;

use super::{Action, Observed, plan};

fn service(ports: Vec<ServicePort>) -> Service {
    Service {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("shop".into()),
            uid: Some("svc-uid".into()),
            labels: Some([("team".to_owned(), "a".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("127.43.0.9".into()),
            selector: Some([("app".to_owned(), "web".to_owned())].into()),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, port: i32, target: IntOrString) -> ServicePort {
    let name = (!name.is_empty()).then(|| name.to_owned());
    ServicePort { name, port, target_port: Some(target), ..ServicePort::default() }
}

fn http() -> Vec<ServicePort> {
    vec![port("", 80, IntOrString::Int(8080))]
}

fn pod(number: usize, ready: bool) -> Pod {
    let ready = PodCondition {
        type_: "Ready".into(),
        status: if ready { "True" } else { "False" }.into(),
        ..PodCondition::default()
    };
    let address = format!("127.42.{}.{}", number / 200, number % 200 + 1);
    Pod {
        metadata: ObjectMeta {
            name: Some(format!("web-{number}")),
            namespace: Some("shop".into()),
            uid: Some(format!("pod-{number}")),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { node_name: Some("n1".into()), ..PodSpec::default() }),
        status: Some(PodStatus {
            phase: Some("Running".into()),
            pod_ip: Some(address.clone()),
            pod_ips: Some(vec![PodIP { ip: address }]),
            conditions: Some(vec![ready]),
            ..PodStatus::default()
        }),
    }
}

fn pods(numbers: impl IntoIterator<Item = usize>) -> Vec<Arc<Pod>> {
    numbers.into_iter().map(|number| Arc::new(pod(number, true))).collect()
}

fn observed(pods: Vec<Arc<Pod>>, slices: &[Arc<EndpointSlice>]) -> Observed {
    let zones = BTreeMap::from([("n1".to_owned(), "z1".to_owned())]);
    Observed { pods, zones, slices: slices.to_vec() }
}

fn apply(slices: &mut Vec<Arc<EndpointSlice>>, actions: Vec<Action>) {
    for action in actions {
        match action {
            Action::Create { mut slice } => {
                let number = slices.len();
                slice.metadata.name = Some(format!("web-slice-{number}-{}", slices.len()));
                slice.metadata.uid = slice.metadata.name.clone();
                slices.push(Arc::new(*slice));
            }
            Action::Update { slice } => {
                let place = slices.iter_mut().find(|old| old.metadata.uid == slice.metadata.uid).unwrap();
                *place = Arc::new(*slice);
            }
            Action::Delete { slice } => slices.retain(|old| old.metadata.uid != slice.metadata.uid),
        }
    }
}

/// Slices of the service after one plan, from none.
fn slices(service: &Service, pods: Vec<Arc<Pod>>) -> Vec<Arc<EndpointSlice>> {
    let mut slices = Vec::new();
    apply(&mut slices, plan(service, &observed(pods, &[])));
    slices
}

fn describe(slice: &EndpointSlice) -> String {
    let ports: Vec<String> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| {
            let (name, number) = (port.name.as_deref().unwrap(), port.port.unwrap());
            format!("{name}:{number}/{}", port.protocol.as_deref().unwrap())
        })
        .collect();
    let mut lines = vec![format!("{} {}", slice.address_type, ports.join(","))];
    for endpoint in slice.endpoints.iter().flatten() {
        let conditions = endpoint.conditions.clone().unwrap();
        let flags = [
            ("ready", conditions.ready),
            ("serving", conditions.serving),
            ("leaving", conditions.terminating),
        ];
        let flags: Vec<&str> =
            flags.iter().filter(|(_, set)| *set == Some(true)).map(|(name, _)| *name).collect();
        let target = endpoint.target_ref.as_ref().unwrap().name.as_deref().unwrap();
        let hostname = endpoint.hostname.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
        let place = format!(
            "{}/{}",
            endpoint.zone.as_deref().unwrap_or("?"),
            endpoint.node_name.as_deref().unwrap_or("?")
        );
        lines.push(format!(
            "  {} {target} on {place}{hostname}: {}",
            endpoint.addresses.join(","),
            flags.join(" ")
        ));
    }
    lines.join("\n")
}

fn check(service: &Service, pods: Vec<Pod>, expected: Expect) {
    let slices = slices(service, pods.into_iter().map(Arc::new).collect());
    let told: Vec<String> = slices.iter().map(|slice| describe(slice)).collect();
    expected.assert_eq(&told.join("\n"));
}

#[test]
fn endpoints_say_whether_a_pod_answers_and_whether_it_leaves() {
    let mut leaving = pod(2, true);
    leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut finished = pod(3, false);
    finished.status.as_mut().unwrap().phase = Some("Succeeded".into());
    let mut without_address = pod(4, false);
    without_address.status = None;
    let mut named = pod(5, true);
    named.spec.as_mut().unwrap().hostname = Some("db-0".into());
    named.spec.as_mut().unwrap().subdomain = Some("web".into());
    let pods = vec![pod(0, true), pod(1, false), leaving, finished, without_address, named];
    check(
        &service(http()),
        pods,
        expect![[r#"
        IPv4 :8080/TCP
          127.42.0.1 web-0 on z1/n1: ready serving
          127.42.0.2 web-1 on z1/n1: 
          127.42.0.3 web-2 on z1/n1: serving leaving
          127.42.0.6 web-5 on z1/n1 as db-0: ready serving"#]],
    );
}

#[test]
fn services_may_publish_pods_that_are_not_ready() {
    let mut service = service(http());
    service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
    check(
        &service,
        vec![pod(0, false)],
        expect![[r#"
        IPv4 :8080/TCP
          127.42.0.1 web-0 on z1/n1: ready"#]],
    );
}

#[test]
fn a_named_target_port_is_looked_up_in_each_pod() {
    let with_port = |number: usize, container_port: i32| {
        let mut pod = pod(number, true);
        let port = ContainerPort { name: Some("http".into()), container_port, ..ContainerPort::default() };
        let container = Container { name: "app".into(), ports: Some(vec![port]), ..Container::default() };
        pod.spec.as_mut().unwrap().containers = vec![container];
        pod
    };
    let ports = vec![
        port("web", 80, IntOrString::String("http".into())),
        port("admin", 9000, IntOrString::Int(9001)),
    ];
    let pods = vec![with_port(0, 8080), with_port(1, 8081), with_port(2, 8080), pod(3, true)];
    check(
        &service(ports),
        pods,
        expect![[r#"
        IPv4 web:8080/TCP,admin:9001/TCP
          127.42.0.1 web-0 on z1/n1: ready serving
          127.42.0.3 web-2 on z1/n1: ready serving
        IPv4 web:8081/TCP,admin:9001/TCP
          127.42.0.2 web-1 on z1/n1: ready serving
        IPv4 admin:9001/TCP
          127.42.0.4 web-3 on z1/n1: ready serving"#]],
    );
}

#[test]
fn a_service_without_pods_has_an_empty_slice() {
    check(&service(http()), vec![], expect!["IPv4 "]);
}

#[test]
fn services_whose_slices_are_the_users_are_left_alone() {
    let mut without_selector = service(http());
    without_selector.spec.as_mut().unwrap().selector = None;
    let mut external = service(http());
    external.spec.as_mut().unwrap().type_ = Some("ExternalName".into());
    for service in [without_selector, external] {
        assert_eq!(plan(&service, &observed(pods(0..3), &[])), []);
    }
}

#[test]
fn slices_are_found_by_their_labels_and_belong_to_the_service() {
    let mut headless = service(http());
    headless.spec.as_mut().unwrap().cluster_ip = Some("None".into());
    let slice = &slices(&headless, pods(0..1))[0];
    let labels: Vec<String> =
        slice.metadata.labels.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    let expected = [
        "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io",
        "kubernetes.io/service-name=web",
        "service.kubernetes.io/headless=",
        "team=a",
    ];
    assert_eq!(labels, expected);
    assert_eq!(slice.metadata.generate_name.as_deref(), Some("web-"));
    assert_eq!(slice.metadata.owner_references.as_ref().unwrap()[0].uid, "svc-uid");
}

#[test]
fn a_changed_pod_changes_one_slice() {
    let service = service(http());
    let mut stored = slices(&service, pods(0..250));
    assert_eq!(
        stored.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect::<Vec<_>>(),
        [100, 100, 50]
    );
    let mut changed = pods(0..250);
    changed[30] = Arc::new(pod(30, false));
    let actions = plan(&service, &observed(changed.clone(), &stored));
    assert!(matches!(actions[..], [Action::Update { .. }]), "{} actions", actions.len());
    apply(&mut stored, actions);
    // One more pod goes into the slice with room.
    changed.push(Arc::new(pod(250, true)));
    let actions = plan(&service, &observed(changed, &stored));
    let [Action::Update { slice }] = &actions[..] else { panic!("{} actions", actions.len()) };
    assert_eq!(slice.endpoints.as_ref().unwrap().len(), 51);
}

#[test]
fn an_empty_slice_is_reused_for_the_first_pod_and_kept_for_the_last() {
    let service = service(http());
    let mut stored = slices(&service, Vec::new());
    let actions = plan(&service, &observed(pods(0..1), &stored));
    assert!(matches!(actions[..], [Action::Update { .. }]), "{actions:?}");
    apply(&mut stored, actions);
    let actions = plan(&service, &observed(Vec::new(), &stored));
    assert!(matches!(actions[..], [Action::Update { .. }]), "{actions:?}");
}

#[test]
fn changed_labels_of_the_service_reach_its_slices() {
    let mut service = service(http());
    let stored = slices(&service, pods(0..3));
    service.metadata.labels = None;
    assert!(matches!(plan(&service, &observed(pods(0..3), &stored))[..], [Action::Update { .. }]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However pods come and go, the slices list exactly those there are, none twice, and a second plan is empty.
    #[test]
    fn slices_follow_the_pods(rounds in proptest::collection::vec(proptest::collection::btree_set(0..400_usize, 0..300), 1..4)) {
        let service = service(http());
        let mut stored = Vec::new();
        for numbers in rounds {
            let pods = pods(numbers.iter().copied());
            let actions = plan(&service, &observed(pods.clone(), &stored));
            apply(&mut stored, actions);
            prop_assert!(plan(&service, &observed(pods.clone(), &stored)).is_empty());
            let mut listed: Vec<String> = stored.iter().flat_map(|slice| slice.endpoints.iter().flatten()).map(|endpoint| endpoint.addresses[0].clone()).collect();
            let mut expected: Vec<String> = pods.iter().map(|pod| pod.status.as_ref().unwrap().pod_ip.clone().unwrap()).collect();
            listed.sort();
            expected.sort();
            prop_assert_eq!(listed, expected);
            prop_assert!(stored.iter().all(|slice| slice.endpoints.as_ref().unwrap().len() <= 100));
        }
    }
}
