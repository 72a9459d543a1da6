//! Several nodes in one process: they behave as machines of their own.

use std::collections::BTreeSet;
use std::process::Command;

use isopod_tests::{Cluster, Options, eventually, run};

const NODES: [&str; 3] = ["isopod-1", "isopod-2", "isopod-3"];

#[track_caller]
fn three_nodes() -> Cluster {
    let args = vec!["--nodes".to_owned(), "3".to_owned()];
    let cluster = Cluster::with(Options { args, ..Options::default() });
    cluster.kubectl(&["wait", "node", "--all", "--for=condition=Ready", "--timeout=60s"]).ok();
    cluster
}

/// Six pods of hello behind their Service.
#[track_caller]
fn deploy_six(cluster: &Cluster) {
    super::kubectl::deploy_hello(cluster);
    cluster.kubectl(&["scale", "-n", "hello", "deployment/hello", "--replicas=6"]).ok();
    cluster.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
}

/// The pods and their nodes.
fn places(cluster: &Cluster) -> Vec<(String, String)> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}";
    let printed = cluster.kubectl(&["get", "pods", "-n", "hello", "-o", path]).ok();
    let mut places: Vec<_> = printed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(pod, node)| (pod.into(), node.into()))
        .collect();
    places.sort();
    places
}

/// Which pods answer 60 requests.
fn who_answers(cluster: &Cluster) -> BTreeSet<String> {
    let ask = |_| {
        let (status, body) = cluster.curl("hello", "hello", "/");
        assert_eq!(status, 200, "{body}");
        body.split(['!', ' ']).find(|word| word.starts_with("hello-")).expect("a pod's name").to_owned()
    };
    (0..60).map(ask).collect()
}

#[test]
fn pods_are_spread_over_the_nodes_and_serve_as_one() {
    let cluster = three_nodes();
    let nodes = cluster.kubectl(&["get", "nodes", "-o", "name"]).ok();
    assert_eq!(nodes.lines().collect::<Vec<_>>(), NODES.map(|node| format!("node/{node}")));
    eventually("every node has its Lease", || {
        let leases = cluster.kubectl(&["get", "leases", "-n", "kube-node-lease", "-o", "name"]).ok();
        if leases.lines().count() == 3 { Ok(()) } else { Err(leases) }
    });

    deploy_six(&cluster);
    let places = places(&cluster);
    for node in NODES {
        let here = places.iter().filter(|(_, place)| place == node).count();
        assert_eq!(here, 2, "{node} of {places:?}");
    }
    let pods: BTreeSet<String> = places.iter().map(|(pod, _)| pod.clone()).collect();
    assert_eq!(who_answers(&cluster), pods, "the Service asks the pods of every node");

    // The nodes keep their own logs; the API finds them.
    for (pod, node) in &places {
        let outcome = cluster.kubectl(&["logs", "-n", "hello", pod]);
        assert!(outcome.success, "{pod} on {node}: {}", outcome.stderr);
    }
}

#[test]
fn a_pod_of_any_node_reaches_the_pods_of_the_others() {
    let cluster = three_nodes();
    deploy_six(&cluster);
    cluster.push_guest("unruly");
    for node in NODES {
        cluster.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: on-{node}, labels: {{on: {node}}}}}
spec:
  nodeName: {node}
  containers: [{{name: c, image: registry.local/unruly:v1, ports: [{{containerPort: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: on-{node}}}
spec: {{selector: {{on: {node}}}, ports: [{{port: 80}}]}}
"
        ));
    }
    for node in NODES {
        let name = format!("on-{node}");
        cluster.await_ready(&name);
        cluster.await_answer(&name, "/log");
        eventually(&format!("the log of {node} can be read"), || {
            let printed = cluster.kubectl(&["logs", &name]).ok();
            if printed.contains("to stdout") { Ok(()) } else { Err(printed) }
        });
        let mut nodes_asked = BTreeSet::new();
        let places = places(&cluster);
        for _ in 0..60 {
            let answer = cluster.await_answer(&name, "/fetch?hello.hello/");
            let from = places.iter().find(|(pod, _)| answer.contains(pod.as_str()));
            nodes_asked.insert(from.unwrap_or_else(|| panic!("{name} was told {answer}")).1.clone());
        }
        assert_eq!(nodes_asked.len(), 3, "{name} was answered from {nodes_asked:?}");
    }
}

