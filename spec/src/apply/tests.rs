//! Server-side apply: tables of cases, and random histories against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::managed;
use crate::resource::Target;
use crate::schema;

/// An object of the group apps/v1 and the account of its owners.
#[derive(Clone, Debug, Default)]
struct State {
    object: Option<Value>,
    managed: Option<String>,
}

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

impl State {
    fn apply(&mut self, manager: &str, config: &Value, on_conflict: OnConflict) -> Result<(), ApplyError> {
        self.apply_as(&writer(manager), config, on_conflict)
    }

    fn apply_as(
        &mut self,
        writer: &Writer<'_>,
        config: &Value,
        on_conflict: OnConflict,
    ) -> Result<(), ApplyError> {
        let text = self.object.as_ref().map_or("{}".to_owned(), Value::to_string);
        let live = Live { object: &text, managed: self.managed.as_deref() };
        let applied = apply(writer, live, &config.to_string(), on_conflict)?;
        let mut object: Value = serde_json::from_str(&applied.object).expect("JSON");
        if let Some(text) = applied.last_applied {
            object["metadata"]["annotations"][LAST_APPLIED] = json!(text);
        }
        let same = self.object.as_ref() == Some(&object)
            && managed::same_but_for_times(self.managed.as_deref(), applied.managed.as_deref());
        if !same {
            self.managed = applied.managed;
        }
        self.object = Some(object);
        Ok(())
    }

    fn ok(&mut self, manager: &str, config: Value) -> &mut State {
        self.apply(manager, &config, OnConflict::Refuse).expect("no conflict");
        self
    }

    fn force(&mut self, manager: &str, config: Value) -> &mut State {
        self.apply(manager, &config, OnConflict::Take).expect("forced");
        self
    }

    fn refused(&mut self, manager: &str, config: Value) -> String {
        let before = self.clone();
        let error = self.apply(manager, &config, OnConflict::Refuse).expect_err("a conflict");
        assert_eq!((&self.object, &self.managed), (&before.object, &before.managed));
        error.to_string()
    }

    /// Changes the object as PUT and the other patches do.
    fn update(&mut self, manager: &str, object: Value) -> &mut State {
        self.managed = match &self.object {
            None => managed::after_create(&writer(manager), &object.to_string()),
            Some(old) => {
                let (stored, old) = (self.managed.as_deref(), old.to_string());
                managed::after_update(&writer(manager), stored, None, &old, &object.to_string())
                    .map(Into::into)
            }
        };
        self.object = Some(object);
        self
    }

    fn at(&self, pointer: &str) -> Value {
        self.object.as_ref().and_then(|object| object.pointer(pointer)).cloned().unwrap_or_default()
    }

    /// The paths that a manager owns.
    fn owned(&self, manager: &str, operation: Operation) -> Vec<String> {
        let managed = self.managed.as_deref().and_then(Managed::read).unwrap_or_default();
        let own = |entry: &&Entry| entry.manager == manager && entry.operation == operation;
        managed.entries.iter().find(own).map(|entry| entry.fields.paths()).unwrap_or_default()
    }
}

fn labels(labels: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": labels}})
}

fn spec(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn containers(containers: Value) -> Value {
    spec(json!({"template": {"spec": {"containers": containers}}}))
}

const CONTAINERS: &str = "/spec/template/spec/containers";

#[test]
fn an_object_is_made_and_its_manager_owns_what_it_named() {
    let mut state = State::default();
    state.ok("helm", spec(json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "strategy": {}})));
    assert_eq!(state.owned("helm", Operation::Apply), [".spec.replicas", ".spec.selector", ".spec.strategy"]);
    let (before, managed) = (state.object.clone(), state.managed.clone());
    state.ok("helm", spec(json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "strategy": {}})));
    assert_eq!((state.object, state.managed), (before, managed), "applying again changes nothing");
}

