//! What is checked of a definition, besides its schemas.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionVersion, CustomResourceSubresourceScale,
};

use super::super::path::Path as JsonPath;
use super::super::{names, structural};
use crate::field_error::{FieldErrors, Path, Shown};
use crate::meta;
use crate::resource::Target;
use crate::validation;

const SPEC: Path<'_> = Path::new("spec");
/// The annotation without which nobody may add kinds to the groups of Kubernetes.
const APPROVAL: &str = "api-approved.kubernetes.io";
/// Upstream's bound.
const SELECTABLE_FIELDS_MAX: usize = 8;

/// Everything but the metadata of a definition.
pub(super) fn definition(definition: &CustomResourceDefinition, errors: &mut FieldErrors) {
    let spec = &definition.spec;
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    if name != format!("{}.{}", spec.names.plural, spec.group) {
        let detail = r#"must be spec.names.plural+"."+spec.group"#;
        errors.invalid(&Path::new("metadata").child("name"), name, detail);
    }
    group(definition, errors);
    let scope = Some(&spec.scope);
    validation::required_word(&SPEC.child("scope"), scope, &["Cluster", "Namespaced"], errors);
    names(&spec.names, errors);
    if spec.preserve_unknown_fields == Some(true) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                      spec.versions[*].schema instead";
        errors.invalid(&SPEC.child("preserveUnknownFields"), true, detail);
    }
    if let Some(conversion) = &spec.conversion {
        let path = SPEC.child("conversion");
        validation::required_word(
            &path.child("strategy"),
            Some(&conversion.strategy),
            &["None", "Webhook"],
            errors,
        );
    }
    versions(&spec.versions, errors);
}

fn group(definition: &CustomResourceDefinition, errors: &mut FieldErrors) {
    let (path, group) = (SPEC.child("group"), &definition.spec.group);
    if group.is_empty() {
        errors.required(&path, "");
        return;
    }
    validation::syntax(&path, group, meta::dns_1123_subdomain_faults, errors);
    if !group.contains('.') {
        errors.invalid(&path, group, "should be a domain with at least one dot");
    }
    let is_protected = [".k8s.io", ".kubernetes.io"].iter().any(|end| group.ends_with(end));
    let approved = definition.metadata.annotations.as_ref().is_some_and(|own| own.contains_key(APPROVAL));
    if is_protected && !approved {
        let (metadata, field) = (Path::new("metadata"), "annotations");
        let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
                      https://github.com/kubernetes/enhancements/pull/1111";
        errors.required(&metadata.child(field).key(APPROVAL), detail);
    }
}

fn names(names: &CustomResourceDefinitionNames, errors: &mut FieldErrors) {
    let path = SPEC.child("names");
    let mut label = |field: &Path<'_>, value: &str, mixed_case: bool| {
        if value.is_empty() {
            errors.required(field, "");
            return;
        }
        for fault in meta::dns_1035_label_faults(&value.to_lowercase()) {
            match mixed_case {
                true => {
                    let detail = format!("may have mixed case, but should otherwise match: {fault}");
                    errors.invalid(field, value, &detail);
                }
                false => errors.invalid(field, value, &fault),
            }
        }
        if !mixed_case && value != value.to_lowercase() {
            errors.invalid(field, value, "must be in lower case");
        }
    };
    label(&path.child("plural"), &names.plural, false);
    label(&path.child("singular"), names.singular.as_deref().unwrap_or_default(), false);
    for (index, name) in names.short_names.iter().flatten().enumerate() {
        label(&path.child("shortNames").index(index), name, false);
    }
    for (index, name) in names.categories.iter().flatten().enumerate() {
        label(&path.child("categories").index(index), name, false);
    }
    label(&path.child("kind"), &names.kind, true);
    let list_kind = names.list_kind.as_deref().unwrap_or_default();
    label(&path.child("listKind"), list_kind, true);
    if names.kind == list_kind {
        errors.invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
}

fn versions(versions: &[CustomResourceDefinitionVersion], errors: &mut FieldErrors) {
    let path = SPEC.child("versions");
    let shown = || Shown::json(&versions.iter().map(|own| own.name.as_str()).collect::<Vec<_>>());
    let names: std::collections::BTreeSet<&str> = versions.iter().map(|own| own.name.as_str()).collect();
    if names.len() != versions.len() {
        errors.invalid(&path, shown(), "must contain unique version names");
    }
    if versions.iter().filter(|own| own.storage).count() != 1 {
        errors.invalid(&path, shown(), "must have exactly one version marked as storage version");
    }
    for (index, own) in versions.iter().enumerate() {
        version(&path.index(index), own, errors);
    }
}

