//! Controllers and scheduler move with the leader, and do nothing twice: every pod that was ever created is counted, by
//! watches on all members.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use isopod_tests::control_plane::{ControlPlane, Server};
use isopod_tests::{eventually, run};

/// Workloads whose pods wait for a node for ever: there is none. Each pod that is created counts.
const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: 2
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: registry.local/none:v1}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: s}
spec:
  replicas: 2
  serviceName: s
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: s}}
  template:
    metadata: {labels: {app: s}}
    spec: {containers: [{name: c, image: registry.local/none:v1}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  parallelism: 2
  completions: 40
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: registry.local/none:v1}]}
";

/// Every line that watches of pods printed.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeSet<String>>>);

impl Seen {
    fn events(&self, kind: &str) -> BTreeSet<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter_map(|line| line.strip_prefix(kind)).map(|pod| pod.trim().to_owned()).collect()
    }
}

/// `kubectl get pods --watch` at one member, until that or the watch ends.
struct Watch {
    kubectl: Child,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(server: &Server, seen: &Seen) -> Watch {
        let event = r#"jsonpath={.type} {.object.metadata.uid} {.object.metadata.name}{"\n"}"#;
        let mut command = server.kubectl_command();
        command.args(["get", "pods", "--watch", "--output-watch-events", "-o", event]);
        let mut kubectl =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
        let lines = BufReader::new(kubectl.stdout.take().expect("standard output is piped")).lines();
        let seen = seen.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                seen.0.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
            }
        });
        Watch { kubectl, reader: Some(reader) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended with its member.
        drop(self.kubectl.kill());
        self.kubectl.wait().expect("a child can be waited for");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
    }
}

#[test]
fn controllers_that_move_with_the_leader_create_nothing_twice() {
    let mut plane = ControlPlane::start(3);
    let seen = Seen::default();
    let mut watches: Vec<Watch> = plane.servers.iter().map(|server| Watch::start(server, &seen)).collect();
    run(plane.servers[0].kubectl_command().args(["apply", "-f", "-"]), WORKLOADS).ok();
    let count = |plane: &ControlPlane, asked: usize| {
        plane.servers[asked].kubectl(&["get", "pods", "-o", "name"]).ok().lines().count()
    };
    for round in 1..=4 {
        let leader = plane.leader();
        let asked = (leader + 1) % 3;
        let wanted = 2 + 8 * round;
        // The work is under way, or not even begun, when the leader dies.
        for (kind, field) in
            [("deployment/d", "replicas"), ("statefulset/s", "replicas"), ("job/j", "parallelism")]
        {
            let patch = format!("{{\"spec\":{{\"{field}\":{wanted}}}}}");
            plane.servers[asked].kubectl(&["patch", kind, "--type=merge", "-p", &patch]).ok();
        }
        plane.servers[leader].kill();
        eventually("all pods are there", || match count(&plane, asked) {
            there if there == 3 * wanted => Ok(()),
            there => Err(format!("{there} of {}", 3 * wanted)),
        });
        plane.servers[leader].restart(&[]);
        plane.servers[asked].await_voters(3);
        watches[leader] = Watch::start(&plane.servers[leader], &seen);
        eventually("the new watch has begun", || {
            let added = seen.events("ADDED").len();
            if added >= 3 * wanted { Ok(()) } else { Err(format!("{added}")) }
        });
    }
    // A last write, which every watch sees after all others.
    plane.servers[0].kubectl(&["run", "last", "--image=registry.local/none:v1"]).ok();
    eventually("the watches have seen all", || {
        let last = seen.events("ADDED").iter().any(|pod| pod.ends_with(" last"));
        if last { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let (added, deleted) = (seen.events("ADDED"), seen.events("DELETED"));
    assert!(deleted.is_empty(), "created in vain: {deleted:?}");
    assert_eq!(added.len(), 3 * 34 + 1, "{added:?}");
}
