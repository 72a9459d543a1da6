//! Names, labels, annotations, owners and finalizers, with the sentences people see.

use expect_test::{Expect, expect};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;

fn check(meta: &ObjectMeta, expected: Expect) {
    let mut errors = FieldErrors::new();
    validate(meta, Scope::Namespaced, NameRule::Dns1123Subdomain, &mut errors);
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some("default".to_owned()), ..ObjectMeta::default() }
}

fn map(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

fn owner(kind: &str, name: &str) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: "u".to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

#[test]
fn names_must_be_there_and_well_formed() {
    check(&named("web.example-1"), expect![""]);
    check(
        &ObjectMeta::default(),
        expect![[r#"
        metadata.name: Required value: name or generateName is required
        metadata.namespace: Required value"#]],
    );
    check(
        &named("Web_1"),
        expect![[r#"
        metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
    );
    check(
        &named(&"a".repeat(254)),
        expect![[
            r#"metadata.name: Invalid value: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": must be no more than 253 bytes"#
        ]],
    );
}

#[test]
fn each_name_rule_has_its_own_sentence() {
    let mut lines = Vec::new();
    for (rule, name) in [
        (NameRule::Dns1123Label, "a.b"),
        (NameRule::Dns1035Label, "1a"),
        (NameRule::Dns1035Label, ""),
        (NameRule::PathSegment, ".."),
        (NameRule::PathSegment, "a/b%"),
        (NameRule::PathSegment, "system:node"),
    ] {
        lines.push(format!("{name}: {}", name_faults(rule, name).join("; ")));
    }
    expect![[r#"
        a.b: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        1a: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        : a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        ..: may not be '..'
        a/b%: may not contain '/'; may not contain '%'
        system:node: "#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn labels_and_annotations_are_checked_key_by_key() {
    let mut meta = named("a");
    meta.labels = map(&[("app", "web"), ("a/b/c", ""), ("/x", "-"), ("Ex.com/name_", "v")]);
    meta.annotations = map(&[("Example.COM/Key", "anything at all"), ("sp ace", "")]);
    check(
        &meta,
        expect![[r#"
        metadata.labels: Invalid value: "/x": prefix part must be non-empty
        metadata.labels: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        metadata.labels: Invalid value: "Ex.com/name_": prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        metadata.labels: Invalid value: "Ex.com/name_": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        metadata.labels: Invalid value: "a/b/c": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
        metadata.annotations: Invalid value: "sp ace": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]],
    );
    let mut meta = named("a");
    meta.annotations = map(&[("big", &"x".repeat(256 * 1024))]);
    check(&meta, expect!["metadata.annotations: Too long: may not be more than 262144 bytes"]);
}

#[test]
fn owners_name_what_they_refer_to_and_only_one_controls() {
    let mut meta = named("a");
    meta.owner_references = Some(vec![owner("ReplicaSet", "x"), owner("ReplicaSet", "y")]);
    check(
        &meta,
        expect![[r#"
        metadata.ownerReferences: Invalid value: [{"apiVersion":"apps/v1","controller":true,"kind":"ReplicaSet","name":"x","uid":"u"},{"apiVersion":"apps/v1","controller":true,"kind":"ReplicaSet","name":"y","uid":"u"}]: Only one reference can have Controller set to true. Found "true" in references for ReplicaSet/x and ReplicaSet/y"#]],
    );
    let nothing = OwnerReference { controller: None, ..OwnerReference::default() };
    let event = OwnerReference { api_version: "v1".to_owned(), controller: None, ..owner("Event", "e") };
    meta.owner_references = Some(vec![nothing, event]);
    check(
        &meta,
        expect![[r#"
        metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
        metadata.ownerReferences.kind: Invalid value: "": must not be empty
        metadata.ownerReferences.name: Invalid value: "": must not be empty
        metadata.ownerReferences.uid: Invalid value: "": must not be empty
        metadata.ownerReferences: Invalid value: {"apiVersion":"v1","kind":"Event","name":"e","uid":"u"}: /v1, Kind=Event is disallowed from being an owner"#]],
    );
}

#[test]
fn finalizers_are_qualified_and_none_is_added_while_terminating() {
    let mut meta = named("a");
    meta.finalizers =
        Some(["mine", "example.com/x", "orphan", "foregroundDeletion"].map(String::from).to_vec());
    check(
        &meta,
        expect![[r#"
        metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified
        metadata.finalizers: Invalid value: ["mine","example.com/x","orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#]],
    );

    let mut old = named("a");
    old.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut new = old.clone();
    new.finalizers = Some(vec!["example.com/x".to_owned()]);
    new.uid = Some("other".to_owned());
    let mut errors = FieldErrors::new();
    validate_update(&new, &old, &mut errors);
    expect![[r#"[metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/x"}, metadata.uid: Invalid value: "other": field is immutable]"#]]
        .assert_eq(&errors.message());
}

#[test]
fn a_generated_name_is_the_cut_base_and_five_characters_of_the_seed() {
    assert_eq!(generate_name("web-", 0), "web-bbbbb");
    assert_eq!(generate_name("web-", 1), "web-cbbbb");
    assert_eq!(generate_name("web-", 27), "web-bcbbb");
    assert_eq!(generate_name(&"x".repeat(80), u64::MAX).len(), 63);
    assert!(generate_name(&format!("{}é", "x".repeat(57)), 7).starts_with(&"x".repeat(57)));
    let mut meta = named("web-bbbbb");
    meta.generate_name = Some("web-".to_owned());
    check(&meta, expect![""]);
}

#[test]
fn keys_ports_and_variables_have_their_own_syntax() {
    let mut lines = Vec::new();
    for key in ["a.b", "a/b", "..", "..data", ""] {
        lines.push(format!("key {key:?}: {}", is_config_key(key).err().unwrap_or_default().join("; ")));
    }
    for port in ["http", "8080", "a--b", "-a", "averyveryverylong", "HTTP", "http-"] {
        lines.push(format!("port {port:?}: {}", port_name_faults(port).join("; ")));
    }
    for name in ["1A?", "A=B", ""] {
        lines.push(format!("env {name:?}: {}", env_name_faults(name).join("; ")));
    }
    expect![[r#"
        key "a.b": 
        key "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        key "..": must not be '..'
        key "..data": must not start with '..'
        key "": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        port "http": 
        port "8080": must contain at least one letter (a-z)
        port "a--b": must not contain consecutive hyphens
        port "-a": must not begin or end with a hyphen
        port "averyveryverylong": must be no more than 15 bytes
        port "HTTP": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-); must contain at least one letter (a-z)
        port "http-": must not begin or end with a hyphen
        env "1A?": 
        env "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='
        env "": a valid environment variable name must consist only of printable ASCII characters other than '='"#]]
    .assert_eq(&lines.join("\n"));
}