#[test]
fn conflicts_are_told_as_upstream_tells_them() {
    let mut state = State::default();
    state.ok("one", spec(json!({"replicas": 1, "paused": true})));
    state.update("kubectl", spec(json!({"replicas": 2, "paused": true})));
    assert_eq!(
        state.refused("two", spec(json!({"replicas": 3}))),
        "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas"
    );
    assert_eq!(
        state.refused("two", spec(json!({"replicas": 3, "paused": false}))),
        "Apply failed with 2 conflicts: conflicts with \"kubectl\" using apps/v1:\n- .spec.replicas\nconflicts with \"one\":\n- .spec.paused"
    );
    let conflicts = state.apply("two", &spec(json!({"replicas": 3})), OnConflict::Refuse);
    let Err(ApplyError::Conflicts(conflicts)) = conflicts else { panic!("{conflicts:?}") };
    let status: Value = serde_json::from_slice(&conflicts.status().to_json()).expect("JSON");
    assert_eq!((&status["code"], &status["reason"]), (&json!(409), &json!("Conflict")));
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas"}])
    );
    state.ok("two", spec(json!({"replicas": 2})));
    state.force("three", spec(json!({"replicas": 4})));
    assert_eq!(state.at("/spec/replicas"), 4);
    assert!(state.owned("two", Operation::Apply).is_empty());
    assert!(state.owned("kubectl", Operation::Update).is_empty());
}

#[test]
fn a_writer_through_a_subresource_is_named_with_it() {
    let mut state = State::default();
    state.ok("helm", spec(json!({"replicas": 1})));
    let scaler = Writer { target: Target::Scale, ..writer("hpa") };
    let (old, new) = (state.object.clone().expect("made"), spec(json!({"replicas": 5})));
    let managed =
        managed::after_update(&scaler, state.managed.as_deref(), None, &old.to_string(), &new.to_string());
    state = State { managed: managed.map(Into::into), object: Some(new) };
    assert_eq!(
        state.refused("helm", spec(json!({"replicas": 1}))),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    state.ok("helm", spec(json!({"paused": false})));
    assert_eq!(state.at("/spec/replicas"), 5, "what another owns stays");
}

#[test]
fn what_is_no_longer_named_goes_unless_another_owns_it() {
    let mut state = State::default();
    state.ok("a", labels(json!({"x": "1", "y": "1", "z": "1"})));
    state.ok("b", labels(json!({"y": "1"})));
    let mut edited = state.object.clone().expect("made");
    edited["metadata"]["labels"]["z"] = json!("2");
    edited["metadata"]["labels"]["w"] = json!("3");
    state.update("editor", edited);
    state.ok("a", labels(json!({})));
    assert_eq!(state.at("/metadata/labels"), json!({"w": "3", "y": "1", "z": "2"}));
    state.ok("b", labels(json!({"v": "1"})));
    assert_eq!(state.at("/metadata/labels"), json!({"w": "3", "z": "2", "v": "1"}));
}

#[test]
fn the_last_field_of_the_metadata_goes_without_the_metadata() {
    let mut state = State::default();
    state.ok("a", labels(json!({"x": "1"})));
    state.ok("a", spec(json!({"replicas": 1})));
    assert_eq!(state.at("/metadata"), json!({"name": "web"}));
    assert_eq!(state.at("/spec/replicas"), 1);
}

#[test]
fn lists_of_objects_are_merged_by_their_keys() {
    let mut state = State::default();
    state.ok("a", containers(json!([{"name": "app", "image": "i:1", "ports": [{"containerPort": 80}]}])));
    state.ok(
        "b",
        containers(
            json!([{"name": "sidecar", "image": "s"}, {"name": "app", "env": [{"name": "K", "value": "v"}]}]),
        ),
    );
    assert_eq!(
        state.at(CONTAINERS),
        json!([
            {"name": "sidecar", "image": "s"},
            {"name": "app", "image": "i:1", "ports": [{"containerPort": 80}], "env": [{"name": "K", "value": "v"}]},
        ])
    );
    let same_port = json!([{"name": "app", "image": "i:1", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}, {"containerPort": 80, "protocol": "UDP"}]}]);
    state.ok("a", containers(same_port));
    assert_eq!(
        state.at(&format!("{CONTAINERS}/1/ports")),
        json!([{"containerPort": 80, "protocol": "TCP", "name": "http"}, {"containerPort": 80, "protocol": "UDP"}]),
        "the default of a key is a part of it"
    );
    state.ok("b", containers(json!([{"name": "app"}])));
    let left = state.at(CONTAINERS);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "the sidecar was b's alone: {left}");
    assert_eq!(left[0]["env"], Value::Null);
    assert_eq!(left[0]["image"], "i:1");
    let twice = containers(json!([{"name": "app"}, {"name": "app"}]));
    let error = state.apply("c", &twice, OnConflict::Take).expect_err("twice the same");
    assert_eq!(error.to_string(), ".spec.template.spec.containers: duplicate entries for key [name=\"app\"]");
    let error =
        state.apply("c", &containers(json!([{"image": "x"}])), OnConflict::Take).expect_err("no name");
    assert_eq!(
        error.to_string(),
        ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"
    );
}

