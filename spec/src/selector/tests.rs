//! Tables over the two grammars: what matches, how it prints, what is refused.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};

use super::*;
use crate::registry::kind_of;
use crate::resource::{Object, Typed};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn label_selectors_match_as_documented() {
    let pod = labels(&[("app", "web"), ("tier", "front"), ("n", "7"), ("empty", "")]);
    for (text, matches, printed) in [
        ("", true, ""),
        ("app", true, "app"),
        ("!app", false, "!app"),
        ("! nope", true, "!nope"),
        ("app=web", true, "app=web"),
        ("app==web", true, "app=web"),
        ("app!=web", false, "app!=web"),
        ("nope!=web", true, "nope!=web"),
        ("empty=", true, "empty="),
        ("empty=,app", true, "app,empty="),
        ("app in (web,db)", true, "app in (db,web)"),
        ("app in(db)", false, "app=db"),
        ("app notin (db, cache)", true, "app notin (cache,db)"),
        ("nope notin (a)", true, "nope!=a"),
        ("empty in ()", true, "empty="),
        ("empty in (a,)", true, "empty in (,a)"),
        ("n>6,n<8", true, "n>6,n<8"),
        ("n > 7", false, "n>7"),
        ("app>1", false, "app>1"),
        ("in=x", false, "in=x"),
        ("example.com/in in (in)", false, "example.com/in=in"),
        (" tier = front , app = web ", true, "app=web,tier=front"),
    ] {
        let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.matches(Some(&pod)), matches, "{text}");
        assert_eq!(selector.to_string(), printed, "{text}");
    }
    assert!(Selector::everything().matches(None));
    assert!(!Selector::nothing().matches(Some(&pod)));
}

#[test]
fn malformed_label_selectors_say_what_was_expected() {
    let mut lines = Vec::new();
    for text in [
        "a b",
        "a in b",
        "a in (b",
        "a in (b c)",
        "a,,b",
        "a,",
        "=a",
        "a=b=c",
        "a=(",
        "!",
        "a>x",
        "a=b!c",
        "-a=b",
        "a in (b,%)",
        "a)",
    ] {
        lines.push(format!("{text}: {}", Selector::parse(text).unwrap_err()));
    }
    expect![[r#"
        a b: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt
        a in b: unable to parse requirement: found 'b' expected: '('
        a in (b: unable to parse requirement: found '', expected: ',' or ')'
        a in (b c): unable to parse requirement: found 'c', expected: ',' or ')'
        a,,b: found ',', expected: identifier after ','
        a,: found '', expected: identifier after ','
        =a: found '=', expected: !, identifier, or 'end of string'
        a=b=c: found '=', expected: ',' or 'end of string'
        a=(: unable to parse requirement: found '(', expected: identifier
        !: unable to parse requirement: found '', expected: identifier
        a>x: unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer
        a=b!c: found '!', expected: ',' or 'end of string'
        -a=b: unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        a in (b,%): unable to parse requirement: values[1][a]: Invalid value: "%": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        a): unable to parse requirement: found ')', expected: in, notin, =, ==, !=, gt, lt"#]]
    .assert_eq(&lines.join("\n"));
}

fn selector(json: &str) -> LabelSelector {
    serde_json::from_str(json).unwrap()
}

#[test]
fn selectors_of_workloads_are_read_and_checked() {
    let chosen = selector(
        r#"{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"In","values":["b","a"]},{"key":"x","operator":"DoesNotExist"}]}"#,
    );
    assert_eq!(Selector::of(Some(&chosen)).to_string(), "app=web,tier in (a,b),!x");
    assert!(Selector::of(Some(&chosen)).matches(Some(&labels(&[("app", "web"), ("tier", "a")]))));
    assert!(!Selector::of(None).matches(None));
    assert!(Selector::of(Some(&LabelSelector::default())).matches(None));
    assert!(!Selector::of_map(Some(&BTreeMap::new())).matches(None));
    assert_eq!(format_for_table(None), "<none>");
    assert_eq!(format_for_table(Some(&chosen)), "app=web,tier in (a,b),!x");

    let broken = selector(
        r#"{"matchLabels":{"a":"b c"},"matchExpressions":[{"key":"/","operator":"In"},{"key":"a","operator":"Exists","values":["b"]},{"key":"a","operator":"is","values":["-"]}]}"#,
    );
    let mut errors = FieldErrors::new();
    validate(&broken, &Path::new("selector"), &mut errors);
    let lines: Vec<String> =
        errors.iter().map(|e| format!("{} {}", e.field, &e.body[..40.min(e.body.len())])).collect();
    expect![[r#"
        selector.matchLabels Invalid value: "b c": a valid label must
        selector.matchExpressions[0].values Required value: must be specified when `
        selector.matchExpressions[0].key Invalid value: "/": prefix part must be 
        selector.matchExpressions[0].key Invalid value: "/": name part must be no
        selector.matchExpressions[0].key Invalid value: "/": name part must consi
        selector.matchExpressions[1].values Forbidden: may not be specified when `op
        selector.matchExpressions[2].operator Invalid value: "is": not a valid selecto
        selector.matchExpressions[2].values[0] Invalid value: "-": a valid label must b"#]]
    .assert_eq(&lines.join("\n"));
}

fn check_field_error(text: &str, expected: Expect) {
    let error = FieldSelector::parse(text, kind_of::<Namespace>()).unwrap_err();
    assert_eq!(error.code, 400);
    expected.assert_eq(&error.message);
}

#[test]
fn field_selectors_match_known_fields_only() {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("a,b=c\\".to_owned());
    let mut namespace = Typed(namespace);
    namespace.set_defaults();
    for (text, matches) in [
        ("", true),
        ("status.phase=Active", true),
        ("status.phase==Active,", true),
        ("status.phase!=Active", false),
        (r"metadata.name=a\,b\=c\\", true),
        ("metadata.namespace=", true),
        ("metadata.name=a,status.phase=Active", false),
    ] {
        let selector = FieldSelector::parse(text, kind_of::<Namespace>()).unwrap();
        assert_eq!(selector.matches(&namespace), matches, "{text}");
    }
    let one = FieldSelector::parse("status.phase!=x,metadata.name=web", kind_of::<Namespace>()).unwrap();
    assert_eq!(one.exact("metadata.name"), Some("web"));
    assert_eq!(one.exact("status.phase"), None);
    check_field_error("spec.nodeName=a", expect!["field label not supported: spec.nodeName"]);
    check_field_error(
        "status.phase",
        expect!["invalid selector: 'status.phase'; can't understand 'status.phase'"],
    );
    check_field_error(
        r"metadata.name=\x",
        expect![[r#"invalid field selector: invalid escape sequence: \x"#]],
    );
    check_field_error(
        "metadata.name=a=b",
        expect!["invalid field selector: unescaped character in value: ="],
    );
    assert!(FieldSelector::parse("status.phase=x", kind_of::<ConfigMap>()).is_err());
}

#[test]
fn a_form_feed_is_no_blank_and_ends_nothing() {
    for text in ["a=\u{c}b", "\u{c}", "a\u{c}"] {
        assert!(Selector::parse(text).is_err(), "{text:?}");
    }
}
