//! What holds for any schema and any object, however strange: nothing panics, and what was pruned, filled in and
//! stored stays as it is when that happens again.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::path::Path;
use super::tests::{definition, kind, made};
use crate::testing::create;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// Sound schemas of a field, some inside others.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "string", "default": "x", "maxLength": 3})),
        Just(json!({"type": "string", "nullable": true, "enum": ["a", "b", null]})),
        Just(json!({"type": "integer", "minimum": 1, "default": 2})),
        Just(json!({"type": "number", "multipleOf": 0.5})),
        Just(json!({"type": "boolean", "default": false})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true})),
        Just(
            json!({"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 3 || self == 'long'"}]})
        ),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            inner.clone().prop_map(|values| json!({"type": "object", "additionalProperties": values})),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|fields| json!({"type": "object", "properties": fields})),
        ]
    })
}

/// Any JSON, with the field names of the schemas.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..9).prop_map(Value::from),
        (-3.0..9.0_f64).prop_map(Value::from),
        "[a-z]{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-e]|kind|apiVersion|metadata", inner, 0..4)
                .prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn what_is_stored_is_what_the_schema_makes_of_itself(schema in schema(), values in proptest::collection::vec(value(), 8)) {
        let kind = kind(&schema.to_string());
        for value in values {
            let body = json!({"metadata": {"name": "a"}, "spec": value}).to_string();
            let Ok(object) = made(&kind, &body) else { continue };
            let stored = object.to_stored();
            let mut again = kind.decode_stored(&stored, 1).unwrap();
            again.set_defaults();
            prop_assert_eq!(String::from_utf8(again.to_stored()).unwrap(), String::from_utf8(stored.clone()).unwrap());
            // What was accepted has nothing that the schema does not know.
            let findings = kind.findings(&kind.object_json(&stored, 1)).unwrap().unwrap();
            prop_assert!(findings.is_empty(), "{:?}", findings);
            // An object that does not change is not refused.
            let mut errors = crate::field_error::FieldErrors::new();
            again.validate_change(object.as_ref(), crate::resource::Target::Main, &mut errors);
            prop_assert!(errors.is_empty(), "{}", errors.message());
        }
    }

    #[test]
    fn no_schema_makes_the_definition_panic(schema in value(), more in value()) {
        let keywords = json!({"type": schema, "properties": more, "items": schema, "default": more, "enum": more,
            "allOf": more, "anyOf": schema, "not": more, "pattern": schema, "x-kubernetes-validations": more});
        for schema in [&schema, &more, &keywords] {
            let yaml = definition(&schema.to_string());
            if serde_json::from_slice::<CustomResourceDefinition>(&crate::testing::body(&yaml)).is_ok() {
                // Refused or not: it answers.
                let _ = create::<CustomResourceDefinition>(&yaml);
            }
        }
    }

    #[test]
    fn no_path_and_no_rule_panics(text in r#"[-a-z0-9.\[\](){}*?@='"\\ ,+!&|<>:]{0,60}"#) {
        if let Some(path) = Path::parse(&text) {
            path.find(&json!({"a": [1, {"b": "c"}]}));
        }
        let rule = serde_json::to_string(&text).unwrap();
        let yaml = definition(&format!("{{type: object, x-kubernetes-validations: [{{rule: {rule}}}]}}"));
        let _ = create::<CustomResourceDefinition>(&yaml);
    }
}
