//! Workloads beyond Deployments, with the real kubectl: each controller as its users drive it.

use isopod_tests::{Cluster, eventually};

use crate::kubectl::push_hello;

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/tool/tool.wasm");

/// A cluster that has the command which does as its arguments say.
#[track_caller]
fn cluster_with_tool() -> Cluster {
    let cluster = Cluster::start();
    cluster.isopod(&["push", TOOL, "registry.local/tool:v1"]).ok();
    cluster
}

#[track_caller]
fn apply(cluster: &Cluster, manifest: &str) -> String {
    cluster.kubectl_with(&["apply", "-f", "-"], manifest).ok()
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

/// Waits until kubectl prints what is expected.
#[track_caller]
fn comes_to(cluster: &Cluster, args: &[&str], expected: &str) {
    eventually(&format!("{args:?} prints {expected:?}"), || {
        let printed = cluster.kubectl(args).stdout;
        if printed.trim() == expected { Ok(()) } else { Err(printed) }
    });
}

fn job(name: &str, args: &str, more: &[&str]) -> String {
    let more = more.join("\n  ");
    format!(
        "
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  {more}
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: c, image: registry.local/tool:v1, args: {args}}}]
"
    )
}

#[test]
fn jobs_run_to_completion_or_failure_and_kubectl_waits_for_either() {
    let cluster = cluster_with_tool();
    apply(&cluster, &job("many", "[env]", &["completions: 4", "parallelism: 2", "completionMode: Indexed"]));
    cluster.kubectl(&["wait", "--for=condition=complete", "job/many", "--timeout=60s"]).ok();
    assert_has(&cluster.kubectl(&["get", "job", "many"]).ok(), &["NAME", "COMPLETIONS", "Complete", "4/4"]);
    let numbers = cluster.kubectl(&["logs", "-l", "batch.kubernetes.io/job-name=many", "--tail=-1"]).ok();
    for index in 0..4 {
        assert_has(&numbers, &[&format!("JOB_COMPLETION_INDEX={index}")]);
    }
    assert_has(
        &cluster.kubectl(&["describe", "job", "many"]).ok(),
        &["Completed", "Succeeded", "SuccessfulCreate"],
    );

    apply(&cluster, &job("bad", "[exit, '3']", &["backoffLimit: 0"]));
    cluster.kubectl(&["wait", "--for=condition=failed", "job/bad", "--timeout=60s"]).ok();
    let why = cluster.kubectl(&["get", "job", "bad", "-o", "jsonpath={.status.conditions[*].reason}"]).ok();
    assert_has(&why, &["BackoffLimitExceeded"]);

    apply(&cluster, &job("late", "[sleep]", &["activeDeadlineSeconds: 1"]));
    cluster.kubectl(&["wait", "--for=condition=failed", "job/late", "--timeout=60s"]).ok();
    apply(&cluster, &job("brief", "[args]", &["ttlSecondsAfterFinished: 0"]));
    cluster.kubectl(&["wait", "--for=delete", "job/brief", "--timeout=60s"]).ok();

    cluster.kubectl(&["delete", "job", "many", "bad", "late"]).ok();
    comes_to(&cluster, &["get", "pods", "-o", "name"], "");
    assert_has(&cluster.kubectl(&["explain", "job.spec"]).ok(), &["backoffLimit", "ttlSecondsAfterFinished"]);
}

#[test]
fn a_suspended_job_waits_until_it_is_resumed() {
    let cluster = cluster_with_tool();
    apply(&cluster, &job("later", "[args]", &["suspend: true"]));
    cluster.kubectl(&["wait", "--for=condition=suspended", "job/later", "--timeout=60s"]).ok();
    assert_eq!(cluster.kubectl(&["get", "pods", "-o", "name"]).ok(), "");
    cluster.kubectl(&["patch", "job", "later", "-p", r#"{"spec":{"suspend":false}}"#]).ok();
    cluster.kubectl(&["wait", "--for=condition=complete", "job/later", "--timeout=60s"]).ok();
}

#[test]
fn a_cron_job_is_a_template_that_people_can_run_by_hand() {
    let cluster = cluster_with_tool();
    cluster
        .kubectl(&[
            "create",
            "cronjob",
            "report",
            "--image=registry.local/tool:v1",
            "--schedule=0 3 29 2 *",
            "--",
            "tool",
            "args",
        ])
        .ok();
    cluster.kubectl(&["create", "job", "now", "--from=cronjob/report"]).ok();
    cluster.kubectl(&["wait", "--for=condition=complete", "job/now", "--timeout=60s"]).ok();
    let table = cluster.kubectl(&["get", "cronjob"]).ok();
    assert_has(&table, &["SCHEDULE", "TIMEZONE", "LAST SCHEDULE", "0 3 29 2 *", "<none>", "False"]);
    let refused = cluster.kubectl(&["create", "cronjob", "never", "--image=i", "--schedule=at noon"]).err();
    assert_has(&refused, &["spec.schedule", "expected exactly 5 fields, found 2"]);
    // Due every minute, and so within one.
    let often = r#"{"spec":{"schedule":"* * * * *","timeZone":"Etc/UTC"}}"#;
    cluster.kubectl(&["patch", "cronjob", "report", "-p", often]).ok();
    let made = "--for=jsonpath={.status.lastScheduleTime}";
    cluster.kubectl(&["wait", made, "cronjob/report", "--timeout=100s"]).ok();
    cluster.kubectl(&["delete", "cronjob", "report"]).ok();
    comes_to(&cluster, &["get", "jobs,pods", "-o", "name"], "");
}

#[test]
fn a_replication_controller_is_scaled_and_gives_its_pods_names() {
    let cluster = cluster_with_tool();
    apply(
        &cluster,
        "
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: old}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: registry.local/tool:v1, args: [sleep]}]
",
    );
    let ready = ["get", "rc", "old", "-o", "jsonpath={.status.readyReplicas}"];
    comes_to(&cluster, &ready, "2");
    cluster.kubectl(&["scale", "rc", "old", "--replicas=3"]).ok();
    comes_to(&cluster, &ready, "3");
    assert_has(&cluster.kubectl(&["get", "all"]).ok(), &["replicationcontroller/old", "pod/old-"]);
    cluster.kubectl(&["delete", "rc", "old"]).ok();
    comes_to(&cluster, &["get", "pods", "-o", "name"], "");
}

