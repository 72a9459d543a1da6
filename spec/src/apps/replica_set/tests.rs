//! ReplicaSets: defaults, messages, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create};

const MINIMAL: &str = "
metadata: {name: web-1}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: hello:v1}, {name: side, image: side}]}
";

#[test]
fn a_minimal_replica_set_has_one_replica() {
    check_stored::<ReplicaSet>(
        MINIMAL,
        expect![[r#"
        metadata:
          generation: 1
          name: web-1
        spec:
          replicas: 1
          selector:
            matchLabels:
              app: web
          template:
            metadata:
              labels:
                app: web
            spec:
              containers:
              - image: hello:v1
                imagePullPolicy: IfNotPresent
                name: web
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              - image: side
                imagePullPolicy: Always
                name: side
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              dnsPolicy: ClusterFirst
              restartPolicy: Always
              schedulerName: default-scheduler
              securityContext: {}
              terminationGracePeriodSeconds: 30
        status:
          replicas: 0
    "#]],
    );
}

#[test]
fn broken_replica_sets_are_told_what_is_wrong() {
    check_invalid::<ReplicaSet>(
        "{metadata: {name: web}, spec: {replicas: -1, minReadySeconds: -1}}",
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0
            spec.selector: Required value
            spec.template: Required value"#]],
    );
    let moved = MINIMAL.replace("app: web", "app: other");
    check_update::<ReplicaSet>(
        MINIMAL,
        &moved,
        Target::Main,
        expect![[
            r#"ReplicaSet.apps "web-1" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable"#
        ]],
    );
    let impossible = format!("{MINIMAL}\nstatus: {{replicas: 1, fullyLabeledReplicas: 2}}");
    check_update::<ReplicaSet>(
        MINIMAL,
        &impossible,
        Target::Status,
        expect![[
            r#"ReplicaSet.apps "web-1" is invalid: status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"#
        ]],
    );
}

#[test]
fn a_replica_set_is_a_row_and_has_a_scale() {
    let mut object = create::<ReplicaSet>(MINIMAL).unwrap();
    object.set_replicas(4);
    check_row::<ReplicaSet>(
        object.as_ref(),
        expect![[r#"
        Name: "web-1"
        Desired: 4
        Current: 0
        Ready: 0
        Age: "0s"
        Containers*: "web,side"
        Images*: "hello:v1,side"
        Selector*: "app=web""#]],
    );
    let scale = object.scale().unwrap();
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    assert_eq!(scale.spec.unwrap().replicas, Some(4));
}
