//! What makes a schema structural, node by node.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::Kind;
use super::compile::Place;
use crate::field_error::{FieldErrors, Path};

/// Types as messages list them.
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// Checks one node of a schema, without those inside it.
pub(super) fn check(schema: &JSONSchemaProps, path: &Path<'_>, place: Place, errors: &mut FieldErrors) {
    unsupported(schema, path, errors);
    match place {
        Place::Checks => only_checks(schema, path, errors),
        Place::Root | Place::Inside => types(schema, path, place, errors),
    }
    if place == Place::Root {
        metadata(schema, path, errors);
    }
    fields(schema, path, errors);
    list(schema, path, errors);
    complete(schema, schema, path, errors);
}

/// Parts of JSON schema that structural schemas do not have.
fn unsupported(schema: &JSONSchemaProps, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut refuse = |is_there: bool, field: &str| {
        if is_there {
            errors.forbidden(&path.child(field), &format!("{field} is not supported"));
        }
    };
    refuse(schema.ref_path.is_some(), "$ref");
    refuse(schema.definitions.as_ref().is_some_and(|own| !own.is_empty()), "definitions");
    refuse(schema.dependencies.as_ref().is_some_and(|own| !own.is_empty()), "dependencies");
    refuse(schema.pattern_properties.as_ref().is_some_and(|own| !own.is_empty()), "patternProperties");
    refuse(schema.additional_items.is_some(), "additionalItems");
    refuse(schema.id.as_ref().is_some_and(|own| !own.is_empty()), "id");
    if schema.unique_items == Some(true) {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), detail);
    }
    if let Some(word) = schema.type_.as_deref().filter(|word| !word.is_empty() && Kind::of(word).is_none()) {
        errors.not_supported(&path.child("type"), word, TYPES);
    }
}

/// Inside `allOf` and the like.
fn only_checks(schema: &JSONSchemaProps, path: &Path<'_>, errors: &mut FieldErrors) {
    let has_type = schema.type_.as_deref().is_some_and(|word| !word.is_empty());
    // `anyOf: [{type: integer}, {type: string}]` is how tools write a number or a text.
    let is_number_or_text = matches!(schema.type_.as_deref(), Some("integer" | "string"));
    let extension = |is_there: Option<bool>| is_there == Some(true);
    for (is_there, field) in [
        (has_type && !is_number_or_text, "type"),
        (schema.default.is_some(), "default"),
        (schema.additional_properties.is_some(), "additionalProperties"),
        (extension(schema.nullable), "nullable"),
        (extension(schema.x_kubernetes_preserve_unknown_fields), "x-kubernetes-preserve-unknown-fields"),
        (extension(schema.x_kubernetes_embedded_resource), "x-kubernetes-embedded-resource"),
        (extension(schema.x_kubernetes_int_or_string), "x-kubernetes-int-or-string"),
        (schema.x_kubernetes_list_type.is_some(), "x-kubernetes-list-type"),
        (schema.x_kubernetes_map_type.is_some(), "x-kubernetes-map-type"),
        (schema.x_kubernetes_validations.is_some(), "x-kubernetes-validations"),
    ] {
        if is_there {
            errors.forbidden(&path.child(field), "must be empty to be structural");
        }
    }
}

/// Outside of them every node says its type.
fn types(schema: &JSONSchemaProps, path: &Path<'_>, place: Place, errors: &mut FieldErrors) {
    let word = schema.type_.as_deref().unwrap_or_default();
    let field = path.child("type");
    let is = |flag: Option<bool>| flag == Some(true);
    match place {
        Place::Root if word.is_empty() => errors.required(&field, "must not be empty at the root"),
        Place::Root if word != "object" => errors.invalid(&field, word, "must be object at the root"),
        _ if is(schema.x_kubernetes_int_or_string) && !word.is_empty() => {
            errors.forbidden(&field, "must be empty if x-kubernetes-int-or-string is true");
        }
        _ if word.is_empty()
            && !is(schema.x_kubernetes_int_or_string)
            && !is(schema.x_kubernetes_preserve_unknown_fields) =>
        {
            errors.required(&field, "must not be empty for specified object fields");
        }
        _ => {}
    }
    if is(schema.x_kubernetes_embedded_resource) && word != "object" {
        errors.invalid(&field, word, "must be object if x-kubernetes-embedded-resource is true");
    }
    if word == "array" && schema.items.is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
}