/// A StatefulSet or DaemonSet of the hello sample.
fn set_of_hello(kind: &str, more: &[&str]) -> String {
    let more = more.join("\n  ");
    format!(
        "
apiVersion: apps/v1
kind: {kind}
metadata: {{name: web}}
spec:
  {more}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: hello, image: registry.local/hello:v1, ports: [{{containerPort: 80}}]}}]
"
    )
}

const IMAGE: &str = "jsonpath={.spec.template.spec.containers[0].image}";

/// Sets a new image, looks at the history and goes back, as people do with any workload.
#[track_caller]
fn rolls_out_and_back(cluster: &Cluster, workload: &str) {
    let rollout = |verb: &str, more: &[&str]| {
        let args: Vec<&str> = ["rollout", verb, workload].iter().chain(more).copied().collect();
        cluster.kubectl(&args).ok()
    };
    rollout("status", &["--timeout=60s"]);
    cluster.kubectl(&["set", "image", workload, "hello=registry.local/hello:v2"]).ok();
    rollout("status", &["--timeout=60s"]);
    let images = ["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.containers[0].image}"];
    assert!(!cluster.kubectl(&images).ok().contains("hello:v1"));
    assert_has(&rollout("history", &[]), &["REVISION", "1 ", "2 "]);
    assert_has(&rollout("history", &["--revision=1"]), &["registry.local/hello:v1"]);
    assert_has(&rollout("undo", &[]), &["rolled back"]);
    rollout("status", &["--timeout=60s"]);
    assert_eq!(cluster.kubectl(&["get", workload, "-o", IMAGE]).ok(), "registry.local/hello:v1");
    assert_has(&rollout("history", &[]), &["2 ", "3 "]);
    assert_has(&rollout("restart", &[]), &["restarted"]);
    rollout("status", &["--timeout=60s"]);
}

#[test]
fn a_stateful_set_gives_its_pods_names_that_stay_and_rolls_out_and_back() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    push_hello(&cluster, "v2");
    apply(&cluster, &set_of_hello("StatefulSet", &["serviceName: web", "replicas: 3"]));
    rolls_out_and_back(&cluster, "statefulset/web");
    let names = ["get", "pods", "-o", "name"];
    assert_eq!(cluster.kubectl(&names).ok().trim(), "pod/web-0\npod/web-1\npod/web-2");
    assert_has(&cluster.kubectl(&["get", "statefulset"]).ok(), &["READY", "3/3"]);
    cluster.kubectl(&["scale", "statefulset/web", "--replicas=1"]).ok();
    comes_to(&cluster, &names, "pod/web-0");
    let uid = cluster.kubectl(&["get", "pod", "web-0", "-o", "jsonpath={.metadata.uid}"]).ok();
    cluster.kubectl(&["delete", "pod", "web-0"]).ok();
    cluster.kubectl(&["rollout", "status", "statefulset/web", "--timeout=60s"]).ok();
    let again = cluster.kubectl(&["get", "pod", "web-0", "-o", "jsonpath={.metadata.uid}"]).ok();
    assert_ne!(uid, again);
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_and_rolls_out_and_back() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    push_hello(&cluster, "v2");
    apply(&cluster, &set_of_hello("DaemonSet", &["minReadySeconds: 0"]));
    rolls_out_and_back(&cluster, "daemonset/web");
    let table = cluster.kubectl(&["get", "daemonset", "web"]).ok();
    assert_has(&table, &["DESIRED", "CURRENT", "UP-TO-DATE", "NODE SELECTOR", "<none>"]);
    assert_has(
        &cluster.kubectl(&["describe", "daemonset", "web"]).ok(),
        &["Desired Number of Nodes Scheduled: 1"],
    );
    // No node has that label, and so none keeps a pod.
    let narrow = r#"{"spec":{"template":{"spec":{"nodeSelector":{"disk":"none"}}}}}"#;
    cluster.kubectl(&["patch", "daemonset", "web", "-p", narrow]).ok();
    comes_to(&cluster, &["get", "pods", "-o", "name"], "");
    cluster.kubectl(&["delete", "daemonset", "web"]).ok();
    comes_to(&cluster, &["get", "controllerrevisions", "-o", "name"], "");
}

