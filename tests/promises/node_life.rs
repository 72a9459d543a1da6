//! The life of nodes in a cluster: one that is lost is replaced, one that is well stays whatever happens to members, and its
//! certificates do not end.

use std::collections::BTreeSet;
use std::path::Path;

use isopod_tests::control_plane::{ControlPlane, Server};
use isopod_tests::node::{Node, await_ready, token};
use isopod_tests::{Ranges, eventually};
use serde_json::Value;
use tempfile::TempDir;

/// A cluster of one member whose nodes have addresses of their own.
struct Fixture {
    folder: TempDir,
    ranges: Ranges,
    plane: ControlPlane,
}

impl Fixture {
    #[track_caller]
    fn start(more: &[&str]) -> Fixture {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ranges = Ranges::claim();
        let [_, _, flag, services] = ranges.args() else { panic!("two ranges with their flags") };
        let mut args = vec![flag.clone(), services.clone()];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        Fixture { plane: ControlPlane::found(args), folder, ranges }
    }

    fn server(&self) -> &Server {
        &self.plane.servers[0]
    }

    fn data_dir(&self, node: &str) -> std::path::PathBuf {
        self.folder.path().join(node)
    }

    /// A node that joins through the first member; its pods have the part of the range that has this number.
    #[track_caller]
    fn join(&self, name: &str, part: u8) -> Node {
        let base = self.ranges.args()[1].split('.').nth(1).expect("an address has four parts").to_owned();
        let (range, api) = (format!("127.{base}.{}.0/20", part * 16), self.server().api());
        let token = token(self.server(), "node");
        let args = ["--server", &api, "--token", &token, "--name", name, "--pod-cidr", &range];
        let node = Node::start(&self.data_dir(name), &args);
        await_ready(self.server(), name, "True");
        node
    }

    #[track_caller]
    fn deploy(&self, replicas: &str) {
        let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/hello/");
        self.server().isopod(&["push", &format!("{hello}hello.wasm"), "registry.local/hello:v1"]).ok();
        self.server().kubectl(&["apply", "-f", &format!("{hello}hello.yaml")]).ok();
        scale(self.server(), replicas);
    }
}

/// Scales the sample, and waits until all of it is ready.
#[track_caller]
fn scale(server: &Server, replicas: &str) {
    let replicas = format!("--replicas={replicas}");
    server.kubectl(&["scale", "-n", "hello", "deployment/hello", &replicas]).ok();
    server.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
}

/// Names and nodes of the pods that are to stay.
fn pods(server: &Server) -> BTreeSet<(String, String)> {
    let list = server.kubectl(&["get", "pods", "-n", "hello", "-o", "json"]).ok();
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = list["items"].as_array().expect("a list").iter();
    let staying = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    staying.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]))).collect()
}

/// What the node wrote down of its cluster.
fn known(data_dir: &Path) -> Value {
    let text = std::fs::read(data_dir.join("node.json")).expect("the node has joined");
    serde_json::from_slice(&text).expect("JSON")
}

/// What the node's Lease says of its connection; empty when nothing.
fn connection(server: &Server, node: &str) -> String {
    let path = "jsonpath={.metadata.annotations.isopod\\.dev/connection}";
    server.kubectl(&["get", "lease", "-n", "kube-node-lease", node, "-o", path]).stdout
}

#[track_caller]
fn await_connection(server: &Server, node: &str, before: &str) -> String {
    eventually("the node is connected anew", || match connection(server, node) {
        now if !now.is_empty() && now != "over" && now != before => Ok(now),
        now => Err(now),
    })
}

