//! What the tests of the kinds share: manifests in YAML through the same steps as a request's body.

use expect_test::Expect;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::FieldErrors;
use crate::registry::kind_of;
use crate::resource::write::{self, NewObject};
use crate::resource::{Object, Resource, Target};
use crate::status::Status;

/// The moment all tests happen at: 2026-01-01T00:00:00Z.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

/// A manifest as the body of a request.
pub(crate) fn body(yaml: &str) -> Vec<u8> {
    let tree: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
    serde_json::to_vec(&tree).unwrap()
}

/// A manifest as a decoded object, with nothing filled in.
pub(crate) fn decoded<T: Resource>(yaml: &str) -> Box<dyn Object> {
    kind_of::<T>().decode(&body(yaml)).unwrap()
}

/// What a client gets that creates this.
pub(crate) fn create<T: Resource>(yaml: &str) -> Result<Box<dyn Object>, Status> {
    let kind = kind_of::<T>();
    let mut object = decoded::<T>(yaml);
    let namespace = if kind.namespaced() { "default" } else { "" };
    let new = NewObject { namespace, uid: "uid-1".to_owned(), now: now(), name_seed: 1 };
    write::prepare_create(kind, object.as_mut(), new)?;
    write::validate_create(kind, object.as_ref())?;
    object.meta_mut().resource_version = Some("1".to_owned());
    Ok(object)
}

/// What a client gets that writes `new` over what was created from `old`.
pub(crate) fn update<T: Resource>(old: &str, new: &str, target: Target) -> Result<Box<dyn Object>, Status> {
    let kind = kind_of::<T>();
    let old = create::<T>(old).unwrap();
    let mut object = decoded::<T>(new);
    write::prepare_update(kind, object.as_mut(), old.as_ref(), target)?;
    write::validate_update(kind, object.as_ref(), old.as_ref(), target)?;
    Ok(object)
}

/// The stored form as YAML, without the metadata every object has.
pub(crate) fn stored(object: &dyn Object) -> String {
    let mut tree: serde_json::Value = serde_json::from_slice(&object.to_stored()).unwrap();
    let metadata = tree["metadata"].as_object_mut().unwrap();
    for field in ["creationTimestamp", "uid", "namespace"] {
        metadata.remove(field);
    }
    serde_saphyr::to_string(&tree).unwrap()
}

/// What is stored of a created manifest.
pub(crate) fn check_stored<T: Resource>(yaml: &str, expected: Expect) {
    match create::<T>(yaml) {
        Ok(object) => expected.assert_eq(&stored(object.as_ref())),
        Err(status) => panic!("{status}"),
    }
}

/// Everything that is wrong with a manifest, one error to a line.
pub(crate) fn check_invalid<T: Resource>(yaml: &str, expected: Expect) {
    let kind = kind_of::<T>();
    let mut object = decoded::<T>(yaml);
    let namespace = if kind.namespaced() { "default" } else { "" };
    let new = NewObject { namespace, uid: "uid-1".to_owned(), now: now(), name_seed: 1 };
    write::prepare_create(kind, object.as_mut(), new).unwrap();
    let mut errors = FieldErrors::new();
    crate::meta::validate(object.meta(), kind.scope, kind.name_rule, &mut errors);
    object.validate(&mut errors);
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

/// The message a client gets that writes `new` over `old`, or what is stored then.
pub(crate) fn check_update<T: Resource>(old: &str, new: &str, target: Target, expected: Expect) {
    match update::<T>(old, new, target) {
        Ok(object) => expected.assert_eq(&stored(object.as_ref())),
        Err(status) => expected.assert_eq(&status.message),
    }
}

/// A row: heading and cell to each column.
pub(crate) fn check_row<T: Resource>(object: &dyn Object, expected: Expect) {
    let cells = object.cells(now());
    let columns = kind_of::<T>().columns();
    assert_eq!(cells.len(), columns.len(), "a cell to each column");
    let lines: Vec<String> = columns
        .iter()
        .zip(&cells)
        .map(|(column, cell)| {
            let wide = if column.priority > 0 { "*" } else { "" };
            format!("{}{wide}: {}", column.name, serde_json::to_string(cell).unwrap())
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}
