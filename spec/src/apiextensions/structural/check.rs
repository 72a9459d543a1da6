//! What is wrong with a value, in upstream's words.
//!
//! Follows `pkg/apiserver/validation` and `pkg/apiserver/schema/listtype`. On an update whatever is as it was is left
//! alone (ratcheting): a schema that became stricter does not stand in the way of other changes.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Additional, Bounds, Edge, Kind, List, Node, format};
use crate::field_error::{FieldErrors, Path, Shown};

/// Errors after which nothing more is looked for.
const ERRORS_MAX: usize = 100;

/// Finds what is wrong.
pub(in super::super) struct Checker<'e> {
    errors: &'e mut FieldErrors,
}

impl<'e> Checker<'e> {
    pub(in super::super) fn new(errors: &'e mut FieldErrors) -> Checker<'e> {
        Checker { errors }
    }

    /// Checks a value; `old` is what it was, where that can be told.
    pub(in super::super) fn value(
        &mut self,
        value: &Value,
        old: Option<&Value>,
        node: &Node,
        path: &Path<'_>,
    ) {
        if old == Some(value) || self.errors.len() >= ERRORS_MAX {
            return;
        }
        if value.is_null() && node.nullable {
            return;
        }
        if !has_type(value, node) {
            self.wrong_type(value, node, path);
            return;
        }
        self.own_checks(value, node, path);
        match value {
            Value::Object(fields) => self.fields(fields, old.and_then(Value::as_object), node, path),
            Value::Array(items) => self.items(items, old.and_then(Value::as_array), node, path),
            _ => {}
        }
        self.junctions(value, node, path);
    }

    /// Checks an object with all its fields; `old` is what it was before the update that is checked.
    pub(in super::super) fn root(&mut self, object: &Value, old: Option<&Value>, node: &Node) {
        let (Value::Object(fields), old) = (object, old.and_then(Value::as_object)) else { return };
        for name in node.checks.required.iter().filter(|name| !fields.contains_key(*name)) {
            self.errors.required(&Path::new(name), "");
        }
        for (name, value) in fields {
            if let Some(of_field) = node.field(name) {
                self.value(value, old.and_then(|old| old.get(name)), of_field, &Path::new(name));
            }
        }
        let unnamed = Path::new("<nil>");
        self.own_checks(object, node, &unnamed);
        self.junctions(object, node, &unnamed);
    }

    fn fields(
        &mut self,
        fields: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        node: &Node,
        path: &Path<'_>,
    ) {
        for name in node.checks.required.iter().filter(|name| !fields.contains_key(*name)) {
            self.errors.required(&path.child(name), "");
        }
        if node.embedded {
            for name in ["apiVersion", "kind"] {
                if fields.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
                    self.errors.required(&path.child(name), "must not be empty");
                }
            }
        }
        for (name, value) in fields {
            let old = old.and_then(|old| old.get(name));
            match (node.properties.get(name), &node.additional) {
                (Some(of_field), _) => self.value(value, old, of_field, &path.child(name)),
                (None, Additional::Of(values)) => self.value(value, old, values, &path.key(name)),
                (None, Additional::Any | Additional::Unsaid) => {}
            }
        }
    }

