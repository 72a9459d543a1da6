//! Definitions and objects of the kinds that they declare, as requests bring them.

use expect_test::{Expect, expect};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::names::Outline;
use crate::registry::builtin;
use crate::resource::write::{self, NewObject};
use crate::resource::{Kind, Object, Target};
use crate::status::Status;
use crate::testing::{body, check_invalid, check_stored, create, now, stored, update};

/// A definition of one version with this schema of `spec`.
pub(super) fn definition(spec: &str) -> String {
    format!(
        "{{metadata: {{name: widgets.example.com, generation: 1}}, spec: {{group: example.com, scope: Namespaced, \
         names: {{plural: widgets, kind: Widget, shortNames: [wd]}}, versions: [{{name: v1, served: true, \
         storage: true, subresources: {{status: {{}}, scale: {{specReplicasPath: .spec.replicas, \
         statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}}}, \
         additionalPrinterColumns: [{{name: Size, type: integer, jsonPath: .spec.size}}, {{name: Ready, type: string, \
         jsonPath: '.status.conditions[?(@.type==\"Ready\")].status'}}, {{name: Born, type: date, priority: 1, \
         jsonPath: .metadata.creationTimestamp}}], selectableFields: [{{jsonPath: .spec.color}}], \
         schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {spec}, status: {{type: object, \
         x-kubernetes-preserve-unknown-fields: true}}}}}}}}}}]}}}}"
    )
}

fn established(yaml: &str) -> CustomResourceDefinition {
    let object = create::<CustomResourceDefinition>(yaml).unwrap_or_else(|status| panic!("{status}"));
    let mut definition = object.take::<CustomResourceDefinition>().unwrap();
    let outline: Outline = serde_json::from_value(serde_json::to_value(&definition).unwrap()).unwrap();
    definition.status = outline.next(std::iter::empty(), builtin(), now());
    definition
}

/// The kind of a definition with this schema of `spec`.
pub(super) fn kind(spec: &str) -> Kind {
    super::kinds(&established(&definition(spec))).remove(0)
}

pub(super) fn made(kind: &Kind, yaml: &str) -> Result<Box<dyn Object>, Status> {
    let mut object = kind.decode(&body(yaml))?;
    let new = NewObject { namespace: "default", uid: "uid-1".to_owned(), now: now(), name_seed: 1 };
    write::prepare_create(kind, object.as_mut(), new)?;
    write::validate_create(kind, object.as_ref())?;
    Ok(object)
}

pub(super) fn changed(kind: &Kind, old: &str, new: &str, target: Target) -> Result<Box<dyn Object>, Status> {
    let old = made(kind, old).unwrap_or_else(|status| panic!("{status}"));
    let mut old = old;
    old.meta_mut().resource_version = Some("1".to_owned());
    let mut object = kind.decode(&body(new))?;
    object.meta_mut().resource_version = Some("1".to_owned());
    write::prepare_update(kind, object.as_mut(), old.as_ref(), target)?;
    write::validate_update(kind, object.as_ref(), old.as_ref(), target)?;
    Ok(object)
}

fn check(outcome: Result<Box<dyn Object>, Status>, expected: Expect) {
    match outcome {
        Ok(object) => expected.assert_eq(&stored(object.as_ref())),
        Err(status) => expected.assert_eq(&status.message),
    }
}

const SPEC: &str = "{type: object, required: [size], properties: {size: {type: integer, minimum: 1, maximum: 9}, \
    replicas: {type: integer}, color: {type: string, enum: [red, blue], default: red}, \
    name: {type: string, pattern: '^[a-z]+$', maxLength: 5}, port: {x-kubernetes-int-or-string: true}, \
    tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}, \
    parts: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [id], items: {type: object, \
    required: [id], properties: {id: {type: string}, on: {type: boolean, default: true}}}}, \
    labels: {type: object, additionalProperties: {type: string}}, free: {type: object, \
    x-kubernetes-preserve-unknown-fields: true}, maybe: {type: string, nullable: true}}}";

