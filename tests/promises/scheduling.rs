//! Where pods go, and who goes first, with the real kubectl and real nodes.

use isopod_tests::{Cluster, Options};

/// A pod that sleeps, with more of its spec in flow style.
fn sleeper(name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  {spec}
  containers: [{{name: c, image: 'registry.local/tool:v1', args: [sleep]}}]
"
    )
}

#[test]
fn pods_of_a_higher_class_take_the_place_of_others() {
    let cluster = Cluster::start();
    cluster.push_guest("tool");
    let classes = cluster.kubectl(&["get", "priorityclasses"]).ok();
    for part in ["system-cluster-critical", "2000000000", "system-node-critical", "2000001000"] {
        assert!(classes.contains(part), "{classes}");
    }
    for (name, value, default) in [("low", 10, true), ("high", 100, false)] {
        cluster.apply(&format!(
            "{{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {{name: {name}}}, value: {value}, globalDefault: {default}}}"
        ));
    }
    let second = "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: more}, value: 1, globalDefault: true}";
    let refused = cluster.kubectl_with(&["apply", "-f", "-"], second).err();
    assert!(
        refused.contains("PriorityClass low is already marked as default. Only one default can exist"),
        "{refused}"
    );
    let unknown = sleeper("unknown", "priorityClassName: none");
    let refused = cluster.kubectl_with(&["apply", "-f", "-"], &unknown).err();
    assert!(refused.contains("no PriorityClass with name none was found"), "{refused}");

    let cpus: u32 = cluster.field("nodes", "{.items[0].status.allocatable.cpu}").parse().expect("whole cpus");
    let most = format!(
        "initContainers: [{{name: i, image: 'registry.local/tool:v1', args: [args], resources: {{requests: {{cpu: '{cpus}'}}}}}}]"
    );
    cluster.apply(&sleeper("first", &most));
    cluster.await_ready("first");
    assert_eq!(cluster.field("pod/first", "{.spec.priorityClassName} {.spec.priority}"), "low 10");
    cluster.apply(&sleeper("second", &most));
    cluster.await_event("second", "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.");
    cluster.await_field(
        "pod/second",
        "{.status.conditions[?(@.type=='PodScheduled')].reason}",
        "Unschedulable",
    );

    cluster.apply(&sleeper("important", &format!("priorityClassName: high\n  {most}")));
    cluster.await_event("first", "Preempted by pod ");
    cluster.await_ready("important");
    assert!(cluster.kubectl(&["get", "pod", "first"]).err().contains("NotFound"));
    assert_eq!(cluster.field("pod/important", "{.status.nominatedNodeName}"), "");
    cluster.kubectl(&["delete", "pod", "important", "second"]).ok();
}

#[test]
fn pods_heed_each_other_and_wait_for_their_gates() {
    let options = Options { args: vec!["--nodes".to_owned(), "2".to_owned()], ..Options::default() };
    let cluster = Cluster::with(options);
    cluster.push_guest("tool");
    let apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchExpressions: [{key: app, operator: Exists}]}}]}}";
    for name in ["one", "two"] {
        cluster.apply(&sleeper(name, apart));
        cluster.await_ready(name);
    }
    let node = |pod: &str| cluster.field(&format!("pod/{pod}"), "{.spec.nodeName}");
    assert_ne!(node("one"), node("two"));
    cluster.apply(&sleeper("three", apart));
    cluster.await_event("three", "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.");

    cluster.apply(&sleeper("held", "schedulingGates: [{name: example.com/wait}]"));
    cluster.await_field(
        "pod/held",
        "{.status.conditions[?(@.type=='PodScheduled')].reason}",
        "SchedulingGated",
    );
    assert!(cluster.kubectl(&["get", "pod", "held"]).ok().contains("SchedulingGated"));

    cluster.kubectl(&["delete", "pod", "one", "two"]).ok();
    cluster.await_ready("three");
    let near = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: four}}}]}}";
    cluster.apply(&sleeper("near", near));
    cluster.await_event("near", "0/2 nodes are available: 2 node(s) didn't match pod affinity rules.");
    // What it waits for comes: it is tried again.
    cluster.kubectl(&["delete", "pod", "three"]).ok();
    cluster.apply(&sleeper("four", "restartPolicy: Never"));
    cluster.await_ready("near");
    assert_eq!(node("near"), node("four"));
    cluster
        .kubectl(&[
            "patch",
            "pod",
            "held",
            "--type=json",
            "-p",
            r#"[{"op": "remove", "path": "/spec/schedulingGates"}]"#,
        ])
        .ok();
    cluster.await_ready("held");
}
