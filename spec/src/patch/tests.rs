//! Tables of objects, patches and results, and properties that hold for all.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::message;

fn with(kind: PatchType, object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (group, name) = if object["kind"] == "Deployment" { ("apps", "Deployment") } else { ("", "Pod") };
    apply(kind, message(group, "v1", name), object.clone(), patch.to_string().as_bytes())
}

fn strategic(object: Value, patch: Value) -> Value {
    with(PatchType::Strategic, &object, &patch).unwrap_or_else(|error| panic!("{patch}: {error}"))
}

fn strategic_error(object: Value, patch: Value) -> String {
    with(PatchType::Strategic, &object, &patch).unwrap_err().to_string()
}

fn spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn json_patches_apply_in_order() {
    let object = json!({"metadata": {"name": "a"}, "spec": {"list": [1, 2]}});
    for (patch, expected) in [
        (json!([]), object.clone()),
        (
            json!([
                {"op": "test", "path": "/metadata/name", "value": "a"},
                {"op": "replace", "path": "/metadata/name", "value": "b"},
                {"op": "add", "path": "/spec/list/-", "value": 3},
                {"op": "add", "path": "/spec/list/0", "value": 0},
                {"op": "copy", "from": "/spec/list", "path": "/spec/other"},
                {"op": "remove", "path": "/spec/list/1"},
                {"op": "move", "from": "/spec/other", "path": "/spec/a~1b~0"},
            ]),
            json!({"metadata": {"name": "b"}, "spec": {"list": [0, 2, 3], "a/b~": [0, 1, 2, 3]}}),
        ),
        (json!([{"op": "replace", "path": "", "value": {"x": 1}}]), json!({"x": 1})),
        (
            json!([
                {"op": "test", "path": "/spec/new", "value": null},
                {"op": "add", "path": "/spec/new", "value": null},
                {"op": "test", "path": "/spec/new", "value": null},
            ]),
            json!({"metadata": {"name": "a"}, "spec": {"list": [1, 2], "new": null}}),
        ),
    ] {
        assert_eq!(with(PatchType::Json, &object, &patch), Ok(expected), "{patch}");
    }
}

#[test]
fn json_patches_that_do_not_fit_are_rejected_with_the_path() {
    let object = json!({"a": {"b": 1}, "list": []});
    for (operation, expected) in [
        (json!({"op": "test", "path": "/a/b", "value": 2}), "testing value /a/b failed: value did not match"),
        (
            json!({"op": "test", "path": "/a/b", "value": null}),
            "testing value /a/b failed: value did not match",
        ),
        (json!({"op": "test", "path": "/a/c", "value": 2}), "testing value /a/c failed: path is invalid"),
        (json!({"op": "test", "path": "/x/y", "value": null}), "testing value /x/y failed: path is invalid"),
        (
            json!({"op": "test", "path": "/list/0", "value": null}),
            "testing value /list/0 failed: path is invalid",
        ),
        (json!({"op": "remove", "path": "/a/c"}), "remove operation does not apply: /a/c: path is invalid"),
        (
            json!({"op": "replace", "path": "/x", "value": 1}),
            "replace operation does not apply: /x: path is invalid",
        ),
        (
            json!({"op": "add", "path": "/x/y", "value": 1}),
            "add operation does not apply: /x/y: path is invalid",
        ),
        (
            json!({"op": "add", "path": "/list/5", "value": 1}),
            "add operation does not apply: /list/5: path is invalid",
        ),
        (
            json!({"op": "copy", "from": "/x", "path": "/y"}),
            "copy operation does not apply: /y: \"from\" path is invalid",
        ),
    ] {
        let error = with(PatchType::Json, &object, &json!([operation])).unwrap_err();
        assert_eq!(error, PatchError::Rejected(expected.to_owned()));
    }
}

#[test]
fn patches_of_the_wrong_form_are_malformed() {
    let check = |kind, patch: &str| apply(kind, message("", "v1", "Pod"), json!({}), patch.as_bytes());
    for (kind, patch, expected) in [
        (PatchType::Json, "", "error decoding patch: unexpected end of JSON input"),
        (
            PatchType::Json,
            "{}",
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ),
        (
            PatchType::Merge,
            "[1]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            PatchType::Strategic,
            "\"x\"",
            "error decoding patch: json: cannot unmarshal string into Go value of type map[string]interface {}",
        ),
        (
            PatchType::Strategic,
            "{\"a\":}",
            "error decoding patch: invalid character '}' looking for beginning of value",
        ),
    ] {
        assert_eq!(check(kind, patch), Err(PatchError::Malformed(expected.to_owned())), "{patch}");
    }
    for patch in [r#"[{"op":"boil","path":"/a"}]"#, r#"[{"op":"add","path":"a","value":1}]"#, "[1]"] {
        assert!(matches!(check(PatchType::Json, patch), Err(PatchError::Malformed(_))), "{patch}");
    }
    let deep = "{\"a\":".repeat(10_000);
    for kind in [PatchType::Merge, PatchType::Strategic] {
        assert!(matches!(check(kind, &deep), Err(PatchError::Malformed(_))));
    }
    assert_eq!(apply(PatchType::Strategic, None, json!({}), b"{}"), Err(PatchError::Unsupported));
}