#[test]
fn a_definition_is_filled_in() {
    check_stored::<CustomResourceDefinition>(
        "{metadata: {name: a.example.com}, spec: {group: example.com, scope: Cluster, names: {plural: a, kind: A}, \
         versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}",
        expect![[r#"
            metadata:
              generation: 1
              name: a.example.com
            spec:
              conversion:
                strategy: None
              group: example.com
              names:
                kind: A
                listKind: AList
                plural: a
                singular: a
              scope: Cluster
              versions:
              - name: v1
                schema:
                  openAPIV3Schema:
                    type: object
                served: true
                storage: true
            status:
              acceptedNames:
                kind: ""
                plural: ""
              conditions: []
              storedVersions:
              - v1
        "#]],
    );
}

#[test]
fn a_broken_definition_is_told_what_is_wrong() {
    check_invalid::<CustomResourceDefinition>(
        "{metadata: {name: b.example.com}, spec: {group: example, scope: Somewhere, names: {plural: A, kind: A, \
         listKind: A}, preserveUnknownFields: true, versions: [{name: v1, served: true, storage: false, \
         additionalPrinterColumns: [{name: '', type: text, jsonPath: 'x['}], subresources: {scale: \
         {specReplicasPath: .status.a, statusReplicasPath: ''}}}, {name: v1, served: true, storage: false, schema: \
         {openAPIV3Schema: {type: string}}}]}}",
        expect![[r#"
            metadata.name: Invalid value: "b.example.com": must be spec.names.plural+"."+spec.group
            spec.group: Invalid value: "example": should be a domain with at least one dot
            spec.scope: Unsupported value: "Somewhere": supported values: "Cluster", "Namespaced"
            spec.names.plural: Invalid value: "A": must be in lower case
            spec.names.listKind: Invalid value: "A": kind and listKind may not be the same
            spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead
            spec.versions: Invalid value: ["v1","v1"]: must contain unique version names
            spec.versions: Invalid value: ["v1","v1"]: must have exactly one version marked as storage version
            spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required
            spec.versions[0].subresources.scale.specReplicasPath: Invalid value: ".status.a": should be a json path under .spec.
            spec.versions[0].subresources.scale.statusReplicasPath: Required value
            spec.versions[0].additionalPrinterColumns[0].name: Required value
            spec.versions[0].additionalPrinterColumns[0].type: Unsupported value: "text": supported values: "boolean", "date", "integer", "number", "string"
            spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: "x[": is an invalid path
            spec.versions[1].schema.openAPIV3Schema.type: Invalid value: "string": must be object at the root"#]],
    );
}

#[test]
fn a_schema_that_is_not_structural_is_told_what_is_wrong() {
    check_invalid::<CustomResourceDefinition>(
        &definition(
            "{type: object, properties: {a: {}, b: {type: array}, c: {type: object, additionalProperties: false}, \
             d: {type: string, pattern: '['}, e: {type: integer, default: x}, f: {type: array, \
             x-kubernetes-list-type: map, items: {type: object}}, g: {type: object, properties: {x: {type: string}}, \
             additionalProperties: {type: string}}, h: {type: text}, i: {type: string, uniqueItems: true}}, \
             anyOf: [{properties: {z: {type: object}}}], $ref: x}",
        ),
        expect![[r#"
            spec.versions[0].schema.openAPIV3Schema.properties[spec].$ref: Forbidden: $ref is not supported
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[z]: Required value: because it is defined in a schema inside allOf, anyOf, oneOf or not
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a].type: Required value: must not be empty for specified object fields
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[b].items: Required value: must be specified
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[c].additionalProperties: Forbidden: additionalProperties cannot be set to false
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[d].pattern: Invalid value: "[": must be a valid regular expression, but isn't: regex parse error:
                [
                ^
            error: unclosed character class
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[f].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[g].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[h].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[i].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic
            spec.versions[0].schema.openAPIV3Schema.properties[spec].anyOf[0].properties[z].type: Forbidden: must be empty to be structural"#]],
    );
    check_invalid::<CustomResourceDefinition>(
        &definition(
            "{type: object, properties: {a: {type: integer, default: x}, b: {type: object, default: {c: 1}}}}",
        ),
        expect![[r#"
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a].default: Invalid value: "string": spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a].default in body must be of type integer: "string"
            spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[b].default: Invalid value: {"c":1}: must not have unknown fields: c"#]],
    );
}

#[test]
fn scope_and_kind_stay_and_stored_versions_too() {
    let old = definition("{type: object}");
    let error = update::<CustomResourceDefinition>(
        &old,
        &old.replace("name: v1", "name: v2").replace("generation: 1", "resourceVersion: '1'"),
        Target::Main,
    );
    expect![[r#"CustomResourceDefinition.apiextensions.k8s.io "widgets.example.com" is invalid: status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"#]].assert_eq(&error.unwrap_err().message);
}

#[test]
fn an_object_is_pruned_and_filled_in() {
    let kind = kind(SPEC);
    check(
        made(
            &kind,
            "{apiVersion: example.com/v1, kind: Widget, metadata: {name: a}, unknown: 1, spec: {size: 3, strange: x, \
             maybe: null, name: null, port: http, parts: [{id: x, y: z}], labels: {a: b}, free: {any: {thing: 1}}}, \
             status: {replicas: 2}}",
        ),
        expect![[r#"
            metadata:
              generation: 1
              name: a
            spec:
              color: red
              free:
                any:
                  thing: 1
              labels:
                a: b
              maybe: null
              parts:
              - id: x
                "on": true
              port: http
              size: 3
        "#]],
    );
    let findings =
        kind.findings(&body("{metadata: {name: a, nme: b}, spec: {size: 1, parts: [{id: x, y: z}], x: 1}}"));
    expect![[r#"strict decoding error: unknown field "metadata.nme", unknown field "spec.parts[0].y", unknown field "spec.x""#]].assert_eq(&findings.unwrap().unwrap().strict_error().unwrap());
}

#[test]
fn a_broken_object_is_told_what_is_wrong() {
    let kind = kind(SPEC);
    for (spec, expected) in [
        ("{}", expect![[r#"Widget.example.com "a" is invalid: spec.size: Required value"#]]),
        (
            "{size: 10, color: green, name: UPPERCASE}",
            expect![[
                r#"Widget.example.com "a" is invalid: [spec.color: Unsupported value: "green": supported values: "red", "blue", spec.name: Invalid value: "UPPERCASE": spec.name in body should match '^[a-z]+$', spec.name: Too long: may not be more than 5 bytes, spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9]"#
            ]],
        ),
        (
            "{size: x, port: true, tags: [a, a], parts: [{id: a}, {id: a}, {}]}",
            expect![[
                r#"Widget.example.com "a" is invalid: [spec.parts[1]: Duplicate value: {"id":"a"}, spec.parts[2].id: Required value, spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean", spec.size: Invalid value: "string": spec.size in body must be of type integer: "string", spec.tags[1]: Duplicate value: "a"]"#
            ]],
        ),
        (
            "{size: 1.5, labels: {a: 1}, free: 3}",
            expect![[
                r#"Widget.example.com "a" is invalid: [spec.free: Invalid value: "integer": spec.free in body must be of type object: "integer", spec.labels[a]: Invalid value: "integer": spec.labels[a] in body must be of type string: "integer", spec.size: Invalid value: "number": spec.size in body must be of type integer: "number"]"#
            ]],
        ),
    ] {
        check(made(&kind, &format!("{{metadata: {{name: a}}, spec: {spec}}}")), expected);
    }
    let wrong =
        kind.decode(&body("{apiVersion: example.com/v2, kind: Widget, metadata: {name: a}}")).unwrap_err();
    expect!["the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)"].assert_eq(&wrong.message);
    let wrong = kind.decode(&body("{kind: Gadget, metadata: {name: a}}")).unwrap_err();
    expect!["the kind in the data (Gadget) does not match the expected kind (Widget)"]
        .assert_eq(&wrong.message);
}

#[test]
fn junctions_check_values() {
    let kind = kind(
        "{type: object, properties: {a: {type: string}, b: {type: string}, n: {type: integer, not: {enum: [3]}}, \
         p: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}], pattern: '^[0-9]+%$'}}, \
         oneOf: [{required: [a]}, {required: [b]}]}",
    );
    for (spec, expected) in [
        (
            "{a: x, n: 1, p: 5}",
            expect![[r#"
            metadata:
              generation: 1
              name: a
            spec:
              a: x
              "n": 1
              p: 5
        "#]],
        ),
        (
            "{a: x, b: y, n: 3, p: x}",
            expect![[
                r#"Widget.example.com "a" is invalid: [spec.b: Invalid value: "boolean": spec.b in body must be of type string: "boolean", spec.n: Invalid value: "": "spec.n" must not validate the schema (not), spec.p: Invalid value: "x": spec.p in body should match '^[0-9]+%$', spec: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives]"#
            ]],
        ),
        (
            "{}",
            expect![[
                r#"Widget.example.com "a" is invalid: spec: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid"#
            ]],
        ),
    ] {
        check(made(&kind, &format!("{{metadata: {{name: a}}, spec: {spec}}}")), expected);
    }
}

#[test]
fn status_scale_and_generation_are_parts_of_their_own() {
    let kind = kind(SPEC);
    let old = "{metadata: {name: a}, spec: {size: 3, replicas: 2}}";
    let new = "{metadata: {name: a, labels: {x: z}}, spec: {size: 4}, status: {replicas: 1, selector: a=b}}";
    check(
        changed(&kind, old, new, Target::Main),
        expect![[r#"
        metadata:
          generation: 2
          labels:
            x: z
          name: a
        spec:
          color: red
          size: 4
    "#]],
    );
    let status = changed(&kind, old, new, Target::Status).unwrap();
    expect![[r#"
        metadata:
          generation: 1
          name: a
        spec:
          color: red
          replicas: 2
          size: 3
        status:
          replicas: 1
          selector: a=b
    "#]]
    .assert_eq(&stored(status.as_ref()));
    let scale = status.scale().unwrap();
    let (spec, found) = (scale.spec.unwrap(), scale.status.unwrap());
    assert_eq!((spec.replicas, found.replicas, found.selector.as_deref()), (Some(2), 1, Some("a=b")));
    let mut object = status;
    object.set_replicas(7);
    assert_eq!(object.scale().unwrap().spec.unwrap().replicas, Some(7));
}

#[test]
fn what_was_invalid_before_may_stay() {
    let loose = kind(&SPEC.replace("maximum: 9", "maximum: 99"));
    let strict = kind(SPEC);
    let mut old = made(&loose, "{metadata: {name: a}, spec: {size: 50, name: abc}}").unwrap();
    old.meta_mut().resource_version = Some("1".to_owned());
    let write = |yaml: &str| {
        let mut object = strict.decode(&body(yaml))?;
        let old = strict.decode_stored(&old.to_stored(), 1).unwrap();
        object.meta_mut().resource_version = Some("1".to_owned());
        write::prepare_update(&strict, object.as_mut(), old.as_ref(), Target::Main)?;
        write::validate_update(&strict, object.as_ref(), old.as_ref(), Target::Main).map(|()| object)
    };
    assert!(write("{metadata: {name: a}, spec: {size: 50, name: abcd}}").is_ok());
    check(
        write("{metadata: {name: a}, spec: {size: 51, name: abc}}"),
        expect![[
            r#"Widget.example.com "a" is invalid: spec.size: Invalid value: 51: spec.size in body should be less than or equal to 9"#
        ]],
    );
}

#[test]
fn columns_fields_and_served_bytes_come_from_the_definition() {
    let kind = kind(SPEC);
    let yaml = "{metadata: {name: a}, spec: {size: 3, color: blue}, status: {conditions: [{type: Ready, status: 'True'}]}}";
    let mut object = kind.decode(&body(yaml)).unwrap();
    object.meta_mut().creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let headings: Vec<String> =
        kind.columns().iter().map(|column| format!("{}:{}", column.name, column.priority)).collect();
    assert_eq!(headings, ["Name:0", "Size:0", "Ready:0", "Born:1"]);
    assert_eq!(serde_json::to_string(&object.cells(now())).unwrap(), r#"["a",3,"True","0s"]"#);
    assert!(kind.knows_field("spec.color") && !kind.knows_field("spec.size"));
    assert_eq!(object.field("spec.color").as_deref(), Some("blue"));
    let bytes = object.to_stored();
    let mut item = Vec::new();
    kind.append_list_item(&mut item, &bytes, 7);
    assert_eq!(item, kind.object_json(&bytes, 7), "items of custom lists say what they are");
    assert!(item.starts_with(
        br#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"resourceVersion":"7","#
    ));
}

#[test]
fn older_objects_are_served_under_the_newest_schema() {
    let mut newer = established(&definition(SPEC));
    newer.metadata.generation = Some(2);
    let kind = super::kinds(&newer).remove(0);
    let stored = br#"{"metadata":{"name":"a"},"spec":{"size":1,"gone":true}}"#;
    let served: serde_json::Value = serde_json::from_slice(&kind.object_json(stored, 3)).unwrap();
    assert_eq!(served["spec"], serde_json::json!({"size": 1, "color": "red"}));
}

#[test]
fn names_are_accepted_when_they_are_free() {
    let outline = |yaml: &str| -> Outline { serde_json::from_slice(&body(yaml)).unwrap() };
    let one = outline(
        "{spec: {group: a.b, names: {plural: xs, singular: x, kind: X, listKind: XList, shortNames: [s]}}}",
    );
    let status = one.next(std::iter::empty(), builtin(), now()).unwrap();
    let one = Outline { status, ..one };
    assert_eq!(one.next(std::iter::empty(), builtin(), now()), None, "a met state stands");
    let two = outline(
        "{spec: {group: a.b, names: {plural: zs, singular: z, kind: Z, listKind: ZList, shortNames: [s]}}}",
    );
    let status = two.next([&one].into_iter(), builtin(), now()).unwrap();
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .flatten()
        .map(|own| {
            format!(
                "{}={} {} {}",
                own.type_,
                own.status,
                own.reason.as_deref().unwrap(),
                own.message.as_deref().unwrap()
            )
        })
        .collect();
    expect![[r#"
        NamesAccepted=False ShortNamesConflict "s" is already in use
        Established=False NotAccepted not all names are accepted"#]]
    .assert_eq(&conditions.join("\n"));
    let two = Outline { status, ..two };
    let status = two.next(std::iter::empty(), builtin(), now()).unwrap();
    assert!(Outline { status, ..two }.is_accepted(), "once the other is gone");
}

#[test]
fn versions_are_in_the_order_of_preference() {
    let mut versions = ["v1alpha1", "foo", "v2", "v10", "v1beta2", "v1", "v1beta1", "v11beta1"];
    versions.sort_by_cached_key(|version| super::preference(version));
    assert_eq!(versions, ["v10", "v2", "v1", "v11beta1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
}

#[test]
fn server_side_apply_finds_the_list_keys() {
    let kind = kind(SPEC);
    let root = kind.message().unwrap();
    let spec = match &root.field("spec").unwrap().kind {
        crate::schema::Type::Message(id) => root.get(*id),
        other => panic!("{other:?}"),
    };
    use crate::schema::ListType;
    assert_eq!(spec.field("tags").unwrap().list, Some(ListType::Set));
    assert_eq!(spec.field("parts").unwrap().list, Some(ListType::Map(vec!["id".into()])));
    assert!(root.field("metadata").is_some() && kind.strategic().is_none());
}
