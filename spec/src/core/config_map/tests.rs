//! ConfigMaps: keys, sizes, immutability, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create};

#[test]
fn a_config_map_is_stored_as_it_is() {
    check_stored::<ConfigMap>(
        "{metadata: {name: c}, data: {a: b}, binaryData: {c: AAE=}}",
        expect![[r#"
        binaryData:
          c: AAE=
        data:
          a: b
        metadata:
          name: c
    "#]],
    );
    check_stored::<ConfigMap>(
        "{metadata: {name: c}}",
        expect![[r#"
        metadata:
          name: c
    "#]],
    );
}

#[test]
fn broken_config_maps_are_told_what_is_wrong() {
    check_invalid::<ConfigMap>(
        "{metadata: {name: c}, data: {a/b: '', x: ''}, binaryData: {x: AA==, '..': AA==}}",
        expect![[r#"
            data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            data[x]: Invalid value: "x": duplicate of key present in binaryData
            binaryData[..]: Invalid value: "..": must not be '..'"#]],
    );
    let big = format!("{{metadata: {{name: c}}, data: {{a: {}}}}}", "x".repeat(DATA_MAX_BYTES + 1));
    check_invalid::<ConfigMap>(&big, expect![": Too long: may not be more than 1048576 bytes"]);
}

#[test]
fn an_immutable_config_map_stays_as_it_is() {
    let fixed = "{metadata: {name: c}, immutable: true, data: {a: b}}";
    check_update::<ConfigMap>(
        fixed,
        "{metadata: {name: c}, data: {a: c}, binaryData: {b: AA==}}",
        Target::Main,
        expect![[
            r#"ConfigMap "c" is invalid: [immutable: Forbidden: field is immutable when `immutable` is set, data: Forbidden: field is immutable when `immutable` is set, binaryData: Forbidden: field is immutable when `immutable` is set]"#
        ]],
    );
    check_update::<ConfigMap>(
        fixed,
        "{metadata: {name: c, labels: {a: b}}, immutable: true, data: {a: b}}",
        Target::Main,
        expect![[r#"
            data:
              a: b
            immutable: true
            metadata:
              labels:
                a: b
              name: c
        "#]],
    );
}

#[test]
fn a_config_map_is_a_row() {
    let object = create::<ConfigMap>("{metadata: {name: c}, data: {a: b}, binaryData: {c: AAE=}}").unwrap();
    check_row::<ConfigMap>(
        object.as_ref(),
        expect![[r#"
        Name: "c"
        Data: "2"
        Age: "0s""#]],
    );
}