#[test]
fn json_patches_cannot_grow_the_object_without_limit() {
    let many = vec![json!({"op": "test", "path": "", "value": {}}); 10_001];
    let doubling: Vec<Value> =
        (0..64).map(|n| json!({"op": "copy", "from": "", "path": format!("/k{n}")})).collect();
    let nesting: Vec<Value> = (0..3000)
        .flat_map(|_| {
            [
                json!({"op": "add", "path": "/n", "value": {}}),
                json!({"op": "move", "from": "/a", "path": "/n/a"}),
                json!({"op": "move", "from": "/n", "path": "/a"}),
            ]
        })
        .collect();
    let shifting = vec![json!({"op": "add", "path": "/list/0", "value": 1}); 9_000];
    let object = json!({"a": {}, "list": vec![0; 5_000]});
    for patch in [many, doubling, nesting, shifting] {
        let result = with(PatchType::Json, &object, &Value::from(patch));
        assert!(matches!(result, Err(PatchError::TooLarge(_))));
    }
    let moves: Vec<Value> = (0..2_000)
        .map(|n| json!({"op": "move", "from": format!("/a{n}"), "path": format!("/a{}", n + 1)}))
        .collect();
    assert!(with(PatchType::Json, &json!({"a0": {"b": {}}}), &Value::from(moves)).is_ok());
}

#[test]
fn merge_patches_follow_the_standard() {
    for (object, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(with(PatchType::Merge, &object, &patch), Ok(expected), "{patch}");
    }
}

#[test]
fn lists_of_objects_merge_by_the_schemas_key() {
    for (object, patch, expected) in [
        (
            spec(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]})),
            spec(json!({"containers": [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]})),
            spec(json!({"containers": [
                {"name": "a", "image": "1"}, {"name": "b", "image": "3"}, {"name": "c", "image": "4"}
            ]})),
        ),
        (
            spec(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]})),
            spec(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}]}]})),
            spec(json!({"containers": [
                {"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "web"}]}
            ]})),
        ),
        (
            spec(
                json!({"containers": [{"name": "a", "args": ["x", "y"], "env": [{"name": "A", "value": "1"}]}]}),
            ),
            spec(
                json!({"containers": [{"name": "a", "args": ["z"], "env": [{"name": "A", "value": null}]}]}),
            ),
            spec(json!({"containers": [{"name": "a", "args": ["z"], "env": [{"name": "A"}]}]})),
        ),
        (
            spec(json!({"tolerations": [{"key": "a"}, {"key": "b"}]})),
            spec(json!({"tolerations": [{"key": "c"}]})),
            spec(json!({"tolerations": [{"key": "c"}]})),
        ),
        (
            spec(json!({})),
            spec(
                json!({"containers": [{"name": "a", "image": null, "$retainKeys": ["name"]}, {"$patch": "delete", "name": "b"}]}),
            ),
            spec(json!({"containers": [{"name": "a"}]})),
        ),
    ] {
        assert_eq!(strategic(object, patch.clone()), expected, "{patch}");
    }
}

#[test]
fn lists_of_scalars_merge_as_sets_where_the_schema_says_so() {
    let object = json!({"metadata": {"finalizers": ["a", "b"]}});
    for (patch, expected) in [
        (json!({"finalizers": ["b", "c"]}), json!(["a", "b", "c"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["a", "x"]}), json!(["b"])),
        (
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"],
                "finalizers": ["c"]}),
            json!(["c", "b"]),
        ),
        (json!({"$setElementOrder/finalizers": ["b", "a"]}), json!(["b", "a"])),
    ] {
        let result = strategic(object.clone(), json!({ "metadata": patch }));
        assert_eq!(result["metadata"], json!({ "finalizers": expected }), "{patch}");
    }
}

