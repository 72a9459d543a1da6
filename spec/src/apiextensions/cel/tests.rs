//! Rules as definitions bring them, on objects as requests bring them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::super::tests::{changed, definition, kind, made};
use crate::resource::{Kind, Target};
use crate::testing::{create, stored};

/// The kind of a definition whose `spec` has these rules.
fn ruled(rules: &str) -> Kind {
    kind(&format!(
        "{{type: object, x-kubernetes-validations: [{rules}], properties: {{min: {{type: integer}}, \
         max: {{type: integer}}, name: {{type: string, x-kubernetes-validations: [{{rule: 'self == oldSelf', \
         message: is immutable}}]}}, share: {{type: number}}, until: {{type: string, format: date-time}}, wait: \
         {{type: string, format: duration}}, a-b: {{type: string}}, ports: {{type: array, items: {{type: object, \
         properties: {{name: {{type: string}}, port: {{type: integer}}}}}}}}}}}}"
    ))
}

/// A rule, the `spec` of an object, and what is said if the object breaks the rule.
const CASES: &[(&str, &str, Option<&str>)] = &[
    ("{rule: 'self.min <= self.max', message: min is above max}", "{min: 1, max: 2}", None),
    (
        "{rule: 'self.min <= self.max', message: min is above max}",
        "{min: 3, max: 2}",
        Some(r#"spec: Invalid value: "object": min is above max"#),
    ),
    (
        "{rule: 'self.min <= self.max', messageExpression: '\"min \" + string(self.min) + \" is above max\"', \
             fieldPath: .min, reason: FieldValueForbidden}",
        "{min: 3, max: 2}",
        Some("spec.min: Forbidden: min 3 is above max"),
    ),
    ("{rule: '!has(self.name) || self.name.startsWith(\"x\")'}", "{name: xy}", None),
    (
        "{rule: '!has(self.name) || self.name.matches(\"^x+$\")'}",
        "{name: xy}",
        Some(r#"spec: Invalid value: "object": failed rule: !has(self.name) || self.name.matches("^x+$")"#),
    ),
    ("{rule: 'self.share > 0.5 && self.share < 2.0'}", "{share: 1}", None),
    ("{rule: 'self.until > timestamp(\"2025-01-01T00:00:00Z\")'}", "{until: '2026-01-01T00:00:00Z'}", None),
    ("{rule: 'self.wait <= duration(\"1h\")'}", "{wait: 30m}", None),
    ("{rule: 'self.a__dash__b == \"x\"'}", "{a-b: x}", None),
    (
        "{rule: 'self.ports.all(p, p.port > 0) && self.ports.exists_one(p, p.name == \"a\")'}",
        "{ports: [{name: a, port: 1}, {name: b, port: 2}]}",
        None,
    ),
    (
        "{rule: 'self.ports.map(p, p.port).exists(p, p == 2)'}",
        "{ports: [{name: a, port: 1}]}",
        Some(r#"spec: Invalid value: "object": failed rule: self.ports.map(p, p.port).exists(p, p == 2)"#),
    ),
    (
        "{rule: 'isIP(self.name) && isQuantity(\"100m\") && self.name.split(\".\").size() == 4'}",
        "{name: 10.0.0.1}",
        None,
    ),
    ("{rule: 'self.name.find(\"[0-9]+\") == \"12\"'}", "{name: a12b}", None),
    (
        "{rule: 'self.ports.all(a, self.ports.exists_one(b, a.port == b.port && (has(a.name) && has(b.name) ? \
             a.name == b.name : !has(a.name) && !has(b.name))))'}",
        "{ports: [{name: a, port: 1}, {port: 1}, {name: a, port: 2}]}",
        None,
    ),
    (
        "{rule: '(self.ports.size() > 0 ? self.ports[0].port : 0) + (self.ports.size() > 1 ? self.ports[1].port : \
             0) + (self.ports.size() > 2 ? self.ports[2].port : 0) <= 2'}",
        "{ports: [{port: 1}, {port: 2}]}",
        Some("failed rule"),
    ),
    ("{rule: 'self.absent == 1'}", "{}", Some("evaluation error")),
    ("{rule: 'self.min'}", "{min: 1}", Some("must evaluate to a bool")),
    ("{rule: 'oldSelf.min == self.min'}", "{min: 1}", None),
];

#[test]
fn rules_decide_about_objects() {
    for (rule, spec, message) in CASES {
        let outcome = made(&ruled(rule), &format!("{{metadata: {{name: a}}, spec: {spec}}}"));
        match (outcome, message) {
            (Ok(_), None) => {}
            (Err(status), Some(message)) => {
                assert!(status.message.contains(message), "{rule}: {}", status.message)
            }
            (outcome, _) => panic!("{rule}: {:?}", outcome.map(|object| stored(object.as_ref()))),
        }
    }
}

#[test]
fn transition_rules_compare_with_what_was() {
    let kind = ruled("{rule: 'self.min >= oldSelf.min', message: min only grows}");
    let old = "{metadata: {name: a}, spec: {min: 3, name: x}}";
    let write =
        |spec: &str| changed(&kind, old, &format!("{{metadata: {{name: a}}, spec: {spec}}}"), Target::Main);
    assert!(write("{min: 4, name: x}").is_ok());
    let error = write("{min: 2, name: z}").unwrap_err().message;
    assert!(
        error.contains("min only grows")
            && error.contains("spec.name: Invalid value: \"string\": is immutable"),
        "{error}"
    );
    let kind =
        ruled("{rule: '!oldSelf.hasValue() || self.min >= oldSelf.value().min', optionalOldSelf: true}");
    assert!(made(&kind, old).is_ok());
    assert!(changed(&kind, old, "{metadata: {name: a}, spec: {min: 2, name: x}}", Target::Main).is_err());
}

#[test]
fn rules_that_cannot_be_understood_are_refused() {
    for (rule, words) in [
        ("{rule: ''}", "rule: Required value: rule is not specified"),
        ("{rule: 'self.min >'}", "compilation failed"),
        ("{rule: 'other.min > 1'}", "undeclared reference to 'other'"),
        ("{rule: 'true', reason: Whatever}", "reason: Unsupported value"),
        ("{rule: 'true', messageExpression: '('}", "messageExpression: Invalid value"),
    ] {
        let yaml = definition(&format!("{{type: object, x-kubernetes-validations: [{rule}]}}"));
        let error = create::<CustomResourceDefinition>(&yaml).unwrap_err().message;
        assert!(error.contains(words), "{rule}: {error}");
    }
    let yaml =
        definition("{type: object, x-kubernetes-validations: [{rule: 'semver(\"1.0.0\").major() == 1'}]}");
    let object = create::<CustomResourceDefinition>(&yaml).unwrap();
    assert!(
        object.warnings()[0].contains("a rule is not evaluated, since the function"),
        "{:?}",
        object.warnings()
    );
}

#[test]
fn a_rule_that_would_cost_too_much_is_not_begun() {
    let nested =
        "{rule: 'self.ports.all(a, self.ports.all(b, self.ports.all(c, a.port + b.port + c.port > 0)))'}";
    let ports = |count: usize| vec!["{name: a, port: 1}"; count].join(", ");
    let object = |count: usize| format!("{{metadata: {{name: a}}, spec: {{ports: [{}]}}}}", ports(count));
    assert!(made(&ruled(nested), &object(20)).is_ok());
    let error = made(&ruled(nested), &object(500)).unwrap_err().message;
    assert!(error.contains("running out of cost budget"), "{error}");
    let error = made(
        &ruled("{rule: 'self.name.replace(\"\", self.name).size() > 0'}"),
        &format!("{{metadata: {{name: a}}, spec: {{name: {}}}}}", "x".repeat(10_000)),
    );
    assert!(error.unwrap_err().message.contains("running out of cost budget"));
    // However deep, an expression is parsed within a small stack or refused.
    for (open, close) in
        [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("a.b(", ")"), ("true ? ", " : false")]
    {
        let rule = format!("{}self.min{}", open.repeat(3000 / open.len()), close.repeat(3000 / open.len()));
        let yaml = definition(&format!("{{type: object, x-kubernetes-validations: [{{rule: '{rule}'}}]}}"));
        let parsed = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || create::<CustomResourceDefinition>(&yaml).is_ok())
            .unwrap();
        parsed.join().unwrap();
    }
}