/// Of the metadata only the name may be restricted.
fn metadata(schema: &JSONSchemaProps, path: &Path<'_>, errors: &mut FieldErrors) {
    let metadata = schema.properties.as_ref().and_then(|own| own.get("metadata"));
    let others = metadata.and_then(|own| own.properties.as_ref()).into_iter().flatten();
    if others.into_iter().any(|(name, _)| !matches!(name.as_str(), "name" | "generateName")) {
        let properties = path.child("properties");
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(&properties.key("metadata"), detail);
    }
}

fn fields(schema: &JSONSchemaProps, path: &Path<'_>, errors: &mut FieldErrors) {
    let has_fields = schema.properties.as_ref().is_some_and(|own| !own.is_empty());
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Bool(false)) => {
            let detail = "additionalProperties cannot be set to false";
            errors.forbidden(&path.child("additionalProperties"), detail);
        }
        Some(_) if has_fields => {
            let detail = "additionalProperties and properties are mutual exclusive";
            errors.forbidden(&path.child("additionalProperties"), detail);
        }
        _ => {}
    }
}

fn list(schema: &JSONSchemaProps, path: &Path<'_>, errors: &mut FieldErrors) {
    let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
    let keys_path = path.child("x-kubernetes-list-map-keys");
    let word = schema.x_kubernetes_list_type.as_deref();
    if let Some(word) = word {
        let field = path.child("x-kubernetes-list-type");
        if !matches!(word, "atomic" | "map" | "set") {
            errors.not_supported(&field, word, &["atomic", "map", "set"]);
        }
        if schema.type_.as_deref() != Some("array") {
            errors.invalid(&field, word, "must be array if x-kubernetes-list-type is specified");
        }
    }
    match word {
        Some("map") if keys.is_empty() => {
            errors.required(&keys_path, "must not be empty if x-kubernetes-list-type is map");
        }
        Some("map") => {}
        _ if !keys.is_empty() => {
            let detail = "must be empty if x-kubernetes-list-type is not map";
            errors.forbidden(&keys_path, detail);
            return;
        }
        _ => return,
    }
    let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items else { return };
    for (index, key) in keys.iter().enumerate() {
        let property = items.properties.as_ref().and_then(|own| own.get(key));
        let is_required = items.required.as_ref().is_some_and(|own| own.contains(key));
        match property {
            None => {
                errors.invalid(&keys_path.index(index), key, "entries must all be names of item properties");
            }
            Some(property) if !is_required && property.default.is_none() => {
                let items = path.child("items");
                let properties = items.child("properties");
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                              required property";
                errors.required(&properties.key(key).child("default"), detail);
            }
            Some(_) => {}
        }
    }
}

/// Fields that `allOf` and the like speak of must be declared outside of them.
fn complete(outer: &JSONSchemaProps, schema: &JSONSchemaProps, path: &Path<'_>, errors: &mut FieldErrors) {
    let junctions = [&schema.all_of, &schema.any_of, &schema.one_of];
    let inner = junctions.into_iter().flatten().flatten().chain(schema.not.as_deref());
    let declares = |name: &str| {
        outer.properties.as_ref().is_some_and(|own| own.contains_key(name))
            || matches!(outer.additional_properties, Some(JSONSchemaPropsOrBool::Schema(_)))
    };
    for inner in inner {
        for name in inner.properties.iter().flatten().map(|(name, _)| name) {
            if !declares(name) {
                let properties = path.child("properties");
                let detail = "because it is defined in a schema inside allOf, anyOf, oneOf or not";
                errors.required(&properties.key(name), detail);
            }
        }
        complete(outer, inner, path, errors);
    }
}
