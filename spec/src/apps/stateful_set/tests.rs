//! StatefulSets: defaults, messages, updates, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_update, create, update};

const MINIMAL: &str = "
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db:v1}]}
";

#[test]
fn a_minimal_set_is_ordered_and_rolls() {
    let object = create::<StatefulSet>(MINIMAL).unwrap();
    let spec = object.get::<StatefulSet>().unwrap().spec.clone().unwrap();
    assert_eq!((spec.replicas, spec.revision_history_limit), (Some(1), Some(10)));
    assert_eq!(spec.pod_management_policy.as_deref(), Some("OrderedReady"));
    let strategy = spec.update_strategy.unwrap();
    assert_eq!(strategy.type_.as_deref(), Some("RollingUpdate"));
    assert_eq!(strategy.rolling_update.unwrap().partition, Some(0));
    assert_eq!(
        spec.persistent_volume_claim_retention_policy.unwrap().when_deleted.as_deref(),
        Some("Retain")
    );
}

#[test]
fn broken_sets_are_told_what_is_wrong() {
    check_invalid::<StatefulSet>(
        "
metadata: {name: db}
spec:
  replicas: -1
  ordinals: {start: -1}
  podManagementPolicy: Chaotic
  updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: web}}
    spec: {restartPolicy: Never, containers: [{name: db, image: db:v1}]}
",
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0
            spec.podManagementPolicy: Unsupported value: "Chaotic": supported values: "OrderedReady", "Parallel"
            spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy 'RollingUpdate'
            spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#]],
    );
    let rolling = MINIMAL
        .replace("serviceName: db", "updateStrategy: {rollingUpdate: {partition: -1, maxUnavailable: 0}}");
    check_invalid::<StatefulSet>(
        &rolling,
        expect![[r#"
        spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0
        spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"#]],
    );
}

#[test]
fn only_what_the_controller_can_follow_may_change() {
    let renamed = MINIMAL.replace("serviceName: db", "serviceName: other");
    check_update::<StatefulSet>(
        MINIMAL,
        &renamed,
        Target::Main,
        expect![[
            r#"StatefulSet.apps "db" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"#
        ]],
    );
    let newer =
        MINIMAL.replace("db:v1", "db:v2").replace("serviceName: db", "serviceName: db\n  replicas: 3");
    assert_eq!(update::<StatefulSet>(MINIMAL, &newer, Target::Main).unwrap().meta().generation, Some(2));
}

#[test]
fn a_set_is_a_row_and_has_a_scale() {
    let observed = format!("{MINIMAL}\nstatus: {{replicas: 1, readyReplicas: 1}}");
    let mut object = update::<StatefulSet>(MINIMAL, &observed, Target::Status).unwrap();
    check_row::<StatefulSet>(
        object.as_ref(),
        expect![[r#"
        Name: "db"
        Ready: "1/1"
        Age: "0s"
        Containers*: "db"
        Images*: "db:v1""#]],
    );
    object.set_replicas(4);
    assert_eq!(object.scale().unwrap().spec.unwrap().replicas, Some(4));
    let impossible = format!("{MINIMAL}\nstatus: {{replicas: 1, currentReplicas: 2}}");
    check_update::<StatefulSet>(
        MINIMAL,
        &impossible,
        Target::Status,
        expect![[
            r#"StatefulSet.apps "db" is invalid: status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas"#
        ]],
    );
}

#[test]
fn a_claim_is_a_volume_that_containers_may_mount() {
    let mounting = MINIMAL.replace("db:v1", "db:v1, volumeMounts: [{name: data, mountPath: /data}]");
    assert!(create::<StatefulSet>(&mounting).is_err(), "{mounting}");
    let claims = "serviceName: db\n  volumeClaimTemplates: [{metadata: {name: data}}]";
    create::<StatefulSet>(&mounting.replace("serviceName: db", claims)).unwrap();
}