#[test]
fn a_node_is_drained_as_far_as_budgets_allow_and_takes_pods_again() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    apply(&cluster, &set_of_hello("Deployment", &["replicas: 2"]));
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    cluster.kubectl(&["create", "pdb", "web", "--selector=app=web", "--min-available=2"]).ok();
    let allowed =
        ["get", "pdb", "web", "-o", "jsonpath={.status.currentHealthy} {.status.disruptionsAllowed}"];
    comes_to(&cluster, &allowed, "2 0");
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    let refused = cluster.kubectl(&["drain", &node, "--timeout=8s"]).err();
    assert_has(&refused, &["Cannot evict pod as it would violate the pod's disruption budget."]);
    assert_has(&cluster.kubectl(&["get", "nodes"]).ok(), &["Ready,SchedulingDisabled"]);
    let names = ["get", "pods", "-l", "app=web", "-o", "name"];
    let before = cluster.kubectl(&names).ok();
    assert_eq!(before.lines().count(), 2);

    cluster.kubectl(&["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec":{"minAvailable":0}}"#]).ok();
    comes_to(&cluster, &allowed, "2 2");
    assert_has(&cluster.kubectl(&["get", "pdb"]).ok(), &["MIN AVAILABLE", "ALLOWED DISRUPTIONS", "N/A"]);
    let dry = cluster.kubectl(&["drain", &node, "--dry-run=server"]).ok();
    assert_has(&dry, &["evicting pod default/web-", "drained (server dry run)"]);
    assert_eq!(cluster.kubectl(&names).ok(), before);
    assert_has(&cluster.kubectl(&["drain", &node, "--timeout=60s"]).ok(), &["evicted", "drained"]);
    let after = cluster.kubectl(&names).ok();
    assert!(before.lines().all(|pod| !after.contains(pod)), "{before}{after}");

    cluster.kubectl(&["uncordon", &node]).ok();
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    cluster.kubectl(&["delete", "deployment,pdb", "web"]).ok();
}

/// One object of each kind that is stored without effect.
const INERT: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: web}
spec: {controller: example.com/web}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: web}
spec: {hard: {pods: '10'}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: web}
spec: {limits: [{type: Container, default: {cpu: 100m}, defaultRequest: {cpu: 100m}}]}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: web}
handler: web
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
---
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: old}
spec: {maxReplicas: 3, targetCPUUtilizationPercentage: 70, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
---
apiVersion: v1
kind: PodTemplate
metadata: {name: web}
template: {spec: {containers: [{name: c, image: i}]}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: web}
webhooks:
- {name: web.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://127.0.0.1:1/'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: web}
webhooks:
- {name: web.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://127.0.0.1:1/'}}
";

#[test]
fn kinds_that_charts_ship_are_stored_with_a_warning_and_listed() {
    let cluster = Cluster::start();
    let kinds: Vec<&str> = INERT.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    let first = cluster.kubectl_with(&["apply", "-f", "-"], INERT);
    assert!(first.success, "{}", first.stderr);
    assert_eq!(first.stdout.matches(" created").count(), kinds.len(), "{}", first.stdout);
    for kind in &kinds {
        // Both kinds of webhook are named together.
        let named = if kind.ends_with("WebhookConfiguration") { "admission webhooks" } else { kind };
        assert_has(&first.stderr, &[&format!("Warning: {named} ")]);
    }
    let again = apply(&cluster, INERT);
    assert_eq!(again.matches(" unchanged").count(), kinds.len(), "{again}");
    for (kind, parts) in [
        ("ingress", &["CLASS", "HOSTS", "web.test", "80"][..]),
        ("hpa", &["Deployment/web", "cpu: <unknown>/80%", "cpu: <unknown>/70%"]),
        ("quota", &["pods: 0/10"]),
    ] {
        assert_has(&cluster.kubectl(&["get", kind]).ok(), parts);
    }
    let old = [
        "get",
        "horizontalpodautoscalers.v1.autoscaling",
        "old",
        "-o",
        "jsonpath={.spec.targetCPUUtilizationPercentage}",
    ];
    assert_eq!(cluster.kubectl(&old).ok(), "70");
    assert_has(&cluster.kubectl(&["describe", "ingress", "web"]).ok(), &["web.test"]);
    assert_has(&cluster.kubectl(&["explain", "ingress.spec.rules.http.paths"]).ok(), &["pathType"]);
    let deleted = cluster.kubectl_with(&["delete", "-f", "-", "--timeout=60s"], INERT).ok();
    assert_eq!(deleted.matches(" deleted").count(), kinds.len(), "{deleted}");
}
