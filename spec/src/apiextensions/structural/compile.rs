//! From a JSON schema to a [`Node`], with everything that is wrong with it.
//!
//! Follows `pkg/apiserver/schema/{convert,validation}.go`: types are said outside of `allOf` and the like, which hold
//! checks of values only, so that every field has one place that says what it is.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::{Regex, RegexBuilder};

use super::super::cel;
use super::{Additional, Bounds, Checks, Edge, Kind, List, Node, Range, rules};
use crate::field_error::{FieldErrors, Path};

/// The parts of one schema: some thousands in the largest ones that people use.
const NODES_MAX: usize = 50_000;
/// The patterns of one schema; each is compiled and kept.
const PATTERNS_MAX: usize = 2_000;
/// The size of one compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Compiles the schema of a version. What is returned is of use only if there were no errors.
pub(in super::super) fn compile(schema: &JSONSchemaProps, path: &Path<'_>, errors: &mut FieldErrors) -> Node {
    let mut compiler = Compiler { errors, nodes: 0, patterns: 0 };
    let root = compiler.node(schema, path, Place::Root);
    if compiler.nodes > NODES_MAX {
        compiler.errors.too_many(path, compiler.nodes, NODES_MAX);
    }
    if compiler.patterns > PATTERNS_MAX {
        compiler.errors.too_many(path, compiler.patterns, PATTERNS_MAX);
    }
    if errors.is_empty() {
        super::defaults::check(&root, path, errors);
    }
    root
}

/// The schemas directly inside a schema.
pub(in super::super) fn inner(schema: &JSONSchemaProps) -> Vec<&JSONSchemaProps> {
    let items = match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(&**items),
        _ => None,
    };
    let values = match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(&**values),
        _ => None,
    };
    schema.properties.iter().flatten().map(|(_, field)| field).chain(items).chain(values).collect()
}

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is that of the objects themselves.
    Root,
    /// It is that of a field, an item or a value.
    Inside,
    /// It is in `allOf`, `anyOf`, `oneOf` or `not`, where only values are checked.
    Checks,
}

struct Compiler<'e> {
    errors: &'e mut FieldErrors,
    nodes: usize,
    patterns: usize,
}

impl Compiler<'_> {
    fn node(&mut self, schema: &JSONSchemaProps, path: &Path<'_>, place: Place) -> Node {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Node::default();
        }
        rules::check(schema, path, place, self.errors);
        let inside = if place == Place::Checks { Place::Checks } else { Place::Inside };
        let rules = schema.x_kubernetes_validations.as_deref().unwrap_or_default();
        let rules = if place == Place::Checks { Vec::new() } else { cel::parse(rules, path, self.errors) };
        let mut node = Node {
            kind: schema.type_.as_deref().and_then(Kind::of),
            nullable: schema.nullable.unwrap_or(false),
            int_or_string: schema.x_kubernetes_int_or_string.unwrap_or(false),
            preserve: schema.x_kubernetes_preserve_unknown_fields.unwrap_or(false),
            embedded: schema.x_kubernetes_embedded_resource.unwrap_or(false),
            properties: self.properties(schema, path, inside),
            additional: self.additional(schema, path, inside),
            items: self.items(schema, path, inside),
            default: schema.default.as_ref().map(|default| default.0.clone()),
            list: match schema.x_kubernetes_list_type.as_deref() {
                Some("set") => List::Set,
                Some("map") => List::Map(schema.x_kubernetes_list_map_keys.clone().unwrap_or_default()),
                _ => List::Atomic,
            },
            is_atomic: schema.x_kubernetes_map_type.as_deref() == Some("atomic"),
            rules,
            has_rules: false,
            checks: self.checks(schema, path),
        };
        node.has_rules = !node.rules.is_empty() || node.inside().any(|inside| inside.has_rules);
        node
    }

    fn properties(
        &mut self,
        schema: &JSONSchemaProps,
        path: &Path<'_>,
        place: Place,
    ) -> std::collections::BTreeMap<String, Node> {
        let path = path.child("properties");
        let all = schema.properties.iter().flatten();
        all.map(|(name, schema)| (name.clone(), self.node(schema, &path.key(name), place))).collect()
    }

    fn additional(&mut self, schema: &JSONSchemaProps, path: &Path<'_>, place: Place) -> Additional {
        let path = path.child("additionalProperties");
        match &schema.additional_properties {
            None | Some(JSONSchemaPropsOrBool::Bool(false)) => Additional::Unsaid,
            Some(JSONSchemaPropsOrBool::Bool(true)) => Additional::Any,
            Some(JSONSchemaPropsOrBool::Schema(schema)) => {
                Additional::Of(Box::new(self.node(schema, &path, place)))
            }
        }
    }

    fn items(&mut self, schema: &JSONSchemaProps, path: &Path<'_>, place: Place) -> Option<Box<Node>> {
        match schema.items.as_ref()? {
            JSONSchemaPropsOrArray::Schema(items) => {
                Some(Box::new(self.node(items, &path.child("items"), place)))
            }
            JSONSchemaPropsOrArray::Schemas(_) => {
                self.errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
                None
            }
        }
    }

    fn checks(&mut self, schema: &JSONSchemaProps, path: &Path<'_>) -> Checks {
        let mut several = |schemas: &Option<Vec<JSONSchemaProps>>, field: &str| -> Vec<Node> {
            let path = path.child(field);
            let all = schemas.iter().flatten().enumerate();
            all.map(|(index, schema)| self.node(schema, &path.index(index), Place::Checks)).collect()
        };
        let all_of = several(&schema.all_of, "allOf");
        let any_of = several(&schema.any_of, "anyOf");
        let one_of = several(&schema.one_of, "oneOf");
        let not = schema.not.as_deref();
        let not = not.map(|not| Box::new(self.node(not, &path.child("not"), Place::Checks)));
        let values = schema.enum_.as_ref().map(|all| all.iter().map(|value| value.0.clone()).collect());
        let bounds = bounds(schema);
        Checks {
            required: schema.required.clone().unwrap_or_default(),
            one_of_values: values,
            bounds: (bounds != Bounds::default()).then(|| Box::new(bounds)),
            pattern: self.pattern(schema, path),
            format: schema.format.as_deref().map(Into::into),
            all_of,
            any_of,
            one_of,
            not,
        }
    }

    fn pattern(&mut self, schema: &JSONSchemaProps, path: &Path<'_>) -> Option<Box<Regex>> {
        let text = schema.pattern.as_deref().filter(|text| !text.is_empty())?;
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return None;
        }
        match RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build() {
            Ok(pattern) => Some(Box::new(pattern)),
            Err(error) => {
                let detail = format!("must be a valid regular expression, but isn't: {error}");
                self.errors.invalid(&path.child("pattern"), text, &detail);
                None
            }
        }
    }
}

fn bounds(schema: &JSONSchemaProps) -> Bounds {
    let edge = |outside: Option<bool>| if outside == Some(true) { Edge::Outside } else { Edge::Inside };
    let count = |number: Option<i64>| number.and_then(|number| usize::try_from(number).ok());
    Bounds {
        minimum: schema.minimum.map(|limit| (limit, edge(schema.exclusive_minimum))),
        maximum: schema.maximum.map(|limit| (limit, edge(schema.exclusive_maximum))),
        multiple_of: schema.multiple_of,
        length: Range { min: count(schema.min_length), max: count(schema.max_length) },
        items: Range { min: count(schema.min_items), max: count(schema.max_items) },
        properties: Range { min: count(schema.min_properties), max: count(schema.max_properties) },
    }
}
