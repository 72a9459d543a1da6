//! From a definition to registered kinds, one for each version that is served.

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceSubresourceScale,
    JSONSchemaProps,
};

use super::custom::{CustomCodec, ScalePaths, Version};
use super::path::Path as JsonPath;
use super::{columns, names, structural};
use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Kind, NameRule, Scope, Subresource, VERBS};

/// The kinds of a definition that are served, the one under whose name objects are stored among them. None before its
/// names are accepted.
pub fn kinds(definition: &CustomResourceDefinition) -> Vec<Kind> {
    if !names::is_served(definition) {
        return Vec::new();
    }
    let served = definition.spec.versions.iter().filter(|version| version.served);
    let mut versions: Vec<&CustomResourceDefinitionVersion> = served.collect();
    let stored = versions.iter().position(|version| version.storage).unwrap_or(0);
    if stored < versions.len() {
        versions.swap(0, stored);
    }
    let mut kinds: Vec<Kind> = Vec::with_capacity(versions.len());
    for version in versions {
        let kind = kind(definition, version);
        kinds.push(match kinds.first() {
            Some(stored) => kind.stored_as(stored),
            None => kind,
        });
    }
    kinds
}

/// The kind that reads all objects of a definition, served or not.
pub fn stored_kind(definition: &CustomResourceDefinition) -> Option<Kind> {
    let storage = definition.spec.versions.iter().find(|version| version.storage)?;
    Some(kind(definition, storage))
}

/// Versions in the order in which clients prefer them: stable ones before betas before alphas, newer before older.
pub fn preference(version: &str) -> impl Ord + use<> {
    let parts = || {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let major: u32 = rest[..end].parse().ok()?;
        let (stage, minor) = match &rest[end..] {
            "" => (2, ""),
            stage => match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
                (Some(minor), _) => (1, minor),
                (_, Some(minor)) => (0, minor),
                _ => return None,
            },
        };
        let minor: u32 = if minor.is_empty() { 0 } else { minor.parse().ok()? };
        Some((stage, major, minor))
    };
    (Reverse(parts()), version.to_owned())
}

fn kind(definition: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) -> Kind {
    let compiled = Arc::new(compile(definition, version));
    let selectable = compiled.selectable.iter().map(|(label, _)| label.clone()).collect();
    let headings = columns::headings(&compiled.columns);
    Kind::new(declaration(definition, version), headings, selectable, Box::new(CustomCodec(compiled)))
}

fn declaration(
    definition: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
) -> Declaration {
    let spec = &definition.spec;
    let accepted = definition.status.as_ref().and_then(|status| status.accepted_names.as_ref());
    let names = accepted.unwrap_or(&spec.names);
    let below = version.subresources.as_ref();
    let mut subresources = Vec::new();
    if below.is_some_and(|own| own.scale.is_some()) {
        subresources.push(Subresource::SCALE);
    }
    if below.is_some_and(|own| own.status.is_some()) {
        subresources.push(Subresource::STATUS);
    }
    Declaration {
        group: spec.group.clone(),
        version: version.name.clone(),
        kind: spec.names.kind.clone(),
        list_kind: spec.names.list_kind.clone().unwrap_or_else(|| format!("{}List", spec.names.kind)),
        plural: spec.names.plural.clone(),
        singular: names.singular.clone().unwrap_or_default(),
        short_names: names.short_names.clone().unwrap_or_default(),
        categories: names.categories.clone().unwrap_or_default(),
        scope: if spec.scope == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        verbs: VERBS,
        subresources,
        name_rule: NameRule::Dns1123Subdomain,
        has_generation: true,
        unconditional_update: false,
        create_on_update: false,
        delete_returns_object: false,
        graceful_delete: false,
        inert: None,
        is_review: false,
        defined_by: definition.metadata.name.clone(),
    }
}

fn compile(definition: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) -> Version {
    let spec = &definition.spec;
    let schema = version.schema.as_ref().and_then(|own| own.open_api_v3_schema.as_ref());
    let none = JSONSchemaProps::default();
    // The definition was checked when it was written; what would not pass now is served as far as it goes.
    let root = structural::compile(schema.unwrap_or(&none), &Path::new("schema"), &mut FieldErrors::new());
    let status_default = root.field("status").is_some_and(structural::Node::has_defaults);
    let path = |text: &str| JsonPath::parse(text).filter(JsonPath::is_plain);
    let selectable = version.selectable_fields.iter().flatten().filter_map(|own| path(&own.json_path));
    let below = version.subresources.as_ref();
    Version {
        group: spec.group.clone(),
        version: version.name.clone(),
        kind: spec.names.kind.clone(),
        columns: columns::of(version.additional_printer_columns.as_deref()),
        selectable: selectable.map(|path| (path.dotted(), path)).collect(),
        scale: below.and_then(|own| scale(own.scale.as_ref()?)),
        has_status: below.is_some_and(|own| own.status.is_some()),
        is_plain: definition.metadata.generation == Some(1) && spec.versions.len() == 1 && !status_default,
        deprecation: (version.deprecated == Some(true)).then(|| deprecation(definition, version)),
        declared: schema.map(|own| serde_json::to_vec(own).unwrap_or_default()).unwrap_or_default(),
        message: OnceLock::new(),
        root,
    }
}

fn scale(declared: &CustomResourceSubresourceScale) -> Option<ScalePaths> {
    Some(ScalePaths {
        replicas: JsonPath::parse(&declared.spec_replicas_path)?,
        status_replicas: JsonPath::parse(&declared.status_replicas_path)?,
        selector: declared.label_selector_path.as_deref().and_then(JsonPath::parse),
    })
}

fn deprecation(definition: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) -> String {
    let (group, kind) = (&definition.spec.group, &definition.spec.names.kind);
    let text = version.deprecation_warning.clone();
    text.unwrap_or_else(|| format!("{group}/{} {kind} is deprecated", version.name))
}
