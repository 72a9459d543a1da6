//! Who owns what after writes: tables of cases, and properties over random sets.

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema;

fn writer(manager: &str) -> Writer<'_> {
    Writer {
        manager,
        api_version: "apps/v1",
        target: Target::Main,
        has_status: true,
        schema: schema::message("apps", "v1", "Deployment"),
        now: Timestamp::from_second(1_700_000_000).unwrap(),
    }
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web"},
            "finalizers": ["example.com/a"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1"}]},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{"name": "a", "image": "i", "args": ["x"],
                    "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
                    "resources": {"limits": {"cpu": "1"}}, "securityContext": {}}],
                "nodeSelector": {"disk": "ssd"}}},
        },
        "status": {"replicas": 1},
    })
}

/// The fields of each entry, as `manager operation [subresource]` and `FieldsV1`.
fn shown(managed: Option<&str>) -> Value {
    let Some(text) = managed else { return Value::Null };
    let entries: Vec<Value> = serde_json::from_str(text).expect("a list");
    let shown = entries.iter().map(|entry| {
        let part = entry["subresource"].as_str().map(|own| format!(" {own}")).unwrap_or_default();
        let who = entry["manager"].as_str().expect("a name");
        let how = entry["operation"].as_str().expect("an operation");
        (format!("{who} {how}{part}"), entry["fieldsV1"].clone())
    });
    Value::Object(shown.collect())
}

fn updated(writer: &Writer<'_>, managed: Option<&str>, old: &Value, new: &Value) -> Option<String> {
    after_update(writer, managed, None, &old.to_string(), &new.to_string()).map(Cow::into_owned)
}

#[test]
fn the_maker_owns_all_but_what_is_the_servers() {
    let managed = after_create(&writer("kubectl"), &deployment().to_string());
    let none = json!({});
    assert_eq!(
        shown(managed.as_deref()),
        json!({"kubectl Update": {
            "f:metadata": {
                "f:labels": {".": none, "f:app": none},
                "f:finalizers": {".": none, "v:\"example.com/a\"": none},
                "f:ownerReferences": {".": none, "k:{\"uid\":\"1\"}": none},
            },
            "f:spec": {
                ".": none,
                "f:replicas": none,
                "f:selector": none,
                "f:template": {
                    ".": none,
                    "f:metadata": {".": none, "f:labels": {".": none, "f:app": none}},
                    "f:spec": {
                        ".": none,
                        "f:containers": {".": none, "k:{\"name\":\"a\"}": {
                            ".": none, "f:name": none, "f:image": none, "f:args": none,
                            "f:ports": {".": none,
                                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": none, "f:containerPort": none},
                                "k:{\"containerPort\":80,\"protocol\":\"UDP\"}":
                                    {".": none, "f:containerPort": none, "f:protocol": none}},
                            "f:resources": {".": none, "f:limits": {".": none, "f:cpu": none}},
                            "f:securityContext": none}},
                        "f:nodeSelector": none,
                    },
                },
            },
        }})
    );
    let entry: Value = serde_json::from_str(managed.as_deref().expect("an account")).expect("JSON");
    assert_eq!(entry[0]["time"], "2023-11-14T22:13:20Z");
    assert_eq!(entry[0]["fieldsType"], "FieldsV1");
    assert_eq!(entry[0]["apiVersion"], "apps/v1");
}

#[test]
fn a_change_takes_its_fields_from_others() {
    let old = deployment();
    let made = after_create(&writer("maker"), &old.to_string());
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(3);
    new["metadata"]["labels"] = json!({"tier": "front"});
    let managed = updated(&writer("editor"), made.as_deref(), &old, &new);
    let all = shown(managed.as_deref());
    let none = json!({});
    assert_eq!(
        all["editor Update"],
        json!({"f:metadata": {"f:labels": {"f:tier": none}}, "f:spec": {"f:replicas": none}})
    );
    assert_eq!(all["maker Update"]["f:metadata"]["f:labels"], none, "only the map itself is left");
    assert_eq!(all["maker Update"]["f:spec"]["f:replicas"], Value::Null);
    let back = updated(&writer("maker"), managed.as_deref(), &new, &old);
    let all = shown(back.as_deref());
    assert_eq!(all["editor Update"], Value::Null, "a manager of nothing is none");
    assert_eq!(all["maker Update"]["f:spec"]["f:replicas"], none);
}

#[test]
fn status_is_accounted_apart() {
    let old = deployment();
    let made = after_create(&writer("maker"), &old.to_string());
    let mut new = old.clone();
    new["status"]["conditions"] = json!([{"type": "Available", "status": "True"}]);
    assert_eq!(
        updated(&writer("maker"), made.as_deref(), &old, &new),
        made,
        "the main path does not reach it"
    );
    let through = Writer { target: Target::Status, ..writer("controller") };
    let managed = updated(&through, made.as_deref(), &old, &new);
    let none = json!({});
    assert_eq!(
        shown(managed.as_deref())["controller Update status"],
        json!({"f:status": {"f:conditions": {".": none,
            "k:{\"type\":\"Available\"}": {".": none, "f:status": none, "f:type": none}}}})
    );
    let bound = Writer { target: Target::Binding, ..writer("scheduler") };
    assert_eq!(updated(&bound, made.as_deref(), &old, &new), made, "bindings are nobody's");
}

