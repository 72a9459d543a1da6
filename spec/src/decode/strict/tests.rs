//! Tables of bodies and what strict validation says of them.

use proptest::prelude::*;

use super::*;
use crate::schema::message;

fn check_as(group: &str, kind: &str, json: &str) -> Result<Findings, DecodeError> {
    strict_check(json.as_bytes(), message(group, "v1", kind).unwrap())
}

fn pod(json: &str) -> Result<Findings, DecodeError> {
    check_as("", "Pod", json)
}

fn found(json: &str) -> Vec<String> {
    pod(json).unwrap().fields.iter().map(Finding::to_string).collect()
}

#[test]
fn a_correct_body_has_no_findings_and_tells_its_kind() {
    let json = r#" {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"app":"x","tier":"y"}},
        "spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],
        "resources":{"limits":{"cpu":1,"memory":"1Gi"}},"livenessProbe":{"httpGet":{"port":"http"}}}],
        "nodeSelector":null,"volumes":[{"name":"v","emptyDir":{}}]}} "#;
    let findings = pod(json).unwrap();
    assert!(findings.is_empty());
    assert_eq!((findings.api_version.as_deref(), findings.kind.as_deref()), (Some("v1"), Some("Pod")));
}

#[test]
fn unknown_fields_are_named_by_their_path() {
    for (json, expected) in [
        (r#"{"foo":1}"#, r#"unknown field "foo""#),
        (r#"{"spec":{"foo":{"bar":1}}}"#, r#"unknown field "spec.foo""#),
        (r#"{"spec":{"containers":[{},{"imag":"x"}]}}"#, r#"unknown field "spec.containers[1].imag""#),
        (r#"{"Metadata":{}}"#, r#"unknown field "Metadata""#),
        (
            r#"{"spec":{"volumes":[{"emptyDir":{"size":1}}]}}"#,
            r#"unknown field "spec.volumes[0].emptyDir.size""#,
        ),
        (r#"{"m\u0065tadata":{"nam\"e":1}}"#, r#"unknown field "metadata.nam\"e""#),
    ] {
        assert_eq!(found(json), [expected], "{json}");
    }
}

#[test]
fn duplicate_fields_are_named_once() {
    for (json, expected) in [
        (r#"{"spec":{},"spec":{},"spec":{}}"#, vec![r#"duplicate field "spec""#]),
        (
            r#"{"metadata":{"labels":{"a":"1","b":"2","\u0061":"3"}}}"#,
            vec![r#"duplicate field "metadata.labels.a""#],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a","name":"b"}],"x":1,"hostname":"a","hostname":"b"}}"#,
            vec![
                r#"duplicate field "spec.containers[0].name""#,
                r#"unknown field "spec.x""#,
                r#"duplicate field "spec.hostname""#,
            ],
        ),
    ] {
        assert_eq!(found(json), expected, "{json}");
    }
}

#[test]
fn duplicates_are_found_among_many_keys() {
    let keys: String = (0..100).map(|n| format!(r#""k{n}":"v","#)).collect();
    let json = format!(r#"{{"metadata":{{"labels":{{{keys}"k3":"v","k77":"v"}}}}}}"#);
    assert_eq!(
        found(&json),
        [r#"duplicate field "metadata.labels.k3""#, r#"duplicate field "metadata.labels.k77""#]
    );
}

#[test]
fn duplicates_are_found_in_json_of_no_known_type() {
    for (json, expected) in [
        (r#"{"spec":{"a":1,"a":2},"x":[{"b":1},{"b":1,"b":2}]}"#, vec!["spec.a", "x[1].b"]),
        (r#"[{"op":"add","op":"test"}]"#, vec!["[0].op"]),
        (r#"[1,"x",null,{}]"#, vec![]),
    ] {
        let expected: Vec<Finding> =
            expected.into_iter().map(|path| Finding::Duplicate(path.to_owned())).collect();
        assert_eq!(duplicate_check(json.as_bytes()).unwrap().fields, expected);
    }
    assert!(duplicate_check(b"{\"a\":").is_err());
    assert!(duplicate_check("[".repeat(10_000).as_bytes()).is_err());
}

#[test]
fn at_most_a_hundred_findings_are_kept() {
    let keys: Vec<String> = (0..1000).map(|n| format!(r#""k{n}":1"#)).collect();
    assert_eq!(found(&format!("{{{}}}", keys.join(","))).len(), 100);
}

#[test]
fn free_form_values_are_not_looked_into() {
    let json = r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:x":{".":{}},"f:x":1}}]}}"#;
    assert!(pod(json).unwrap().is_empty());
    let crd = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"default":{"a":1},"enum":[1,"x",null],
        "items":{"type":"string"},"additionalProperties":false,"properties":{"p":{"additionalProperties":{"typ":1}}}
        }}}]}}"#;
    let findings = check_as("apiextensions.k8s.io", "CustomResourceDefinition", crd).unwrap();
    let path = "spec.versions[0].schema.openAPIV3Schema.properties.p.additionalProperties.typ";
    assert_eq!(findings.fields, [Finding::Unknown(path.to_owned())]);
}

#[test]
fn values_of_a_wrong_type_are_told_in_upstreams_words() {
    for (json, expected) in [
        (
            r#"{"spec":{"replicas":"three"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":3000000000}}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}}}"#,
            "json: cannot unmarshal number into Go struct field \
             EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":{"name":"c"}}}}}"#,
            "json: cannot unmarshal object into Go struct field \
             PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            r#"{"metadata":{"labels":{"a":true}}}"#,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels.a of type string",
        ),
        (
            r#"{"spec":[]}"#,
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":true}}}}"#,
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"x1"}}}]}}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        let error = check_as("apps", "Deployment", json).unwrap_err();
        assert_eq!(error, DecodeError::Type(expected.to_owned()), "{json}");
    }
}

#[test]
fn quantities_are_told_from_other_strings() {
    let check = |value: &str| {
        pod(&format!(r#"{{"spec":{{"overhead":{{"cpu":{value}}}}}}}"#)).map_err(|error| error.to_string())
    };
    for value in
        [r#""1""#, r#""100m""#, r#""1.5Gi""#, r#""-3""#, r#""+.5""#, r#""1e3""#, r#""2E""#, "0.5", "1e-3"]
    {
        assert!(check(value).is_ok(), "{value}");
    }
    for value in [r#""""#, r#""m""#, r#""1 Gi""#, r#""1gb""#, "true", r#""1.2.3""#, r#""1mm""#, r#""1e""#] {
        assert!(check(value).is_err(), "{value}");
    }
}

#[test]
fn base64_is_checked_and_line_breaks_in_it_removed() {
    let check = |value: &str| {
        check_as("", "Secret", &format!(r#"{{"data":{{"a":"{value}","b":"eA=="}},"type":"a\nb"}}"#))
    };
    for value in ["", "eA==", "eHg=", "eHh4", "eHh4eA=="] {
        assert_eq!(check(value).map(|findings| findings.repaired), Ok(None), "{value}");
    }
    for (value, byte) in [
        ("e", 0),
        ("eA", 0),
        ("eA=", 3),
        ("eA==x", 4),
        ("====", 0),
        ("e===", 1),
        ("eHh4=", 4),
        ("eH-4", 2),
        ("eA=x", 3),
        ("eHh4e", 4),
        ("é", 0),
        ("eHg==", 4),
    ] {
        let expected = DecodeError::Type(format!("illegal base64 data at input byte {byte}"));
        assert_eq!(check(value), Err(expected), "{value}");
    }
    let repaired = check(r"eHh4\neA\u000d==\n").unwrap().repaired.unwrap();
    assert_eq!(String::from_utf8(repaired).unwrap(), r#"{"data":{"a":"eHh4eA==","b":"eA=="},"type":"a\nb"}"#);
}

/// Text that is nearly JSON.
fn near_json() -> impl Strategy<Value = String> {
    let tokens =
        ["{", "}", "[", "]", ":", ",", "\"a\"", "\"b\\n\"", "1", "-0.5e3", "true", "null", " ", "\"", "\\"];
    prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..20).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_json_is_what_serde_json_says(text in near_json()) {
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(duplicate_check(text.as_bytes()).is_ok(), theirs, "{}", text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = strict_check(&bytes, message("", "v1", "Pod").unwrap());
    }

    #[test]
    fn a_body_that_passes_becomes_its_type(at in any::<prop::sample::Index>(), byte in 32_u8..127) {
        let mut json = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"a":"b"},"generation":1},
            "spec":{"containers":[{"name":"c","ports":[{"containerPort":80}],"args":["x"],"stdin":true,
            "resources":{"limits":{"cpu":1}},"readinessProbe":{"tcpSocket":{"port":1}}}],"volumes":null}}"#.to_vec();
        let at = at.index(json.len());
        json[at] = byte;
        if strict_check(&json, message("", "v1", "Pod").unwrap()).is_ok() {
            let typed = serde_json::from_slice::<k8s_openapi::api::core::v1::Pod>(&json);
            // These two say what kind it is, which the type fixes.
            let other_kind = typed.as_ref().is_err_and(|error| error.to_string().contains("invalid value"));
            prop_assert!(typed.is_ok() || other_kind, "{} {:?}", String::from_utf8_lossy(&json), typed);
        }
    }
}

#[test]
fn a_negative_zero_is_no_integer() {
    for json in [r#"{"spec":{"priority":-0}}"#, r#"{"metadata":{"generation":-0}}"#] {
        assert!(strict_check(json.as_bytes(), message("", "v1", "Pod").unwrap()).is_err(), "{json}");
    }
}

#[test]
fn text_that_is_not_json_is_told_in_upstreams_words() {
    for (json, expected) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        (r#"{"a"#, "unexpected end of JSON input"),
        ("hello", "invalid character 'h' looking for beginning of value"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a":1 "b":2}"#, "invalid character '\"' after object key:value pair"),
        (r#"{"a":1{"b":2}"#, "invalid character '{' after object key:value pair"),
        (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
        (r#"{"a":[1,]}"#, "invalid character ']' looking for beginning of value"),
        (r#"{"a":[1[2]]}"#, "invalid character '[' after array element"),
        (r#"{"a":01}"#, "invalid character '1' after object key:value pair"),
        (r#"{"a":1.}"#, "invalid character '}' after decimal point in numeric literal"),
        (r#"{"a":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
        (r#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
        ("{\"a\":\"\n\"}", r"invalid character '\n' in string literal"),
        ("{} {}", "invalid character '{' after top-level value"),
    ] {
        assert_eq!(pod(json), Err(DecodeError::Json(expected.to_owned())), "{json}");
    }
}

#[test]
fn json_that_is_not_an_object_is_told_in_upstreams_words() {
    let error = pod("[]").unwrap_err();
    let message = error.message("Pod", None, b"[]");
    assert_eq!(
        message,
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: \
         json: cannot unmarshal array into Go value of type struct { APIVersion string \
         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)"
    );
}

#[test]
fn a_wrong_type_is_told_with_the_kind_that_was_found() {
    let error = DecodeError::Type("json: cannot unmarshal".to_owned());
    assert_eq!(
        error.message("Pod", Some(("Pod", "v1")), b"{}"),
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal"
    );
}

#[test]
fn deep_nesting_is_refused_wherever_it_is() {
    let deep = |count: usize| "[".repeat(count);
    for json in [deep(10_000), format!(r#"{{"x":{}"#, deep(10_000)), r#"{"spec":"#.repeat(10_000), {
        let props = r#"{"not":"#.repeat(10_000);
        format!(r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{props}"#)
    }] {
        let error = check_as("apiextensions.k8s.io", "CustomResourceDefinition", &json).unwrap_err();
        assert!(error.to_string().ends_with("exceeded max depth"), "{error}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let root = message("", "v1", "Pod").unwrap();
    assert!(matches!(strict_check(b"{\"\xff\":1}", root), Err(DecodeError::Json(_))));
}

#[test]
fn strings_of_every_length_end_at_their_quote() {
    for length in 0..40 {
        for last in ["", "\\\"", "\\\\", "é", "\u{10ffff}"] {
            let json = format!(r#"{{"metadata":{{"name":"{}{last}"}},"foo":1}}"#, "x".repeat(length));
            assert_eq!(found(&json), [r#"unknown field "foo""#], "{json}");
        }
    }
}
