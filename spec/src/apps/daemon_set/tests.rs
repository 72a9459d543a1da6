//! DaemonSets: defaults, messages, updates, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_update, create, update};

const MINIMAL: &str = "
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: a, image: agent:v1}]}
";

#[test]
fn a_minimal_set_replaces_one_pod_at_a_time_and_counts_its_templates() {
    let object = create::<DaemonSet>(MINIMAL).unwrap();
    let rolling =
        object.get::<DaemonSet>().unwrap().spec.clone().unwrap().update_strategy.unwrap().rolling_update;
    assert_eq!(rolling.unwrap().max_unavailable, Some(IntOrString::Int(1)));
    let count = |new: &str| {
        let object = update::<DaemonSet>(MINIMAL, new, Target::Main).unwrap();
        object.meta().annotations.clone().unwrap()[TEMPLATE_GENERATION].clone()
    };
    assert_eq!(count(MINIMAL), "1");
    assert_eq!(count(&MINIMAL.replace("agent:v1", "agent:v2")), "2");
}

#[test]
fn broken_sets_are_told_what_is_wrong() {
    let with = |strategy: &str| {
        MINIMAL.replace("spec:\n  selector", &format!("spec:\n  updateStrategy: {strategy}\n  selector"))
    };
    check_invalid::<DaemonSet>(
        &with("{rollingUpdate: {maxUnavailable: 1, maxSurge: 10%}}"),
        expect![[
            r#"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "10%": may not be set when maxUnavailable is non-zero"#
        ]],
    );
    check_invalid::<DaemonSet>(
        &with("{rollingUpdate: {maxUnavailable: 0}}"),
        expect![
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"
        ],
    );
    check_invalid::<DaemonSet>(
        &with("{type: Sometimes}"),
        expect![[
            r#"spec.updateStrategy.type: Unsupported value: "Sometimes": supported values: "OnDelete", "RollingUpdate""#
        ]],
    );
}

#[test]
fn the_selector_stays() {
    check_update::<DaemonSet>(
        MINIMAL,
        &MINIMAL.replace("app: agent", "app: other"),
        Target::Main,
        expect![[
            r#"DaemonSet.apps "agent" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable"#
        ]],
    );
}

#[test]
fn a_set_is_a_row() {
    let observed = format!(
        "{MINIMAL}\nstatus: {{desiredNumberScheduled: 3, currentNumberScheduled: 2, numberReady: 1, numberMisscheduled: 0}}"
    );
    check_row::<DaemonSet>(
        update::<DaemonSet>(MINIMAL, &observed, Target::Status).unwrap().as_ref(),
        expect![[r#"
            Name: "agent"
            Desired: 3
            Current: 2
            Ready: 1
            Up-to-date: 0
            Available: 0
            Node Selector: "<none>"
            Age: "0s"
            Containers*: "a"
            Images*: "agent:v1"
            Selector*: "app=agent""#]],
    );
}
