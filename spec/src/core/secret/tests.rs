//! Secrets: types, keys, immutability, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create};

#[test]
fn texts_are_folded_into_the_data() {
    check_stored::<Secret>(
        "{metadata: {name: s}, data: {a: YQ==, b: Yg==}, stringData: {a: new}}",
        expect![[r#"
            data:
              a: bmV3
              b: Yg==
            metadata:
              name: s
            type: Opaque
        "#]],
    );
}

#[test]
fn broken_secrets_are_told_what_is_wrong() {
    for (yaml, expected) in [
        (
            "{metadata: {name: s}, stringData: {a b: ''}}",
            expect![[
                r#"data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"#
            ]],
        ),
        (
            "{metadata: {name: s}, type: kubernetes.io/tls}",
            expect![[r#"
            data[tls.crt]: Required value
            data[tls.key]: Required value"#]],
        ),
        (
            "{metadata: {name: s}, type: kubernetes.io/basic-auth}",
            expect![[r#"
            data[username]: Required value
            data[password]: Required value"#]],
        ),
        (
            "{metadata: {name: s}, type: kubernetes.io/ssh-auth}",
            expect!["data[ssh-privatekey]: Required value"],
        ),
        ("{metadata: {name: s}, type: kubernetes.io/dockercfg}", expect!["data[.dockercfg]: Required value"]),
        (
            "{metadata: {name: s}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: hidden}}",
            expect![[
                r#"data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": expected value at line 1 column 1"#
            ]],
        ),
        (
            "{metadata: {name: s}, type: kubernetes.io/service-account-token}",
            expect!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ] {
        check_invalid::<Secret>(yaml, expected);
    }
}

#[test]
fn type_and_immutable_data_stay() {
    let fixed = "{metadata: {name: s}, immutable: true, stringData: {a: b}}";
    check_update::<Secret>(
        fixed,
        "{metadata: {name: s}, type: mine, stringData: {a: c}}",
        Target::Main,
        expect![[
            r#"Secret "s" is invalid: [type: Invalid value: "mine": field is immutable, immutable: Forbidden: field is immutable when `immutable` is set, data: Forbidden: field is immutable when `immutable` is set]"#
        ]],
    );
}

#[test]
fn a_secret_is_a_row() {
    let object = create::<Secret>("{metadata: {name: s}, stringData: {a: b}}").unwrap();
    check_row::<Secret>(
        object.as_ref(),
        expect![[r#"
        Name: "s"
        Type: "Opaque"
        Data: "1"
        Age: "0s""#]],
    );
    assert_eq!(object.field("type").as_deref(), Some("Opaque"));
}
