//! Namespaces: finalizers, phases, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create};

const MINIMAL: &str = "metadata: {name: team}";

#[test]
fn a_namespace_has_a_label_a_finalizer_and_a_phase() {
    check_stored::<Namespace>(
        MINIMAL,
        expect![[r#"
        metadata:
          labels:
            kubernetes.io/metadata.name: team
          name: team
        spec:
          finalizers:
          - kubernetes
        status:
          phase: Active
    "#]],
    );
    check_stored::<Namespace>(
        "{metadata: {generateName: team-}, status: {phase: Terminating}}",
        expect![[r#"
            metadata:
              generateName: team-
              labels:
                kubernetes.io/metadata.name: team-cbbbb
              name: team-cbbbb
            spec:
              finalizers:
              - kubernetes
            status:
              phase: Active
        "#]],
    );
}

#[test]
fn names_are_labels() {
    check_invalid::<Namespace>(
        "metadata: {name: a.b}",
        expect![[
            r#"metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#
        ]],
    );
}

#[test]
fn finalizers_change_through_finalize_only() {
    let none = "{metadata: {name: team, labels: {a: b}}, spec: {finalizers: []}}";
    check_update::<Namespace>(
        MINIMAL,
        none,
        Target::Main,
        expect![[r#"
        metadata:
          labels:
            a: b
            kubernetes.io/metadata.name: team
          name: team
        spec:
          finalizers:
          - kubernetes
        status:
          phase: Active
    "#]],
    );
    check_update::<Namespace>(
        MINIMAL,
        none,
        Target::Finalize,
        expect![[r#"
        metadata:
          labels:
            kubernetes.io/metadata.name: team
          name: team
        spec:
          finalizers: []
        status:
          phase: Active
    "#]],
    );
    let terminating = "{metadata: {name: team}, status: {phase: Terminating}}";
    check_update::<Namespace>(
        MINIMAL,
        terminating,
        Target::Status,
        expect![[
            r#"Namespace "team" is invalid: status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#
        ]],
    );
}

#[test]
fn a_namespace_is_a_row() {
    let object = create::<Namespace>(MINIMAL).unwrap();
    check_row::<Namespace>(
        object.as_ref(),
        expect![[r#"
        Name: "team"
        Status: "Active"
        Age: "0s""#]],
    );
    assert_eq!(object.field("status.phase").as_deref(), Some("Active"));
    assert_eq!(object.field("metadata.name").as_deref(), Some("team"));
}