#[test]
fn an_item_goes_with_all_that_the_server_filled_in() {
    let mut state = State::default();
    state.ok("a", containers(json!([{"name": "app", "image": "i"}, {"name": "b", "image": "j"}])));
    let mut filled = state.object.clone().expect("made");
    filled["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = json!("Always");
    filled["spec"]["progressDeadlineSeconds"] = json!(600);
    state.object = Some(filled);
    state.ok("a", containers(json!([{"name": "app", "image": "i"}])));
    assert_eq!(state.at(CONTAINERS), json!([{"name": "app", "image": "i"}]));
    assert_eq!(state.at("/spec/progressDeadlineSeconds"), 600, "what nobody owns stays");
}

#[test]
fn what_is_owned_as_one_is_replaced_as_one() {
    let mut state = State::default();
    let selector = |labels: Value| spec(json!({"selector": {"matchLabels": labels}}));
    state.ok("a", selector(json!({"app": "web", "tier": "front"})));
    state.ok("a", selector(json!({"app": "web"})));
    assert_eq!(state.at("/spec/selector"), json!({"matchLabels": {"app": "web"}}));
    let conflict = state.refused("b", selector(json!({"app": "web", "more": "x"})));
    assert!(conflict.ends_with("conflict with \"a\": .spec.selector"), "{conflict}");
    state.ok("a", containers(json!([{"name": "c", "args": ["1", "2"]}])));
    state.ok("a", containers(json!([{"name": "c", "args": ["2"]}])));
    assert_eq!(state.at(&format!("{CONTAINERS}/0/args")), json!(["2"]));
}

#[test]
fn sets_have_an_owner_for_each_value() {
    let finalizers = |all: &[&str]| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "finalizers": all}});
    let mut state = State::default();
    state.ok("a", finalizers(&["x/1", "x/2"]));
    state.ok("b", finalizers(&["x/3", "x/1"]));
    assert_eq!(state.at("/metadata/finalizers"), json!(["x/3", "x/1", "x/2"]));
    state.ok("a", finalizers(&[]));
    assert_eq!(state.at("/metadata/finalizers"), json!(["x/3", "x/1"]));
}

#[test]
fn status_is_applied_through_its_own_path() {
    let mut state = State::default();
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1},
        "status": {"conditions": [{"type": "Available", "status": "True"}]}});
    state.ok("a", config.clone());
    assert_eq!(state.owned("a", Operation::Apply), [".spec.replicas"]);
    let through = Writer { target: Target::Status, ..writer("c") };
    state.apply_as(&through, &config, OnConflict::Refuse).expect("no conflict");
    let paths = state.owned("c", Operation::Apply);
    assert!(paths.iter().all(|path| path.starts_with(".status.conditions[type=\"Available\"]")), "{paths:?}");
}

#[test]
fn what_nobody_accounted_for_belongs_to_who_was_there_before() {
    let mut state = State { object: Some(spec(json!({"replicas": 1, "paused": true}))), managed: None };
    let conflict = state.refused("a", spec(json!({"replicas": 2})));
    assert!(
        conflict.contains("conflict with \"before-first-apply\" using apps/v1: .spec.replicas"),
        "{conflict}"
    );
    state.ok("a", spec(json!({"replicas": 1})));
    assert_eq!(state.owned("a", Operation::Apply), [".spec.replicas"]);
    assert!(state.owned("before-first-apply", Operation::Update).contains(&".spec.paused".to_owned()));
}

#[test]
fn who_comes_from_client_side_apply_has_no_conflict_with_himself() {
    let mut first = spec(json!({"replicas": 1, "paused": true}));
    let last = format!("{first}\n");
    first["metadata"]["annotations"] = json!({LAST_APPLIED: last});
    let mut state = State::default();
    state.update("kubectl-client-side-apply", first.clone());
    let changed = spec(json!({"replicas": 3, "paused": true}));
    let conflict = state.refused("other", changed.clone());
    assert!(conflict.contains("kubectl-client-side-apply"), "{conflict}");
    state.ok("kubectl", changed.clone());
    assert_eq!(state.at("/spec/replicas"), 3);
    let kept = state.at("/metadata/annotations").get(LAST_APPLIED).cloned().unwrap_or_default();
    assert_eq!(kept, json!(format!("{changed}\n")), "the annotation keeps in step");
    let mut edited = state.object.clone().expect("made");
    edited["spec"]["replicas"] = json!(7);
    state.update("kubectl-edit", edited);
    let conflict = state.refused("kubectl", changed);
    assert!(conflict.contains("conflict with \"kubectl-edit\" using apps/v1: .spec.replicas"), "{conflict}");
}

