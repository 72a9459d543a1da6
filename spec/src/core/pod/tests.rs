//! Pods: defaults, updates, deletion, binding; messages and rows in files of their own.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::testing::{check_stored, check_update, create, now, update};

mod messages;
mod rows;

const MINIMAL: &str = "{metadata: {name: web}, spec: {containers: [{name: web, image: hello}]}}";

#[test]
fn a_minimal_pod_is_filled_as_upstream_fills_it() {
    check_stored::<Pod>(
        MINIMAL,
        expect![[r#"
        metadata:
          generation: 1
          name: web
        spec:
          containers:
          - image: hello
            imagePullPolicy: Always
            name: web
            resources: {}
            terminationMessagePath: /dev/termination-log
            terminationMessagePolicy: File
          dnsPolicy: ClusterFirst
          enableServiceLinks: true
          restartPolicy: Always
          schedulerName: default-scheduler
          securityContext: {}
          terminationGracePeriodSeconds: 30
        status:
          phase: Pending
          qosClass: BestEffort
    "#]],
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table of cases")]
fn each_part_of_a_pod_has_its_defaults() {
    check_stored::<Pod>(
        "
metadata: {name: web}
spec:
  serviceAccount: builder
  hostNetwork: true
  schedulingGates: [{name: example.com/wait}]
  initContainers: [{name: init, image: 'init:latest', restartPolicy: Always}]
  containers:
  - name: web
    image: localhost:5000/hello:v1
    ports: [{containerPort: 80}]
    env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    resources: {limits: {cpu: '0.5', memory: 1024Mi}, requests: {cpu: 100m}}
    livenessProbe: {httpGet: {port: http}}
    readinessProbe: {grpc: {port: 9}, periodSeconds: 3}
    lifecycle: {preStop: {httpGet: {port: 80}}}
  volumes:
  - {name: dir}
  - {name: limited, emptyDir: {sizeLimit: 1024Ki}}
  - {name: config, configMap: {name: c}}
  - {name: secret, secret: {secretName: s, defaultMode: 256}}
  - {name: host, hostPath: {path: /tmp}}
  - {name: image, image: {reference: data}}
  - {name: down, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: all, projected: {sources: [{serviceAccountToken: {path: token}}]}}
",
        expect![[r#"
            metadata:
              generation: 1
              name: web
            spec:
              containers:
              - env:
                - name: A
                  valueFrom:
                    fieldRef:
                      apiVersion: v1
                      fieldPath: status.podIP
                image: localhost:5000/hello:v1
                imagePullPolicy: IfNotPresent
                lifecycle:
                  preStop:
                    httpGet:
                      path: /
                      port: 80
                      scheme: HTTP
                livenessProbe:
                  failureThreshold: 3
                  httpGet:
                    path: /
                    port: http
                    scheme: HTTP
                  periodSeconds: 10
                  successThreshold: 1
                  timeoutSeconds: 1
                name: web
                ports:
                - containerPort: 80
                  hostPort: 80
                  protocol: TCP
                readinessProbe:
                  failureThreshold: 3
                  grpc:
                    port: 9
                    service: ""
                  periodSeconds: 3
                  successThreshold: 1
                  timeoutSeconds: 1
                resources:
                  limits:
                    cpu: 500m
                    memory: 1Gi
                  requests:
                    cpu: 100m
                    memory: 1Gi
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              dnsPolicy: ClusterFirst
              enableServiceLinks: true
              hostNetwork: true
              initContainers:
              - image: init:latest
                imagePullPolicy: Always
                name: init
                resources: {}
                restartPolicy: Always
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              restartPolicy: Always
              schedulerName: default-scheduler
              schedulingGates:
              - name: example.com/wait
              securityContext: {}
              serviceAccount: builder
              serviceAccountName: builder
              terminationGracePeriodSeconds: 30
              volumes:
              - emptyDir: {}
                name: dir
              - emptyDir:
                  sizeLimit: 1Mi
                name: limited
              - configMap:
                  defaultMode: 420
                  name: c
                name: config
              - name: secret
                secret:
                  defaultMode: 256
                  secretName: s
              - hostPath:
                  path: /tmp
                  type: ""
                name: host
              - image:
                  pullPolicy: Always
                  reference: data
                name: image
              - downwardAPI:
                  defaultMode: 420
                  items:
                  - fieldRef:
                      apiVersion: v1
                      fieldPath: metadata.labels
                    path: a
                name: down
              - name: all
                projected:
                  defaultMode: 420
                  sources:
                  - serviceAccountToken:
                      expirationSeconds: 3600
                      path: token
            status:
              conditions:
              - message: Scheduling is blocked due to non-empty scheduling gates
                reason: SchedulingGated
                status: "False"
                type: PodScheduled
              phase: Pending
              qosClass: Burstable
        "#]],
    );
}

const RUNNING: &str = "{metadata: {name: web}, spec: {activeDeadlineSeconds: 60, tolerations: [{key: a, operator: Exists}], \
    containers: [{name: web, image: hello, command: [a]}]}}";

#[test]
fn only_images_deadlines_and_tolerations_of_a_pod_may_change() {
    let allowed = RUNNING
        .replace("image: hello", "image: 'hello:v2', imagePullPolicy: Always")
        .replace("60", "30")
        .replace(
            "operator: Exists}]",
            "operator: Exists, tolerationSeconds: 9, effect: ''}, {key: b, operator: Exists}]",
        )
        .replace(", tolerationSeconds: 9, effect: ''", "");
    assert_eq!(update::<Pod>(RUNNING, &allowed, Target::Main).unwrap().meta().generation, Some(2));
    let relabelled = RUNNING.replace("{name: web}, spec", "{name: web, labels: {a: b}}, spec");
    assert_eq!(update::<Pod>(RUNNING, &relabelled, Target::Main).unwrap().meta().generation, Some(1));
    for (new, expected) in [
        (
            RUNNING.replace("[a]", "[b]").replace("spec: {", "spec: {hostname: a, "),
            expect![[r#"
            Pod "web" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
            changed: spec.containers[0].command[0], spec.hostname"#]],
        ),
        (
            RUNNING.replace("command: [a]}", "command: [a]}, {name: b, image: b}"),
            expect![[
                r#"Pod "web" is invalid: spec.containers: Forbidden: pod updates may not add or remove containers"#
            ]],
        ),
        (
            RUNNING.replace("60", "90").replace("key: a", "key: b"),
            expect![[
                r#"Pod "web" is invalid: [spec.activeDeadlineSeconds: Invalid value: 90: must be less than or equal to previous value, spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds]"#
            ]],
        ),
        (
            RUNNING.replace("activeDeadlineSeconds: 60", "schedulingGates: [{name: a}]"),
            expect![[
                r#"Pod "web" is invalid: [spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value, spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'a']"#
            ]],
        ),
    ] {
        check_update::<Pod>(RUNNING, &new, Target::Main, expected);
    }
}

#[test]
fn the_status_path_changes_the_status_only() {
    let new = "{metadata: {name: web, labels: {a: b}}, spec: {containers: []}, \
        status: {phase: Running, podIP: 127.42.0.2, qosClass: Guaranteed}}";
    let object = update::<Pod>(MINIMAL, new, Target::Status).unwrap();
    let pod = object.get::<Pod>().unwrap();
    assert_eq!(pod.spec.as_ref().unwrap().containers.len(), 1);
    let status = serde_json::to_value(pod.status.as_ref().unwrap()).unwrap();
    let expected = json!({"phase": "Running", "podIP": "127.42.0.2", "podIPs": [{"ip": "127.42.0.2"}], "qosClass": "BestEffort"});
    assert_eq!(status, expected);
    check_update::<Pod>(
        MINIMAL,
        &new.replace("phase", "nominatedNodeName"),
        Target::Status,
        expect![[
            r#"Pod "web" is invalid: status.nominatedNodeName: Invalid value: "Running": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#
        ]],
    );
}

#[test]
fn a_delete_gives_as_long_as_it_should() {
    let grace = |node: &str, phase: &str, asked| {
        let yaml = format!(
            "{{metadata: {{name: web}}, spec: {{nodeName: {node}, containers: [{{name: a, image: a}}]}}}}"
        );
        let mut pod = create::<Pod>(&yaml).unwrap().take::<Pod>().unwrap();
        pod.status.as_mut().unwrap().phase = Some(phase.to_owned());
        deletion_grace_seconds(&pod, asked)
    };
    assert_eq!(grace("n1", "Running", None), 30);
    assert_eq!(grace("n1", "Running", Some(5)), 5);
    assert_eq!(grace("n1", "Running", Some(0)), 0);
    assert_eq!(grace("n1", "Running", Some(-3)), 1);
    assert_eq!(grace("n1", "Failed", None), 0);
    assert_eq!(grace("''", "Pending", Some(9)), 0);
}

#[test]
fn a_binding_places_a_pod_once() {
    let bind = |pod: &str, change: fn(&mut Pod), binding: serde_json::Value| {
        let mut pod = create::<Pod>(pod).unwrap().take::<Pod>().unwrap();
        change(&mut pod);
        let binding = serde_json::from_value(binding).unwrap();
        binding::bind(&mut pod, &binding, now()).map(|()| pod)
    };
    let to_n1 = json!({"target": {"kind": "Node", "name": "n1"}, "metadata": {"annotations": {"a": "b"}}});
    let pod = bind(MINIMAL, |_| {}, to_n1.clone()).unwrap();
    assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(pod.metadata.annotations.as_ref().unwrap()["a"], "b");
    expect![[r#"{"lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1,"status":"True","type":"PodScheduled"}"#]].assert_eq(&serde_json::to_string(condition(&pod, "PodScheduled").unwrap()).unwrap());
    let placed = MINIMAL.replace("spec: {", "spec: {nodeName: n2, ");
    let gated = MINIMAL.replace("spec: {", "spec: {schedulingGates: [{name: a}], ");
    let deleted: fn(&mut Pod) =
        |pod| pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
    let other = json!({"target": {"name": "n1"}, "metadata": {"uid": "uid-2"}});
    let refused: Vec<String> = [
        bind(&placed, |_| {}, to_n1.clone()),
        bind(&gated, |_| {}, to_n1.clone()),
        bind(MINIMAL, deleted, to_n1),
        bind(MINIMAL, |_| {}, other),
        bind(MINIMAL, |_| {}, json!({"target": {"kind": "Pod"}})),
    ]
    .into_iter()
    .map(|result| result.unwrap_err().to_string())
    .collect();
    expect![[r#"
        Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "n2"
        Operation cannot be fulfilled on pods/binding "web": pod web has non-empty .spec.schedulingGates
        Operation cannot be fulfilled on pods/binding "web": pod web is being deleted, cannot be assigned to a host
        Operation cannot be fulfilled on pods/binding "web": Precondition failed: UID in precondition: uid-2, UID in object meta: uid-1
        Binding "web" is invalid: [target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>", target.name: Required value]"#]].assert_eq(&refused.join("\n"));
}
