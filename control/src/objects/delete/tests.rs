//! How a deletion goes, by kind, options and finalizers.

use isopod_spec::registry;
use isopod_spec::resource::Typed;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

fn pod(node: &str, meta: Value) -> Box<dyn Object> {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "generation": 1},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30, "containers": []},
    }))
    .expect("a pod");
    let given: ObjectMeta = serde_json::from_value(meta).expect("metadata");
    pod.metadata.finalizers = given.finalizers;
    pod.metadata.deletion_timestamp = given.deletion_timestamp;
    pod.metadata.deletion_grace_period_seconds = given.deletion_grace_period_seconds;
    Box::new(Typed(pod))
}

/// The step as `remove`, `stand`, or `grace=… ends=+… generation=… finalizers=…`.
fn shown(kind: &Kind, old: &dyn Object, options: &DeleteOptions) -> String {
    match plan(kind, old, options, now()) {
        Step::Remove => "remove".to_owned(),
        Step::Stand => "stand".to_owned(),
        Step::Mark(object) => {
            let meta = object.meta();
            let ends = meta.deletion_timestamp.as_ref().expect("marked").0.as_second() - NOW;
            format!(
                "grace={} ends={ends:+} generation={} finalizers={}",
                meta.deletion_grace_period_seconds.expect("marked"),
                meta.generation.unwrap_or(0),
                meta.finalizers.clone().unwrap_or_default().join("+")
            )
        }
    }
}

fn after(seconds: i64) -> String {
    (now() + SignedDuration::from_secs(seconds)).to_string()
}

#[test]
fn pods_end_in_their_own_time_and_it_only_gets_shorter() {
    let ending = json!({"deletionTimestamp": after(20), "deletionGracePeriodSeconds": 30});
    let held = json!({"finalizers": ["x/y"]});
    let ended_but_held =
        json!({"finalizers": ["x/y"], "deletionTimestamp": after(0), "deletionGracePeriodSeconds": 0});
    for (node, meta, grace, expected) in [
        ("", json!({}), None, "remove"),
        ("n", json!({}), None, "grace=30 ends=+30 generation=2 finalizers="),
        ("n", json!({}), Some(5), "grace=5 ends=+5 generation=2 finalizers="),
        ("n", json!({}), Some(-7), "grace=1 ends=+1 generation=2 finalizers="),
        ("n", json!({}), Some(0), "remove"),
        ("n", held.clone(), Some(0), "grace=0 ends=+0 generation=2 finalizers=x/y"),
        ("", held, None, "grace=0 ends=+0 generation=2 finalizers=x/y"),
        ("n", ending.clone(), None, "stand"),
        ("n", ending.clone(), Some(60), "stand"),
        ("n", ending.clone(), Some(4), "grace=4 ends=-6 generation=1 finalizers="),
        ("n", ending, Some(0), "remove"),
        ("n", ended_but_held, Some(0), "stand"),
    ] {
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        let shown = shown(registry::kind_of::<Pod>(), pod(node, meta.clone()).as_ref(), &options);
        assert_eq!(shown, expected, "{node:?} {meta} {grace:?}");
    }
}

#[test]
fn propagation_becomes_finalizers() {
    for (finalizers, propagation, expected) in [
        (json!([]), None, "remove"),
        (json!([]), Some(Propagation::Background), "remove"),
        (
            json!([]),
            Some(Propagation::Foreground),
            "grace=0 ends=+0 generation=0 finalizers=foregroundDeletion",
        ),
        (json!(["a/b"]), Some(Propagation::Orphan), "grace=0 ends=+0 generation=0 finalizers=a/b+orphan"),
        (json!(["orphan"]), None, "grace=0 ends=+0 generation=0 finalizers=orphan"),
        (json!(["orphan"]), Some(Propagation::Background), "remove"),
        (
            json!(["orphan"]),
            Some(Propagation::Foreground),
            "grace=0 ends=+0 generation=0 finalizers=foregroundDeletion",
        ),
    ] {
        let map: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": "m", "finalizers": finalizers}}))
                .expect("a map");
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        let shown = shown(registry::kind_of::<ConfigMap>(), &Typed(map), &options);
        assert_eq!(shown, expected, "{finalizers} {propagation:?}");
    }
}

#[test]
fn a_namespace_is_held_by_its_content() {
    let namespace = |meta: Value, held: Value| -> Typed<Namespace> {
        let whole = json!({"metadata": meta, "spec": {"finalizers": held}, "status": {"phase": "Active"}});
        Typed(serde_json::from_value(whole).expect("a namespace"))
    };
    let live = namespace(json!({"name": "n"}), json!(["kubernetes"]));
    let Step::Mark(marked) = plan(registry::kind_of::<Namespace>(), &live, &DeleteOptions::default(), now())
    else {
        panic!("it is marked");
    };
    let phase = marked.get::<Namespace>().and_then(|own| own.status.clone()).and_then(|status| status.phase);
    assert_eq!(phase.as_deref(), Some("Terminating"));
    let meta = json!({"name": "n", "deletionTimestamp": after(0), "deletionGracePeriodSeconds": 0});
    assert!(!may_vanish(marked.as_ref(), &namespace(meta.clone(), json!(["kubernetes"]))));
    assert!(may_vanish(marked.as_ref(), &namespace(meta, json!([]))));
}