#[test]
fn maps_and_plain_fields_merge_as_in_a_merge_patch() {
    let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "name": "x"}});
    let patch =
        json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": {"n": "1", "gone": null}}});
    let expected =
        json!({"metadata": {"labels": {"b": "2", "c": "3"}, "name": "x", "annotations": {"n": "1"}}});
    assert_eq!(strategic(object, patch), expected);
}

#[test]
fn directives_replace_and_delete() {
    let containers = spec(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}));
    for (object, patch, expected) in [
        (
            containers.clone(),
            spec(json!({"containers": [{"$patch": "delete", "name": "a"}]})),
            spec(json!({"containers": [{"name": "b", "image": "2"}]})),
        ),
        (
            containers.clone(),
            spec(json!({"containers": [{"$patch": "replace"}, {"name": "c"}]})),
            spec(json!({"containers": [{"name": "c"}]})),
        ),
        (
            containers.clone(),
            spec(json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "a", "image": "new"}]})),
            spec(json!({"containers": [{"name": "a", "image": "new"}, {"name": "b", "image": "2"}]})),
        ),
        (
            spec(json!({"securityContext": {"runAsUser": 1}, "nodeName": "n"})),
            spec(json!({"securityContext": {"$patch": "replace", "fsGroup": 2}})),
            spec(json!({"securityContext": {"fsGroup": 2}, "nodeName": "n"})),
        ),
        (
            spec(json!({"securityContext": {"runAsUser": 1}})),
            spec(json!({"securityContext": {"$patch": "delete"}})),
            spec(json!({"securityContext": {}})),
        ),
        (containers, json!({"$patch": "replace", "x": 1}), json!({"x": 1})),
    ] {
        assert_eq!(strategic(object, patch.clone()), expected, "{patch}");
    }
}

#[test]
fn retained_keys_remove_the_others() {
    let volume = spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
    let patch = spec(
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
    );
    assert_eq!(
        strategic(volume.clone(), patch),
        spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}))
    );
    let strategy =
        json!({"kind": "Deployment", "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}});
    let patch = spec(json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}));
    assert_eq!(strategic(strategy, patch)["spec"], json!({"strategy": {"type": "Recreate"}}));
    let wrong = spec(json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {}}]}));
    assert_eq!(strategic_error(volume, wrong), "invalid patch format of retainKeys");
}

#[test]
fn element_order_is_the_patchs_with_unknown_items_kept_in_place() {
    let names = |names: &[&str]| -> Vec<Value> { names.iter().map(|name| json!({"name": name})).collect() };
    for (before, patch, order, expected) in [
        (&["a", "b", "c"][..], &[][..], &["c", "a", "b"][..], &["c", "a", "b"][..]),
        (&["a", "b"], &["c"], &["c", "a", "b"], &["c", "a", "b"]),
        (&["s", "a", "b"], &["c"], &["b", "a", "c"], &["s", "b", "a", "c"]),
        (&["a", "s", "b"], &["c"], &["a", "c", "b"], &["a", "c", "s", "b"]),
        (&["a", "b", "s"], &[], &["b", "a"], &["b", "a", "s"]),
        (&[], &["y", "x"], &["y", "x"], &["y", "x"]),
    ] {
        let object = spec(json!({ "containers": names(before) }));
        let mut patch_spec = json!({ "$setElementOrder/containers": names(order) });
        if !patch.is_empty() {
            patch_spec["containers"] = Value::from(names(patch));
        }
        let result = strategic(object, spec(patch_spec));
        assert_eq!(
            result["spec"]["containers"],
            Value::from(names(expected)),
            "{before:?} {patch:?} {order:?}"
        );
    }
}

#[test]
fn malformed_strategic_patches_are_refused_with_a_reason() {
    let object = spec(json!({"containers": [{"name": "a"}], "hostname": "h"}));
    for (patch, expected) in [
        (json!({"$patch": "boil"}), "unknown patch type: 'boil' in map: {}"),
        (
            spec(json!({"containers": [{"image": "x"}]})),
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (
            spec(json!({"containers": [{"$patch": "merge", "name": "a"}]})),
            "merging lists cannot yet be specified in the patch",
        ),
        (
            spec(json!({"containers": ["a"]})),
            "the server rejected our request due to an error in our request: list element types are not identical",
        ),
        (spec(json!({"$setElementOrder": []})), "invalid patch format of setElementOrder list"),
        (spec(json!({"$setElementOrder/containers": {}})), "invalid patch format of setElementOrder list"),
        (spec(json!({"$deleteFromPrimitiveList/x": 1})), "invalid patch format of primitive list"),
        (spec(json!({"$retainKeys": "x"})), "invalid patch format of retainKeys"),
        (
            spec(json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]})),
            "the order in patch list:\n[{\"name\":\"b\"}]\n doesn't match $setElementOrder list:\n[\"a\"]\n",
        ),
    ] {
        assert_eq!(strategic_error(object.clone(), patch.clone()), expected, "{patch}");
    }
}