fn version(path: &Path<'_>, own: &CustomResourceDefinitionVersion, errors: &mut FieldErrors) {
    validation::syntax(&path.child("name"), &own.name, meta::dns_1035_label_faults, errors);
    if own.deprecation_warning.is_some() && own.deprecated != Some(true) {
        let detail = "can only be set for deprecated versions";
        let text = own.deprecation_warning.as_deref().unwrap_or_default();
        errors.invalid(&path.child("deprecationWarning"), text, detail);
    }
    let schema_path = path.child("schema");
    let schema_path = schema_path.child("openAPIV3Schema");
    match own.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) {
        None => errors.required(&schema_path, "schemas are required"),
        Some(schema) => {
            // Only its errors matter here; the kinds are made of it once it is stored.
            structural::compile(schema, &schema_path, errors);
        }
    }
    if let Some(scale) = own.subresources.as_ref().and_then(|own| own.scale.as_ref()) {
        let subresources = path.child("subresources");
        scale_paths(&subresources.child("scale"), scale, errors);
    }
    let columns = path.child("additionalPrinterColumns");
    for (index, column) in own.additional_printer_columns.iter().flatten().enumerate() {
        printer_column(&columns.index(index), column, errors);
    }
    let fields = path.child("selectableFields");
    let selectable: Vec<_> = own.selectable_fields.iter().flatten().collect();
    if selectable.len() > SELECTABLE_FIELDS_MAX {
        errors.too_many(&fields, selectable.len(), SELECTABLE_FIELDS_MAX);
    }
    for (index, field) in selectable.into_iter().enumerate() {
        let path = fields.index(index);
        if !JsonPath::parse(&field.json_path).is_some_and(|path| path.is_plain()) {
            errors.invalid(&path.child("jsonPath"), &field.json_path, "is an invalid path");
        }
    }
}

fn scale_paths(path: &Path<'_>, scale: &CustomResourceSubresourceScale, errors: &mut FieldErrors) {
    let mut check = |field: &str, value: &str, below: &[&str]| {
        let field = path.child(field);
        if value.is_empty() {
            errors.required(&field, "");
        } else if !JsonPath::parse(value).is_some_and(|path| path.is_plain()) {
            errors.invalid(&field, value, "should be a json path without array notation");
        } else if !below.iter().any(|below| value.starts_with(below)) {
            let detail = format!("should be a json path under {}", below.join(" or "));
            errors.invalid(&field, value, &detail);
        }
    };
    check("specReplicasPath", &scale.spec_replicas_path, &[".spec."]);
    check("statusReplicasPath", &scale.status_replicas_path, &[".status."]);
    if let Some(selector) = scale.label_selector_path.as_deref().filter(|own| !own.is_empty()) {
        check("labelSelectorPath", selector, &[".spec.", ".status."]);
    }
}

fn printer_column(path: &Path<'_>, column: &CustomResourceColumnDefinition, errors: &mut FieldErrors) {
    if column.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let types = &["boolean", "date", "integer", "number", "string"];
    validation::required_word(&path.child("type"), Some(&column.type_), types, errors);
    let formats = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    validation::optional_word(&path.child("format"), column.format.as_ref(), formats, errors);
    if column.json_path.is_empty() {
        errors.required(&path.child("jsonPath"), "");
    } else if JsonPath::parse(&column.json_path).is_none() {
        errors.invalid(&path.child("jsonPath"), &column.json_path, "is an invalid path");
    }
}

/// The step from what is stored.
pub(super) fn update(
    definition: &CustomResourceDefinition,
    old: &CustomResourceDefinition,
    target: Target,
    errors: &mut FieldErrors,
) {
    if names::is_served(old) {
        let (spec, stored) = (&definition.spec, &old.spec);
        let path = SPEC.child("names");
        for (path, new, old) in [
            (SPEC.child("scope"), &spec.scope, &stored.scope),
            (path.child("kind"), &spec.names.kind, &stored.names.kind),
        ] {
            meta::immutable(&path, new, old, errors);
        }
    }
    meta::immutable(&SPEC.child("group"), &definition.spec.group, &old.spec.group, errors);
    let (spec_names, plural) = (SPEC.child("names"), "plural");
    meta::immutable(&spec_names.child(plural), &definition.spec.names.plural, &old.spec.names.plural, errors);
    stored_versions(definition, target, errors);
}

/// Objects may be stored in versions that were the storage version once: those stay.
fn stored_versions(definition: &CustomResourceDefinition, target: Target, errors: &mut FieldErrors) {
    let stored = definition.status.as_ref().and_then(|status| status.stored_versions.as_deref());
    let stored = stored.unwrap_or_default();
    let versions = &definition.spec.versions;
    let path = Path::new("status");
    let path = path.child("storedVersions");
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version.name == *name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.invalid(&path.index(index), name, &detail);
        }
    }
    let storage = versions.iter().find(|version| version.storage).map(|version| &version.name);
    if let (Target::Status, Some(storage)) = (target, storage)
        && !stored.contains(storage)
    {
        let detail = format!("must have the storage version {storage}");
        errors.invalid(&path, Shown::json(stored), &detail);
    }
}
