//! Every decoder of this crate under mutated input: none panics, and none allocates more than a multiple of what it is
//! given. Rounds are short in the tests; `ISOPOD_FUZZ_SECONDS` makes them long, `ISOPOD_FUZZ_SEED` others
//! (CONTRIBUTING.md).

mod corpus;
mod fuzz;
mod memory;
mod mutate;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use isopod_spec::apply::{self, Live, OnConflict};
use isopod_spec::decode::protobuf::protobuf_to_json;
use isopod_spec::decode::strict::duplicate_check;
use isopod_spec::decode::yaml::yaml_to_json;
use isopod_spec::managed::Writer;
use isopod_spec::patch::{self, PatchType};
use isopod_spec::quantity::Amount;
use isopod_spec::registry::{builtin, kind_of};
use isopod_spec::resource::write::{self, NewObject};
use isopod_spec::resource::{Kind, Target};
use isopod_spec::selector::{FieldSelector, Selector};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use self::fuzz::{Bound, run};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Texts to text, or to fields that point into it: little more than a copy.
const COPIES: Bound = Bound { factor: 32, free: 1 << 20 };
/// Texts to trees or to typed objects, which take some hundred bytes for each field.
const TREES: Bound = Bound { factor: 256, free: 4 << 20 };

fn moment() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("2026-01-01")
}

/// A new object, through all that happens before it is stored.
fn create(kind: &Kind, json: &[u8]) {
    let Ok(mut object) = kind.decode(json) else { return };
    let namespace = if kind.namespaced() { "default" } else { "" };
    let new = NewObject { namespace, uid: "uid-1".to_owned(), now: moment(), name_seed: 1 };
    object.meta_mut().resource_version = None;
    object.meta_mut().namespace = None;
    if write::prepare_create(kind, object.as_mut(), new).is_ok() {
        black_box(write::validate_create(kind, object.as_ref()).is_ok());
        black_box(object.warnings());
    }
}

#[test]
fn json_is_checked_against_the_schema() {
    let kind = kind_of::<Pod>();
    run("json", &corpus::objects(), COPIES, |input| {
        drop(black_box(kind.findings(input)));
        drop(black_box(duplicate_check(input)));
    });
}

#[test]
fn json_becomes_typed_objects_that_are_validated() {
    let kinds: Vec<&Arc<Kind>> = builtin().iter().collect();
    run("objects", &corpus::objects(), TREES, |input| {
        let wanted = serde_json::from_slice::<Value>(input).ok();
        let named = wanted.as_ref().and_then(|tree| {
            builtin().by_kind(tree.get("apiVersion")?.as_str()?, tree.get("kind")?.as_str()?)
        });
        // What a body says it is, and what it is not.
        let other = kinds[input.len() % kinds.len()];
        for kind in named.into_iter().chain([other]) {
            create(kind, input);
        }
    });
}

#[test]
fn definitions_with_schemas_patterns_rules_and_paths_are_validated() {
    let kind = kind_of::<CustomResourceDefinition>();
    run("definitions", &corpus::definitions(), Bound { free: 64 << 20, ..TREES }, |input| {
        create(kind, input);
    });
}

#[test]
fn yaml_becomes_json() {
    // Aliases may replay a hundred thousand events, whatever the size.
    let bound = Bound { free: 64 << 20, ..TREES };
    run("yaml", &corpus::yaml(), bound, |input| drop(black_box(yaml_to_json(input))));
}

#[test]
fn protobuf_becomes_json() {
    run("protobuf", &corpus::protobuf(), COPIES, |input| drop(black_box(protobuf_to_json(input))));
}

#[test]
fn patches_of_three_kinds_are_applied() {
    let current: Value = serde_json::from_slice(corpus::DEPLOYMENT).expect("the corpus is sound");
    let schema = kind_of::<Deployment>().strategic();
    for (name, kind) in
        [("json-patch", PatchType::Json), ("merge", PatchType::Merge), ("strategic", PatchType::Strategic)]
    {
        // A JSON patch may copy up to 3 MiB, whatever its size.
        let bound = Bound { free: 128 << 20, ..TREES };
        run(name, &corpus::patches(), bound, |input| {
            drop(black_box(patch::apply(kind, schema, current.clone(), input)));
        });
    }
}

#[test]
fn configurations_are_applied() {
    let kind = kind_of::<Deployment>();
    let writer = Writer {
        manager: "fuzz",
        api_version: "apps/v1",
        target: Target::Main,
        has_status: true,
        schema: kind.message(),
        now: moment(),
    };
    let live = std::str::from_utf8(corpus::DEPLOYMENT).expect("the corpus is text");
    run("apply", &corpus::objects(), Bound { free: 8 << 20, ..TREES }, |input| {
        // As the API does: what is not an object of the type never gets here.
        let Ok(text) = std::str::from_utf8(input) else { return };
        if matches!(kind.findings(input), Ok(None)) && kind.decode(input).is_ok() {
            let live = Live { object: live, managed: None };
            drop(black_box(apply::apply(&writer, live, text, OnConflict::Refuse)));
            drop(black_box(apply::apply(&writer, live, text, OnConflict::Take)));
        }
    });
}

#[test]
fn selectors_of_labels_and_fields_are_read() {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let pods = kind_of::<Pod>();
    let pod = pods.decode(corpus::POD).expect("the corpus is sound");
    run("selectors", &corpus::selectors(), TREES, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(selector) = Selector::parse(text) {
            black_box(selector.matches(Some(&labels)));
            black_box(selector.requirements().len());
        }
        if let Ok(selector) = FieldSelector::parse(text, pods) {
            black_box(selector.matches(pod.as_ref()));
        }
    });
}

#[test]
fn quantities_are_read() {
    run("quantities", &corpus::quantities(), COPIES, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(amount) = Amount::parse(text) {
            black_box((amount.value(), amount.milli_value(), amount.rounded_to_milli()));
        }
    });
}
