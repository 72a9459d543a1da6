//! The difference between two statuses as a strategic merge patch, so that a write touches only what changed and
//! never undoes what someone else wrote in between.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// The patch that turns `old` into `new`, guarded by the pod's uid; `None` when they say the same. Times count by
/// the second, as the API shows them.
pub fn patch(old: &PodStatus, new: &PodStatus, uid: &str) -> Option<Vec<u8>> {
    let (old, new) = (object(old), object(new));
    let mut changes = Map::new();
    for (field, value) in &new {
        if old.get(field) == Some(value) {
            continue;
        }
        let change = match field.as_str() {
            "conditions" => Value::Array(by_type(old.get(field), value)),
            // Merged by address: without this the old one would stay.
            "podIPs" | "hostIPs" if old.contains_key(field) => replacing(value),
            _ => value.clone(),
        };
        changes.insert(field.clone(), change);
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        changes.insert(field.clone(), Value::Null);
    }
    if changes.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": uid}, "status": changes}).to_string().into_bytes())
}

fn object(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(object)) => object,
        _ => unreachable!("a status is always written as an object"),
    }
}

fn replacing(list: &Value) -> Value {
    let marker = json!({"$patch": "replace"});
    std::iter::once(&marker).chain(list.as_array().into_iter().flatten()).cloned().collect()
}

/// The conditions that changed, each with `null` for the fields it lost: conditions are merged by their type.
fn by_type(old: Option<&Value>, new: &Value) -> Vec<Value> {
    let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let changed = new.as_array().into_iter().flatten().filter(|condition| !old.contains(condition));
    changed
        .map(|condition| {
            let mut condition = condition.clone();
            let before = old.iter().find(|before| before["type"] == condition["type"]);
            for field in before.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                if condition.get(field).is_none() {
                    condition[field] = Value::Null;
                }
            }
            condition
        })
        .collect()
}
