//! `kubectl port-forward`: a port of this machine that leads into a pod.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use isopod_tests::Cluster;

/// A `kubectl port-forward` that runs, and where it listens.
struct Forward {
    kubectl: Child,
    address: String,
}

impl Forward {
    /// Forwards a free port of this machine to a port of `target`.
    #[track_caller]
    fn start(cluster: &Cluster, target: &str, port: u16) -> Self {
        let mut kubectl = cluster.kubectl_command();
        kubectl.args(["port-forward", "--address=127.0.0.1", target, &format!(":{port}")]);
        kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut kubectl = kubectl.spawn().expect("kubectl starts");
        let mut line = String::new();
        let mut told = BufReader::new(kubectl.stdout.take().expect("piped"));
        told.read_line(&mut line).expect("it says where it listens");
        let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next());
        let Some(address) = address.map(str::to_owned) else {
            kubectl.kill().expect("kubectl can be ended");
            let error = kubectl.wait_with_output().expect("kubectl can be waited for").stderr;
            panic!("{line}{}", String::from_utf8_lossy(&error));
        };
        // Its pipe must stay open: it says a line for every connection.
        std::thread::spawn(move || told.lines().for_each(drop));
        Self { kubectl, address }
    }

    fn curl(&self, path: &str) -> Child {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "30", &format!("http://{}{path}", self.address)]);
        curl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl starts")
    }

    #[track_caller]
    fn answer(&self, path: &str) -> String {
        let output = self.curl(path).wait_with_output().expect("curl ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends it; returns what it had to complain about.
    fn end(mut self) -> String {
        self.kubectl.kill().expect("kubectl can be ended");
        let mut errors = String::new();
        let stderr = self.kubectl.stderr.take().expect("piped");
        std::io::Read::read_to_string(&mut BufReader::new(stderr), &mut errors).expect("text");
        errors
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.kubectl.kill().ok();
        self.kubectl.wait().ok();
    }
}

#[test]
fn kubectl_forwards_a_port_to_a_pod_and_to_a_service() {
    let cluster = Cluster::start();
    super::kubectl::deploy_unruly(&cluster);
    super::kubectl::push_hello(&cluster, "v1");
    cluster.kubectl(&["create", "deployment", "web", "--image=registry.local/hello:v1", "--port=80"]).ok();
    cluster.kubectl(&["expose", "deployment", "web", "--port=8080", "--target-port=80"]).ok();
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();

    let service = Forward::start(&cluster, "service/web", 8080);
    // Several at once, each a connection of its own inside the one that kubectl holds.
    let asked: Vec<Child> = (0..8).map(|at| service.curl(&format!("/{at}"))).collect();
    for (at, curl) in asked.into_iter().enumerate() {
        let output = curl.wait_with_output().expect("curl ends");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.contains(&format!("You asked for /{at}")), "{answer}");
    }

    const BYTES: usize = 5_000_000;
    let pod = Forward::start(&cluster, "pod/unruly", 80);
    assert_eq!(pod.answer(&format!("/large?{BYTES}")).len(), BYTES);
    assert_eq!(pod.end(), "");
}

#[test]
fn forwarding_to_a_port_where_nobody_listens_says_so() {
    let cluster = Cluster::start();
    super::kubectl::deploy_unruly(&cluster);
    let forward = Forward::start(&cluster, "pod/unruly", 81);
    let curl = forward.curl("/").wait_with_output().expect("curl ends");
    assert!(!curl.status.success(), "nobody listens");
    let errors = forward.end();
    assert!(
        errors.contains("error forwarding port 81 to pod default/unruly: Connection refused"),
        "{errors}"
    );
}

#[test]
fn forwarding_needs_the_right_to_create_it() {
    let cluster = Cluster::start();
    super::kubectl::deploy_unruly(&cluster);
    cluster.apply(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: looks}
rules: [{apiGroups: [''], resources: [pods, pods/portforward], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: looks}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: looks}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]
",
    );
    let error = cluster.kubectl(&["port-forward", "pod/unruly", ":80", "--as=ann"]).err();
    assert!(error.contains("cannot create resource \"pods/portforward\""), "{error}");
    let answer = cluster.curl_api(&[], "/api/v1/namespaces/default/pods/unruly/portforward");
    assert!(answer.contains("Upgrade request required"), "{answer}");
}