#[test]
fn pods_of_a_lost_node_are_replaced_and_those_of_others_stay() {
    let mut fixture = Fixture::start(&[]);
    let (_one, two) = (fixture.join("n1", 0), fixture.join("n2", 1));
    fixture.deploy("4");
    let before = pods(fixture.server());
    assert_eq!(before.iter().map(|(_, node)| node).collect::<BTreeSet<_>>().len(), 2, "{before:?}");

    // The member goes away and comes back: nobody is evicted for that.
    let connections = ["n1", "n2"].map(|node| await_connection(fixture.server(), node, ""));
    fixture.plane.servers[0].kill();
    fixture.plane.servers[0].restart(&[]);
    for (node, old) in ["n1", "n2"].iter().zip(&connections) {
        await_connection(fixture.server(), node, old);
        await_ready(fixture.server(), node, "True");
    }
    assert_eq!(pods(fixture.server()), before);

    drop(two);
    await_ready(fixture.server(), "n2", "Unknown");
    eventually("all pods are on the other node", || {
        let now = pods(fixture.server());
        let is_there = now.len() == 4 && now.iter().all(|(_, node)| node == "n1");
        if is_there { Ok(()) } else { Err(format!("{now:?}")) }
    });
    fixture.server().kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
    let kept = pods(fixture.server()).intersection(&before).count();
    assert_eq!(kept, before.iter().filter(|(_, node)| node == "n1").count(), "those of n1 were let be");

    // It comes back as a node like any other, and ends what it had.
    let _two = Node::start(&fixture.data_dir("n2"), &[]);
    await_ready(fixture.server(), "n2", "True");
    eventually("the old pods are gone", || {
        let names = fixture.server().kubectl(&["get", "pods", "-n", "hello", "-o", "name"]).ok();
        let taints = fixture.server().kubectl(&["get", "node", "n2", "-o", "jsonpath={.spec.taints}"]).ok();
        if names.lines().count() == 4 && taints.is_empty() { Ok(()) } else { Err(names + &taints) }
    });
}

#[test]
fn a_node_goes_on_when_the_member_that_let_it_in_is_gone() {
    let mut fixture = Fixture::start(&[]);
    let node = fixture.join("n1", 0);
    fixture.deploy("1");
    fixture.plane.grow();
    fixture.plane.grow();
    let apis: BTreeSet<String> = fixture.plane.servers.iter().map(Server::api).collect();
    let dir = fixture.data_dir("n1");
    let await_known = |apis: &BTreeSet<String>| {
        eventually("the node knows the members", || {
            let servers = known(&dir)["servers"].clone();
            let servers: BTreeSet<String> = serde_json::from_value(servers).expect("a list of texts");
            if servers == *apis { Ok(()) } else { Err(format!("{servers:?} for {apis:?}")) }
        });
    };
    await_known(&apis);
    let slices = ["get", "endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes"];
    let ports = [&slices[..], &["-o", "jsonpath={.items[*].ports[*].port}"]].concat();
    let ports = fixture.server().kubectl(&ports).ok();
    assert!(apis.iter().all(|api| ports.contains(api.rsplit(':').next().expect("a port"))), "{ports}");

    let old = await_connection(fixture.server(), "n1", "");
    let name = fixture.server().name();
    fixture.plane.servers[1].isopod(&["member", "remove", &name]).ok();
    let mut first = fixture.plane.servers.remove(0);
    first.kill();
    await_connection(fixture.server(), "n1", &old);
    scale(fixture.server(), "2");
    await_known(&fixture.plane.servers.iter().map(Server::api).collect());

    // And after a restart, when nobody tells it where they are.
    drop(node);
    let _node = Node::start(&dir, &[]);
    await_ready(fixture.server(), "n1", "True");
    scale(fixture.server(), "3");
}

#[test]
fn the_certificates_of_a_node_are_renewed_before_they_end() {
    let fixture = Fixture::start(&["--node-certificate-ttl", "15s"]);
    let node = fixture.join("n1", 0);
    fixture.deploy("1");
    let dir = fixture.data_dir("n1");
    let certificates = || {
        let known = known(&dir);
        ["clientCertificatePem", "serverCertificatePem"]
            .map(|name| known[name].as_str().expect("PEM").to_owned())
    };
    let mut seen = vec![certificates()];
    // Each lasts for two renewals: after three the first has ended.
    while seen.len() < 4 {
        seen.push(eventually("there are new certificates", || {
            let now = certificates();
            if seen.contains(&now) { Err("the old ones".to_owned()) } else { Ok(now) }
        }));
    }
    scale(fixture.server(), "2");
    // Its server shows the new one, and the API takes the new one when the node connects anew.
    fixture.server().kubectl(&["logs", "-n", "hello", "deployment/hello"]).ok();
    drop(node);
    let _node = Node::start(&dir, &[]);
    scale(fixture.server(), "3");
}