#[test]
fn three_nodes_come_back_with_their_pods_after_sigkill() {
    let mut cluster = three_nodes();
    deploy_six(&cluster);
    let before = places(&cluster);
    cluster.kill_and_restart();
    eventually("all six pods answer again", || {
        let ready = cluster
            .kubectl(&["get", "deployment", "-n", "hello", "hello", "-o", "jsonpath={.status.readyReplicas}"])
            .ok();
        let ask = cluster.curl("hello", "hello", "/");
        if ready == "6" && ask.0 == 200 { Ok(()) } else { Err(format!("{ready} ready, {ask:?}")) }
    });
    assert_eq!(places(&cluster), before, "the same pods on the same nodes");
    eventually("every pod answers", || {
        let answered = who_answers(&cluster);
        if answered.len() == 6 { Ok(()) } else { Err(format!("{answered:?}")) }
    });
}

#[test]
fn a_cordoned_node_gets_no_new_pods() {
    let cluster = three_nodes();
    cluster.kubectl(&["cordon", "isopod-2"]).ok();
    deploy_six(&cluster);
    assert!(places(&cluster).iter().all(|(_, node)| node != "isopod-2"), "{:?}", places(&cluster));
    cluster.kubectl(&["uncordon", "isopod-2"]).ok();
    cluster.kubectl(&["cordon", "isopod-1"]).ok();
    let on_one = ["get", "pods", "-n", "hello", "--field-selector", "spec.nodeName=isopod-1", "-o", "name"];
    let pods = cluster.kubectl(&on_one).ok();
    let pods: Vec<&str> = pods.lines().collect();
    assert!(!pods.is_empty());
    cluster.kubectl(&[&["delete", "-n", "hello", "--timeout=60s"], &pods[..]].concat()).ok();
    cluster.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
    let places = places(&cluster);
    assert_eq!(places.len(), 6, "{places:?}");
    assert!(places.iter().all(|(_, node)| node != "isopod-1"), "{places:?}");
}

#[test]
fn a_taint_that_executes_moves_pods_to_other_nodes() {
    let cluster = three_nodes();
    deploy_six(&cluster);
    cluster.kubectl(&["taint", "node", "isopod-3", "broken=yes:NoExecute"]).ok();
    eventually("no pod is left on the tainted node, and six run", || {
        let places = places(&cluster);
        let ready = ["get", "deployment", "-n", "hello", "hello", "-o", "jsonpath={.status.readyReplicas}"];
        let moved = places.len() == 6 && places.iter().all(|(_, node)| node != "isopod-3");
        if moved && cluster.kubectl(&ready).ok() == "6" { Ok(()) } else { Err(format!("{places:?}")) }
    });
}

#[test]
fn a_node_that_was_given_up_by_mistake_comes_back_at_once() {
    let cluster = Cluster::start();
    let lost =
        r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown"}]}}"#;
    cluster.kubectl(&["patch", "node", "isopod", "--subresource=status", "-p", lost]).ok();
    cluster.await_field("node/isopod", "{.status.conditions[?(@.type==\"Ready\")].status}", "True");
}

#[test]
fn a_node_counts_requests_and_instances() {
    let cluster = Cluster::start();
    super::kubectl::deploy_hello(&cluster);
    super::kubectl::deploy_unruly(&cluster);
    eventually("a request traps", || match cluster.curl("unruly", "default", "/trap") {
        (500, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    });
    cluster.push_guest("tool");
    cluster
        .kubectl(&["run", "runs", "--image=registry.local/tool:v1", "--restart=Never", "--", "sleep"])
        .ok();
    cluster.await_ready("runs");
    eventually("hello answers", || match cluster.curl("hello", "hello", "/") {
        (200, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    });
    let (address, port) =
        ("{.status.addresses[0].address}", "{.status.daemonEndpoints.kubeletEndpoint.Port}");
    let node = cluster.field("node/isopod", &format!("{address}:{port}"));
    let identity = cluster.identity_file();
    eventually("the node tells of the requests, and of the command that alone lives", || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--max-time", "30", "--cert"]).arg(&identity);
        let counted = run(curl.arg(format!("https://{node}/metrics")), "").ok();
        let value = |name: &str| -> Option<u64> {
            counted.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let requests = value(r#"isopod_proxy_requests_total{namespace="hello",service="hello",code="200"}"#);
        let live = value("isopod_runtime_live_instances ");
        let trapped = value(r#"isopod_runtime_failed_requests_total{reason="trap"}"#);
        let right = requests.is_some_and(|count| count >= 1) && live == Some(1) && trapped == Some(1);
        if right { Ok(()) } else { Err(counted) }
    });
    // Others are not told.
    let stranger =
        run(Command::new("curl").args(["--silent", "--insecure", &format!("https://{node}/metrics")]), "");
    assert!(!stranger.success && stranger.stdout.is_empty(), "{stranger:?}");
}