/// One step of a random history of labels.
#[derive(Clone, Debug)]
enum Step {
    Apply { manager: u8, labels: BTreeMap<String, String>, force: bool },
    Update { manager: u8, labels: BTreeMap<String, String> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let labels = || prop::collection::btree_map("[a-d]", "[12]", 0..4);
    let step = prop_oneof![
        3 => (0..3_u8, labels(), any::<bool>())
            .prop_map(|(manager, labels, force)| Step::Apply { manager, labels, force }),
        1 => (0..3_u8, labels()).prop_map(|(manager, labels)| Step::Update { manager, labels }),
    ];
    prop::collection::vec(step, 1..12)
}

type Owner = (u8, Operation);

/// What labels there are and who owns each, told without trees.
#[derive(Debug, Default)]
struct Model(BTreeMap<String, (String, BTreeSet<Owner>)>);

impl Model {
    /// False when it is a conflict.
    fn apply(&mut self, manager: u8, wanted: &BTreeMap<String, String>, force: bool) -> bool {
        let me = (manager, Operation::Apply);
        let differs = |(key, value): (&String, &String)| {
            let other = self.0.get(key).filter(|(live, _)| live != value);
            other.is_some_and(|(_, owners)| owners.iter().any(|owner| *owner != me))
        };
        if !force && wanted.iter().any(differs) {
            return false;
        }
        for (key, value) in wanted {
            let own = self.0.entry(key.clone()).or_default();
            if own.0 != *value {
                *own = (value.clone(), BTreeSet::new());
            }
            own.1.insert(me);
        }
        self.0.retain(|key, (_, owners)| {
            let dropped = !wanted.contains_key(key) && owners.remove(&me);
            !(dropped && owners.is_empty())
        });
        true
    }

    fn update(&mut self, manager: u8, wanted: &BTreeMap<String, String>) {
        self.0.retain(|key, _| wanted.contains_key(key));
        for (key, value) in wanted {
            let own = self.0.entry(key.clone()).or_default();
            if own.0 != *value {
                *own = (value.clone(), BTreeSet::from([(manager, Operation::Update)]));
            }
        }
    }
}

proptest! {
    #[test]
    fn random_histories_are_as_the_model_has_them(steps in steps()) {
        let (mut state, mut model) = (State::default(), Model::default());
        state.update("maker", spec(json!({"replicas": 1})));
        for step in &steps {
            match step {
                Step::Apply { manager, labels: wanted, force } => {
                    let how = if *force { OnConflict::Take } else { OnConflict::Refuse };
                    let config = labels(json!(wanted));
                    let name = format!("m{manager}");
                    let done = state.apply(&name, &config, how);
                    prop_assert_eq!(done.is_ok(), model.apply(*manager, wanted, *force), "{:?}", done);
                    if done.is_ok() {
                        let before = state.clone();
                        state.apply(&name, &config, OnConflict::Refuse).expect("what is applied has no conflict");
                        prop_assert_eq!(&state.object, &before.object);
                        prop_assert_eq!(&state.managed, &before.managed);
                    }
                }
                Step::Update { manager, labels: wanted } => {
                    let mut object = state.object.clone().expect("made");
                    object["metadata"]["labels"] = json!(wanted);
                    state.update(&format!("m{manager}"), object);
                    model.update(*manager, wanted);
                }
            }
            let live: BTreeMap<String, String> =
                serde_json::from_value(state.at("/metadata/labels")).unwrap_or_default();
            let expected: BTreeMap<String, String> =
                model.0.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
            prop_assert_eq!(live, expected);
            for (manager, operation) in [0, 1, 2].into_iter().flat_map(|own| [(own, Operation::Apply), (own, Operation::Update)]) {
                let paths = state.owned(&format!("m{manager}"), operation);
                let own: BTreeSet<&str> =
                    paths.iter().filter_map(|path| path.strip_prefix(".metadata.labels.")).collect();
                let expected: BTreeSet<&str> = model.0.iter()
                    .filter(|(_, (_, owners))| owners.contains(&(manager, operation)))
                    .map(|(key, _)| key.as_str())
                    .collect();
                prop_assert_eq!(own, expected, "m{} {:?} after {:?}", manager, operation, step);
            }
        }
    }
}
