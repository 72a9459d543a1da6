//! What is unfinished answers with an error or an event that says so: nobody waits for something that never comes.

use isopod_tests::Cluster;

#[test]
fn verbs_that_are_not_there_yet_say_so() {
    let cluster = Cluster::start();
    super::kubectl::deploy_unruly(&cluster);
    for (args, words) in [
        (&["exec", "unruly", "--", "ls"][..], "does not support running commands in containers yet"),
        (&["attach", "unruly"], "does not support attaching to containers yet"),
        (&["debug", "unruly", "--image=x"], "does not support ephemeral containers yet"),
    ] {
        let error = cluster.kubectl(args).err();
        assert!(error.contains(words), "{args:?}: {error}");
    }
    let widget = "apiVersion: v1\nkind: Widget\nmetadata: {name: a}";
    let error = cluster.kubectl_with(&["apply", "-f", "-"], widget).err();
    assert!(error.contains("no matches for kind \"Widget\""), "{error}");
}

#[test]
fn pods_that_need_what_is_not_there_yet_say_so() {
    let cluster = Cluster::start();
    cluster.push_guest("tool");
    for (name, spec, words) in [
        (
            "bundle",
            "volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {name: x, path: t}}]}}]",
            "projected trust bundles are not supported",
        ),
        (
            "runtime",
            "runtimeClassName: runc, volumes: [{name: v, emptyDir: {}}]",
            "runtimeClassName \"runc\" is not offered by this node",
        ),
    ] {
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{spec}, containers: [{{name: c, image: registry.local/tool:v1, volumeMounts: [{{name: v, mountPath: /v}}]}}]}}"
        ));
        cluster.await_event(name, words);
        let why = cluster.isopod(&["why", &format!("pod/{name}")]).ok();
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn a_host_port_that_is_not_opened_is_said() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: host}\nspec: {containers: [{name: c, image: registry.local/unruly:v1, ports: [{containerPort: 8080, hostPort: 18098}]}]}",
    );
    cluster.await_ready("host");
    cluster.await_event("host", "HostPortNotOpened: hostPort 18098 is kept for the pod, but not opened");
}