    fn items(&mut self, items: &[Value], old: Option<&Vec<Value>>, node: &Node, path: &Path<'_>) {
        let mut known = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let identity = match &node.list {
                List::Atomic => None,
                List::Set => Some(item.clone()),
                List::Map(keys) => Some(identity(item, keys)),
            };
            if let Some(identity) = &identity
                && !known.insert(identity.to_string())
            {
                self.errors.duplicate(&path, shown(identity));
            }
            let Some(of_items) = &node.items else { continue };
            let was = match (&node.list, old) {
                (List::Map(keys), Some(old)) => {
                    old.iter().find(|own| identity.as_ref() == Some(&self::identity(own, keys)))
                }
                _ => None,
            };
            self.value(item, was, of_items, &path);
        }
    }

    fn own_checks(&mut self, value: &Value, node: &Node, path: &Path<'_>) {
        let checks = &node.checks;
        if let Some(known) = &checks.one_of_values
            && !known.iter().any(|known| is_same(known, value))
        {
            let words: Vec<String> = known.iter().map(text).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.errors.not_supported(path, shown(value), &words);
        }
        if let Value::String(text) = value {
            self.text(text, node, path);
        }
        if let Some(bounds) = &checks.bounds {
            self.bounds(value, bounds, path);
        }
    }

    fn text(&mut self, text: &str, node: &Node, path: &Path<'_>) {
        if let Some(pattern) = &node.checks.pattern
            && !pattern.is_match(text)
        {
            self.errors.invalid(path, text, &format!("{path} in body should match '{pattern}'"));
        }
        if let Some(format) = &node.checks.format
            && !format::matches(format, text)
        {
            let detail = format!("{path} in body must be of type {format}: {}", shown_text(text));
            self.errors.invalid(path, text, &detail);
        }
    }

    fn bounds(&mut self, value: &Value, bounds: &Bounds, path: &Path<'_>) {
        let mut refuse = |detail: String| {
            self.errors.invalid(path, shown(value), &format!("{path} in body should {detail}"));
        };
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                if let Some((limit, edge)) = bounds.minimum
                    && (number < limit || edge == Edge::Outside && number == limit)
                {
                    let or_equal = if edge == Edge::Inside { " or equal to" } else { "" };
                    refuse(format!("be greater than{or_equal} {limit}"));
                }
                if let Some((limit, edge)) = bounds.maximum
                    && (number > limit || edge == Edge::Outside && number == limit)
                {
                    let or_equal = if edge == Edge::Inside { " or equal to" } else { "" };
                    refuse(format!("be less than{or_equal} {limit}"));
                }
                if let Some(factor) = bounds.multiple_of.filter(|factor| *factor > 0.0)
                    && (number / factor).fract() != 0.0
                {
                    refuse(format!("be a multiple of {factor}"));
                }
            }
            Value::String(text) => {
                let length = text.chars().count();
                if let Some(min) = bounds.length.min.filter(|min| length < *min) {
                    refuse(format!("be at least {min} chars long"));
                }
                if let Some(max) = bounds.length.max.filter(|max| length > *max) {
                    self.errors.too_long(path, max);
                }
            }
            Value::Array(items) => {
                if let Some(min) = bounds.items.min.filter(|min| items.len() < *min) {
                    refuse(format!("have at least {min} items"));
                }
                if let Some(max) = bounds.items.max.filter(|max| items.len() > *max) {
                    self.errors.too_many(path, items.len(), max);
                }
            }
            Value::Object(fields) => {
                if let Some(min) = bounds.properties.min.filter(|min| fields.len() < *min) {
                    refuse(format!("have at least {min} properties"));
                }
                if let Some(max) = bounds.properties.max.filter(|max| fields.len() > *max) {
                    self.errors.too_many(path, fields.len(), max);
                }
            }
            _ => {}
        }
    }

    fn junctions(&mut self, value: &Value, node: &Node, path: &Path<'_>) {
        let checks = &node.checks;
        for part in &checks.all_of {
            self.value(value, None, part, path);
        }
        let holds = |part: &&Node| {
            let mut errors = FieldErrors::new();
            Checker::new(&mut errors).value(value, None, part, path);
            errors.is_empty()
        };
        let mut refuse = |detail: String| {
            self.errors.invalid(path, "", &format!("\"{path}\" must {detail}"));
        };
        if !checks.any_of.is_empty() && !checks.any_of.iter().any(|part| holds(&part)) {
            refuse("validate at least one schema (anyOf)".to_owned());
        }
        if !checks.one_of.is_empty() {
            match checks.one_of.iter().filter(holds).count() {
                0 => refuse("validate one and only one schema (oneOf). Found none valid".to_owned()),
                1 => {}
                count => refuse(format!(
                    "validate one and only one schema (oneOf). Found {count} valid alternatives"
                )),
            }
        }
        if checks.not.as_deref().is_some_and(|part| holds(&part)) {
            refuse("not validate the schema (not)".to_owned());
        }
    }

    fn wrong_type(&mut self, value: &Value, node: &Node, path: &Path<'_>) {
        let wanted = match node.kind {
            _ if node.int_or_string => "integer,string",
            Some(kind) => kind.word(),
            None => "any",
        };
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let detail = format!("{path} in body must be of type {wanted}: {}", shown_text(found));
        self.errors.type_invalid(path, found, &detail);
    }
}

fn has_type(value: &Value, node: &Node) -> bool {
    if node.int_or_string {
        return value.is_string() || is_integer(value);
    }
    match node.kind {
        // Without a type nothing is said, and null is no value of any.
        None => true,
        Some(Kind::Object) => value.is_object(),
        Some(Kind::Array) => value.is_array(),
        Some(Kind::String) => value.is_string(),
        Some(Kind::Boolean) => value.is_boolean(),
        Some(Kind::Number) => value.is_number(),
        Some(Kind::Integer) => is_integer(value),
    }
}

/// As in Go's JSON, `1.0` is an integer too.
fn is_integer(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|own| own.fract() == 0.0)
        }
        _ => false,
    }
}

/// Equal as JSON values: `1` and `1.0` are.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// The fields by which an item of a list is told from the others.
pub(in super::super) fn identity(item: &Value, keys: &[String]) -> Value {
    let keys = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(keys.collect())
}

fn shown(value: &Value) -> Shown {
    match value {
        Value::String(text) => Shown::from(text),
        value => Shown::json(value),
    }
}

fn shown_text(text: &str) -> String {
    crate::field_error::quote(text)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