#[test]
fn long_lists_merge_in_reasonable_time() {
    let items = |from: usize| -> Vec<Value> {
        (from..from + 20_000).map(|n| json!({"name": format!("v{n}"), "value": "x"})).collect()
    };
    let env = |items: Vec<Value>| spec(json!({"containers": [{"name": "a", "env": items}]}));
    let merged = strategic(env(items(0)), env(items(10_000)));
    assert_eq!(merged["spec"]["containers"][0]["env"].as_array().unwrap().len(), 30_000);
}

/// A pod spec's fields of each kind of merge, from few names, so that patches and objects overlap.
fn pod() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let env = prop::collection::btree_map(name(), any::<u8>(), 0..4).prop_map(|env| {
        let items = env.into_iter().map(|(name, value)| json!({"name": name, "value": value.to_string()}));
        items.collect::<Vec<_>>()
    });
    let containers =
        prop::collection::btree_map(name(), (any::<Option<u8>>(), env), 0..4).prop_map(|containers| {
            let items = containers.into_iter().map(|(name, (image, env))| match image {
                Some(image) => json!({"name": name, "image": image.to_string(), "env": env}),
                None => json!({ "name": name }),
            });
            items.collect::<Vec<_>>()
        });
    let labels = prop::collection::btree_map(name(), "[a-z]{1,3}", 0..3);
    let finalizers = prop::collection::btree_set(name(), 0..3);
    (containers, labels, finalizers, any::<Option<bool>>()).prop_map(
        |(containers, labels, finalizers, host)| {
            let mut pod = json!({
                "metadata": {"labels": labels, "finalizers": finalizers},
                "spec": {"containers": containers, "nodeSelector": labels},
            });
            if let Some(host) = host {
                pod["spec"]["hostNetwork"] = json!(host);
            }
            pod
        },
    )
}

proptest! {
    #[test]
    fn an_empty_patch_changes_nothing(object in pod()) {
        for (kind, patch) in
            [(PatchType::Json, json!([])), (PatchType::Merge, json!({})), (PatchType::Strategic, json!({}))]
        {
            prop_assert_eq!(&with(kind, &object, &patch).unwrap(), &object);
        }
    }

    #[test]
    fn a_patch_applied_again_changes_nothing(object in pod(), patch in pod()) {
        for kind in [PatchType::Merge, PatchType::Strategic] {
            let once = with(kind, &object, &patch).unwrap();
            let twice = with(kind, &once, &patch).unwrap();
            prop_assert_eq!(twice, once);
        }
    }

    #[test]
    fn an_object_merged_into_itself_is_itself(object in pod()) {
        prop_assert_eq!(&with(PatchType::Strategic, &object, &object).unwrap(), &object);
    }

    #[test]
    fn an_order_directive_orders_exactly_its_items(object in pod(), seed in any::<prop::sample::Index>()) {
        let mut order = object["spec"]["containers"].as_array().unwrap().clone();
        if !order.is_empty() {
            let by = seed.index(order.len());
            order.rotate_left(by);
        }
        let patch = json!({"spec": {"$setElementOrder/containers": order}});
        let patched = with(PatchType::Strategic, &object, &patch).unwrap();
        prop_assert_eq!(&patched["spec"]["containers"], &Value::from(order));
    }

    #[test]
    fn random_patches_never_panic(
        object in pod(),
        patch in "[\\[\\]{}:,\"$apd0-9/ ]{0,60}",
        directive in prop::sample::select(vec!["$patch", "$retainKeys", "$setElementOrder/containers",
            "$deleteFromPrimitiveList/containers", "$setElementOrder/", "containers"]),
        value in prop_oneof![Just(json!(null)), Just(json!([])), Just(json!([{}])), Just(json!({})), Just(json!("delete")),
            Just(json!([["a"]])), Just(json!([{"name": {}}])), Just(json!([null]))],
    ) {
        for kind in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
            let _ = apply(kind, message("", "v1", "Pod"), object.clone(), patch.as_bytes());
        }
        let _ = with(PatchType::Strategic, &object, &json!({"spec": {directive: value}}));
    }
}