#[test]
fn what_clients_send_of_it_counts_only_when_it_makes_sense() {
    let old = deployment();
    let text = old.to_string();
    let made = after_create(&writer("maker"), &text);
    let given = |entries: Value| -> Option<String> {
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(entries).expect("entries");
        let outcome = after_update(&writer("editor"), made.as_deref(), Some(&entries), &text, &text);
        outcome.map(Cow::into_owned)
    };
    assert_eq!(given(json!([])), None);
    assert_eq!(given(json!([{}])), None);
    let entry = |operation: &str, fields: Value| {
        json!([{"manager": "other", "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "fieldsV1": fields}])
    };
    assert_eq!(given(entry("Create", json!({"f:spec": {}}))), made);
    assert_eq!(given(entry("Apply", json!({"spec": {}}))), made);
    let key = "k:{\"protocol\":\"TCP\", \"containerPort\":80}";
    let other = given(entry("Apply", json!({"f:spec": {"f:ports": {key: {}}}})));
    assert_eq!(
        shown(other.as_deref()),
        json!({"other Apply": {"f:spec": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {}}}}})
    );
    assert_eq!(updated(&writer("editor"), None, &old, &json!({})), None, "no account, none begun");
}

#[test]
fn the_oldest_updates_are_merged_when_there_are_too_many() {
    let mut state = deployment();
    let mut managed = after_create(&writer("maker"), &state.to_string());
    for number in 0..30 {
        let mut next = state.clone();
        next["metadata"]["labels"][format!("l{number}")] = json!("x");
        let name = format!("m{number:02}");
        let now = Timestamp::from_second(1_700_000_100 + number).unwrap();
        managed = updated(&Writer { now, ..writer(&name) }, managed.as_deref(), &state, &next);
        state = next;
    }
    let all = shown(managed.as_deref());
    let names: Vec<&String> = all.as_object().expect("entries").keys().collect();
    assert_eq!(names.len(), 10, "{names:?}");
    assert_eq!(names[0], "ancient-changes Update");
    assert_eq!(names[9], "m29 Update");
    let ancient = &all["ancient-changes Update"];
    assert_eq!(ancient["f:spec"]["f:replicas"], json!({}));
    assert_eq!(ancient["f:metadata"]["f:labels"]["f:l20"], json!({}));
}

#[test]
fn items_that_cannot_be_told_apart_are_owned_as_one() {
    let old = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "image": "1"}, {"name": "a", "image": "2"}, {"name": "b"}]}}}});
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["containers"][1]["image"] = json!("3");
    let changes = writer("w").compare(&old.to_string(), &new.to_string());
    assert_eq!(changes.written.paths(), [".spec.template.spec.containers[name=\"a\"]"]);
    let nameless = json!({"spec": {"template": {"spec": {"containers": [{"image": "1"}]}}}});
    let changes = writer("w").compare(&old.to_string(), &nameless.to_string());
    assert_eq!(changes.written.paths(), [".spec.template.spec.containers"]);
}

/// A random set over few elements, so that two have much in common.
fn sets() -> impl Strategy<Value = FieldSet> {
    let element = prop_oneof![
        "[ab]".prop_map(|name| Element::Field(name.into())),
        "[ab]".prop_map(|name| Element::Key(format!("{{\"name\":\"{name}\\\"\"}}").into())),
        (0..3_u8).prop_map(|number| Element::Value(number.to_string().into())),
        (0..2_u32).prop_map(Element::Index),
    ];
    let leaf = Just(FieldSet::default());
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop::collection::btree_map(element.clone(), (any::<bool>(), inner), 0..4).prop_map(|nodes| {
            let node = |(element, (member, children))| (element, Node { member, children });
            FieldSet::of(nodes.into_iter().map(node).collect())
        })
    })
}

proptest! {
    #[test]
    fn sets_survive_their_text(set in sets()) {
        let mut text = Vec::new();
        set.write(&mut text);
        let read = FieldSet::read(std::str::from_utf8(&text).unwrap()).expect("FieldsV1");
        prop_assert_eq!(&read, &set);
        prop_assert_eq!(read.canonical(), Some(set));
    }

    #[test]
    fn sets_obey_their_algebra(a in sets(), b in sets()) {
        let both = a.intersection(&b);
        let either = a.clone().union(b.clone());
        let only_a = a.clone().difference(&b);
        prop_assert!(either.contains(&a) && either.contains(&b));
        prop_assert!(a.contains(&both) && b.contains(&both));
        prop_assert!(!only_a.overlaps(&b));
        prop_assert_eq!(a.overlaps(&b), !both.is_empty());
        prop_assert_eq!(&only_a.clone().union(both.clone()), &a);
        prop_assert_eq!(either.clone().difference(&b), only_a.clone());
        prop_assert_eq!(either.paths().len(), only_a.paths().len() + b.paths().len());
        prop_assert_eq!(&a.clone().union(b.clone()), &b.union(a));
    }

    #[test]
    fn no_text_is_read_as_fields_that_is_none(text in "\\PC{0,40}") {
        if let Some(set) = FieldSet::read(&text) {
            let mut again = Vec::new();
            set.write(&mut again);
            prop_assert_eq!(FieldSet::read(std::str::from_utf8(&again).unwrap()), Some(set));
        }
    }
}
