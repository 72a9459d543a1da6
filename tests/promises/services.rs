//! Services by name and by address, as components and people outside reach them.

use isopod_tests::{Cluster, eventually};

/// Namespaces `here` and `there`, each with a pod that asks and answers; a Service `web` in `there` in front of two
/// pods of hello, one that is headless, and one that is another's name.
#[track_caller]
fn two_namespaces(cluster: &Cluster) {
    cluster.push_guest("unruly");
    super::kubectl::push_hello(cluster, "v1");
    let asker = |namespace: &str| {
        format!(
            "
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: asker, namespace: {namespace}, labels: {{app: asker}}}}
spec: {{containers: [{{name: c, image: registry.local/unruly:v1, ports: [{{containerPort: 80}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: asker, namespace: {namespace}}}
spec: {{selector: {{app: asker}}, ports: [{{port: 80}}]}}
---
"
        )
    };
    cluster.apply(&format!(
        "{}{}
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: there}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: c
        image: registry.local/hello:v1
        ports: [{{containerPort: 80}}]
        env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: there}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: each, namespace: there}}
spec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: alias, namespace: here}}
spec: {{type: ExternalName, externalName: web.there.svc.cluster.local}}
",
        asker("here"),
        asker("there")
    ));
    for (namespace, what) in [("here", "pod/asker"), ("there", "pod/asker")] {
        cluster.kubectl(&["wait", "-n", namespace, what, "--for=condition=Ready", "--timeout=60s"]).ok();
    }
    cluster.kubectl(&["rollout", "status", "-n", "there", "deployment/web", "--timeout=60s"]).ok();
}

/// What the pod `asker` of a namespace is answered when it asks a host.
#[track_caller]
fn fetched(cluster: &Cluster, namespace: &str, target: &str) -> String {
    eventually(&format!("the asker in {namespace} answers"), || {
        match cluster.curl("asker", namespace, &format!("/fetch?{target}")) {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{status} {body}")),
        }
    })
}

#[test]
fn components_call_services_by_every_form_of_their_name() {
    let cluster = Cluster::start();
    two_namespaces(&cluster);
    let address =
        cluster.kubectl(&["get", "service", "-n", "there", "web", "-o", "jsonpath={.spec.clusterIP}"]).ok();
    for (namespace, host) in [
        ("there", "web"),
        ("there", "web.there"),
        ("here", "web.there"),
        ("here", "web.there.svc"),
        ("here", "web.there.svc.cluster.local"),
        ("here", "web.there.svc.cluster.local:80"),
        ("here", &address),
        // A headless Service is its pods, an ExternalName another's name.
        ("there", "each"),
        ("here", "each.there"),
        ("here", "alias"),
        ("there", "alias.here.svc.cluster.local"),
    ] {
        let answer = fetched(&cluster, namespace, &format!("{host}/x"));
        assert!(
            answer.starts_with("200 ") && answer.contains("Hello from web-"),
            "{host} in {namespace}: {answer}"
        );
    }
    // Short names are of one's own namespace, and what is not there is not found.
    for (namespace, host) in [("here", "web"), ("here", "web.nowhere.svc.cluster.local"), ("there", "alias")]
    {
        let answer = fetched(&cluster, namespace, &format!("{host}/x"));
        assert!(
            answer.starts_with("no response") || answer.starts_with("not sent"),
            "{host} in {namespace}: {answer}"
        );
    }
}

#[test]
fn components_look_up_the_addresses_behind_names() {
    let cluster = Cluster::start();
    two_namespaces(&cluster);
    cluster.push_guest("tool");
    let lookup = |pod: &str, name: &str| {
        cluster.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {pod}}}
spec: {{restartPolicy: Never, containers: [{{name: c, image: registry.local/tool:v1, args: [lookup, {name}]}}]}}
"
        ));
        cluster.await_field(&format!("pod/{pod}"), "{.status.phase}", "Succeeded");
        cluster.kubectl(&["logs", pod]).ok()
    };
    let spelled = |address: &str| format!("({})", address.replace('.', ", "));
    let get = |what: &[&str], path: &str| {
        let path = format!("jsonpath={path}");
        cluster.kubectl(&[&["get", "-n", "there"], what, &["-o", &path]].concat()).ok()
    };
    let address = get(&["service", "web"], "{.spec.clusterIP}");
    let found = lookup("one", "web.there");
    assert!(found.contains(&spelled(&address)), "{address} is missing in {found}");
    let found = lookup("two", "each.there.svc.cluster.local");
    let pods = get(&["pods", "-l", "app=web"], "{.items[*].status.podIP}");
    assert_eq!(pods.split(' ').count(), 2, "{pods}");
    for address in pods.split(' ') {
        assert!(found.contains(&spelled(address)), "{address} is missing in {found}");
    }
}

#[test]
fn requests_are_spread_over_the_pods_of_a_service() {
    let cluster = Cluster::start();
    two_namespaces(&cluster);
    let mut pods: Vec<String> = (0..40)
        .map(|_| cluster.curl("web", "there", "/").1)
        .filter_map(|body| body.split(['!', ' ']).find(|word| word.starts_with("web-")).map(str::to_owned))
        .collect();
    assert_eq!(pods.len(), 40);
    pods.sort();
    let first = pods.iter().filter(|pod| **pod == pods[0]).count();
    assert!((5..=35).contains(&first), "{first} of 40 requests went to one of two pods");
}

#[test]
fn the_world_outside_is_closed_to_components() {
    let cluster = Cluster::start();
    two_namespaces(&cluster);
    // An address of the machine that is neither a pod's nor a Service's; 127.0.0.1 would be the pod itself.
    let outside = std::net::TcpListener::bind("127.5.0.1:0").expect("a free port");
    let address = outside.local_addr().expect("bound");
    for target in [address.to_string(), "example.com".to_owned()] {
        let answer = fetched(&cluster, "here", &format!("{target}/"));
        assert!(answer.starts_with("no response") || answer.starts_with("not sent"), "{target}: {answer}");
    }
    outside.set_nonblocking(true).expect("it can be asked without waiting");
    assert!(outside.accept().is_err(), "nobody came");
}
