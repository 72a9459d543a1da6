//! Tables of YAML documents and the JSON they stand for.

use proptest::prelude::*;

use super::*;

fn json(yaml: &str) -> String {
    String::from_utf8(yaml_to_json(yaml.as_bytes()).unwrap()).unwrap()
}

fn error(yaml: &str) -> String {
    yaml_to_json(yaml.as_bytes()).unwrap_err().to_string()
}

#[test]
fn documents_become_json_in_their_own_order() {
    for (yaml, expected) in [
        ("kind: Pod\nmetadata:\n  name: a\n", r#"{"kind":"Pod","metadata":{"name":"a"}}"#),
        ("b: 1\na: [x, {y: z}, []]\nc: {}\n", r#"{"b":1,"a":["x",{"y":"z"},[]],"c":{}}"#),
        ("---\nspec:\n- a\n- b: 1.5\n", r#"{"spec":["a",{"b":1.5}]}"#),
        ("text: |\n  a\n  \"b\"\n", r#"{"text":"a\n\"b\"\n"}"#),
        (
            "empty:\nnil: ~\nquoted: \"1\"\nplain: v1.2.3\n",
            r#"{"empty":null,"nil":null,"quoted":"1","plain":"v1.2.3"}"#,
        ),
        ("# only a comment\nname: x # another\n", r#"{"name":"x"}"#),
        ("- 1\n", "[1]"),
        ("just text", r#""just text""#),
    ] {
        assert_eq!(json(yaml), expected, "{yaml}");
    }
}

#[test]
fn scalars_are_read_as_upstreams_library_reads_them() {
    for (scalar, expected) in [
        ("0644", "420"),
        ("0o644", "420"),
        ("0x1f", "31"),
        ("-7", "-7"),
        ("1e3", "1000.0"),
        ("yes", "true"),
        ("off", "false"),
        ("True", "true"),
        ("'yes'", "\"yes\""),
        ("18446744073709551615", "18446744073709551615"),
        ("100m", "\"100m\""),
        ("10:30", "\"10:30\""),
        ("2024-01-01", "\"2024-01-01\""),
        ("2024-01-01T00:00:00Z", "\"2024-01-01T00:00:00Z\""),
        (".nan", "\".nan\""),
    ] {
        assert_eq!(json(&format!("a: {scalar}\n")), format!("{{\"a\":{expected}}}"), "{scalar}");
    }
}

#[test]
fn keys_are_strings_whatever_they_look_like() {
    assert_eq!(json("1: a\ntrue: b\n1.5: c\n"), r#"{"1":"a","true":"b","1.5":"c"}"#);
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    assert_eq!(json("a: &x {b: 1}\nc: *x\n"), r#"{"a":{"b":1},"c":{"b":1}}"#);
    assert_eq!(json("a: &x\n  b: 1\nc:\n  <<: *x\n  d: 2\n"), r#"{"a":{"b":1},"c":{"d":2,"b":1}}"#);
}

#[test]
fn a_key_that_occurs_twice_is_left_for_strict_validation() {
    assert_eq!(json("a: 1\nb: 2\na: 3\n"), r#"{"a":1,"b":2,"a":3}"#);
}

#[test]
fn json_is_returned_as_it_is() {
    for text in [r#"{"a":1,"a":2}"#, " {\n\t\"a\" : [ ] }\n"] {
        assert_eq!(json(text), text);
    }
    assert_eq!(json("{a: 1}"), r#"{"a":1}"#);
}

#[test]
fn errors_name_the_line() {
    for (yaml, expected) in [
        ("a: b: c\n", "error converting YAML to JSON: yaml: line 1:"),
        ("a: 1\nb: [1\n", "error converting YAML to JSON: yaml: line 2:"),
        ("a: *nowhere\n", "error converting YAML to JSON: yaml: line 1:"),
        ("a: 1\n---\nb: 2\n", "error converting YAML to JSON: yaml: line 3:"),
        ("? [a]\n: b\n", "error converting YAML to JSON: yaml: line 1:"),
    ] {
        let error = error(yaml);
        assert!(error.starts_with(expected), "{yaml:?} {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn bombs_are_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 50].join(", "));
    let deep_block: String = (0..10_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    for bomb in [laughs, long, "[".repeat(10_000), "{a: ".repeat(10_000), deep_block, "- ".repeat(10_000)] {
        assert!(error(&bomb).starts_with("error converting YAML to JSON: yaml:"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_text_gives_json_or_an_error(text in "[a-c:\\-\\[\\]{}&*!|>'\"#%@~, \n\t0-9.<?]{0,80}") {
        if let Ok(json) = yaml_to_json(text.as_bytes()) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = yaml_to_json(&bytes);
    }

    #[test]
    fn mutated_manifests_give_json_or_an_error(at in any::<proptest::sample::Index>(), byte in 9_u8..127) {
        let mut yaml = b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {a: &x b, c: *x}\nspec:\n  \
            containers:\n  - name: c\n    args: [\"-x\", 'y']\n    env:\n    - {name: A, value: \"1\"}\n".to_vec();
        let at = at.index(yaml.len());
        yaml[at] = byte;
        if let Ok(json) = yaml_to_json(&yaml) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }
}
