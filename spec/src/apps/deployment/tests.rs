//! Deployments: defaults, messages, updates, rows, scale.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create, update};

const MINIMAL: &str = "
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: hello:v1}]}
";

#[test]
fn a_minimal_deployment_is_filled_as_upstream_fills_it() {
    check_stored::<Deployment>(
        MINIMAL,
        expect![[r#"
        metadata:
          generation: 1
          name: web
        spec:
          progressDeadlineSeconds: 600
          replicas: 1
          revisionHistoryLimit: 10
          selector:
            matchLabels:
              app: web
          strategy:
            rollingUpdate:
              maxSurge: 25%
              maxUnavailable: 25%
            type: RollingUpdate
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
              dnsPolicy: ClusterFirst
              restartPolicy: Always
              schedulerName: default-scheduler
              securityContext: {}
              terminationGracePeriodSeconds: 30
        status: {}
    "#]],
    );
    let recreate = MINIMAL.replace("spec:\n  selector", "spec:\n  strategy: {type: Recreate}\n  selector");
    let object = create::<Deployment>(&recreate).unwrap();
    let strategy = object.get::<Deployment>().unwrap().spec.as_ref().unwrap().strategy.clone().unwrap();
    assert_eq!(strategy.rolling_update, None);
}

#[test]
fn broken_deployments_are_told_what_is_wrong() {
    check_invalid::<Deployment>(
        "metadata: {name: web}",
        expect![[r#"
            spec.selector: Required value
            spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`
            spec.template.spec.containers: Required value"#]],
    );
    check_invalid::<Deployment>(
        "
metadata: {name: web}
spec:
  replicas: -1
  minReadySeconds: 700
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 0%}}
  template:
    metadata: {labels: {app: other}}
    spec:
      restartPolicy: Never
      activeDeadlineSeconds: 5
      containers: [{name: web}]
",
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`
            spec.template.spec.containers[0].image: Required value
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
            spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported
            spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0
            spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"#]],
    );
    check_invalid::<Deployment>(
        "
metadata: {name: web}
spec:
  selector: {matchExpressions: [{key: app, operator: In}]}
  strategy: {type: Recreate, rollingUpdate: {maxUnavailable: 101%}}
  template: {spec: {containers: [{name: web, image: hello}]}}
",
        expect![[r#"
            spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`
            spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"#]],
    );
    check_invalid::<Deployment>(
        &MINIMAL.replace("spec:\n  selector", "spec:\n  strategy: {type: Sideways}\n  selector"),
        expect![[
            r#"spec.strategy.type: Unsupported value: "Sideways": supported values: "Recreate", "RollingUpdate""#
        ]],
    );
    check_invalid::<Deployment>(
        &MINIMAL.replace(
            "spec:\n  selector",
            "spec:\n  strategy: {rollingUpdate: {maxUnavailable: 101%, maxSurge: some}}\n  selector",
        ),
        expect![[r#"
            spec.strategy.rollingUpdate.maxSurge: Invalid value: "some": a valid percent string must be a numeric value followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
            spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#]],
    );
}

#[test]
fn templates_are_warned_of_as_pods_are() {
    let repeated = MINIMAL.replace("image: hello:v1", "image: hello:v1, env: [{name: A}, {name: A}]");
    expect![[r#"spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#]].assert_eq(&create::<Deployment>(&repeated).unwrap().warnings().join("\n"));
}

#[test]
fn the_selector_stays_and_the_generation_counts_what_is_wanted() {
    let renamed = MINIMAL.replace("app: web", "app: new");
    check_update::<Deployment>(
        MINIMAL,
        &renamed,
        Target::Main,
        expect![[
            r#"Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"new"}}: field is immutable"#
        ]],
    );
    let generation =
        |new: &str, target| update::<Deployment>(MINIMAL, new, target).unwrap().meta().generation;
    assert_eq!(generation(MINIMAL, Target::Main), Some(1));
    assert_eq!(generation(&MINIMAL.replace("hello:v1", "hello:v2"), Target::Main), Some(2));
    assert_eq!(
        generation(&MINIMAL.replace("{name: web}", "{name: web, labels: {a: b}}"), Target::Main),
        Some(1)
    );
    let annotated = MINIMAL.replace("metadata: {name: web}", "metadata: {name: web, annotations: {a: b}}");
    assert_eq!(generation(&annotated, Target::Main), Some(2));
    assert_eq!(generation(&MINIMAL.replace("hello:v1", "hello:v2"), Target::Status), Some(1));
}

#[test]
fn status_is_written_through_its_own_path_only() {
    let observed = format!("{MINIMAL}\nstatus: {{replicas: 3, readyReplicas: 2, availableReplicas: 2}}");
    let status = |target| {
        let object = update::<Deployment>(MINIMAL, &observed, target).unwrap();
        object.get::<Deployment>().unwrap().status.clone().unwrap().replicas
    };
    assert_eq!(status(Target::Main), None);
    assert_eq!(status(Target::Status), Some(3));
    assert_eq!(
        create::<Deployment>(&observed).unwrap().get::<Deployment>().unwrap().status,
        Some(<_>::default())
    );
    let impossible = format!(
        "{MINIMAL}\nstatus: {{replicas: 1, readyReplicas: 2, availableReplicas: 3, collisionCount: -1}}"
    );
    check_update::<Deployment>(
        MINIMAL,
        &impossible,
        Target::Status,
        expect![[
            r#"Deployment.apps "web" is invalid: [status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas, status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas, status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas, status.collisionCount: Invalid value: -1: must be greater than or equal to 0]"#
        ]],
    );
}

#[test]
fn a_deployment_is_a_row_and_has_a_scale() {
    let mut object = create::<Deployment>(MINIMAL).unwrap();
    object.get_mut::<Deployment>().unwrap().status = Some(DeploymentStatus {
        replicas: Some(1),
        ready_replicas: Some(1),
        updated_replicas: Some(1),
        available_replicas: Some(1),
        ..DeploymentStatus::default()
    });
    check_row::<Deployment>(
        object.as_ref(),
        expect![[r#"
        Name: "web"
        Ready: "1/1"
        Up-to-date: 1
        Available: 1
        Age: "0s"
        Containers*: "web"
        Images*: "hello:v1"
        Selector*: "app=web""#]],
    );
    object.set_replicas(5);
    let scale = object.scale().unwrap();
    expect![[r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","name":"web","namespace":"default","resourceVersion":"1","uid":"uid-1"},"spec":{"replicas":5},"status":{"replicas":1,"selector":"app=web"}}"#]].assert_eq(&serde_json::to_string(&scale).unwrap());
    assert_eq!(scale::wanted_replicas(&scale), Ok(5));
    let mut negative = scale;
    negative.spec = Some(k8s_openapi::api::autoscaling::v1::ScaleSpec { replicas: Some(-1) });
    expect![[r#"Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#]].assert_eq(&scale::wanted_replicas(&negative).unwrap_err().message);
}
