//! Structural schemas: what a CustomResourceDefinition says of the fields of its objects, compiled.
//!
//! [`compile`] checks a schema and makes a [`Node`] of it; [`prune`] drops what the schema does not know and fills in
//! defaults; [`check`] says what is wrong with a value. Follows `k8s.io/apiextensions-apiserver/pkg/apiserver/schema`.

pub(super) mod check;
mod compile;
mod defaults;
mod format;
pub(super) mod prune;
mod rules;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::cel::Rule;

pub(super) use compile::{compile, inner};

/// What is known of a value: of an object, of a field, or inside `allOf` and the like.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) kind: Option<Kind>,
    pub(super) nullable: bool,
    /// A number or a text.
    pub(super) int_or_string: bool,
    /// Fields that are not listed may be there.
    pub(super) preserve: bool,
    /// The object has `apiVersion`, `kind` and `metadata` of its own.
    pub(super) embedded: bool,
    pub(super) properties: BTreeMap<String, Node>,
    pub(super) additional: Additional,
    pub(super) items: Option<Box<Node>>,
    pub(super) default: Option<Value>,
    pub(super) list: List,
    /// Server-side apply owns the object as a whole.
    pub(super) is_atomic: bool,
    pub(super) rules: Vec<Rule>,
    /// Whether this node or one inside it has rules.
    pub(super) has_rules: bool,
    checks: Checks,
}

/// The JSON type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// What may be in an object besides its properties.
#[derive(Debug, Default)]
pub(super) enum Additional {
    /// Nothing was said.
    #[default]
    Unsaid,
    /// Anything.
    Any,
    /// Values like this.
    Of(Box<Node>),
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum List {
    /// Not at all.
    #[default]
    Atomic,
    /// By value.
    Set,
    /// By these fields.
    Map(Vec<String>),
}

/// What a value must satisfy. Boxed or empty where few values have it.
#[derive(Debug, Default)]
struct Checks {
    required: Vec<String>,
    one_of_values: Option<Vec<Value>>,
    bounds: Option<Box<Bounds>>,
    pattern: Option<Box<Regex>>,
    format: Option<Box<str>>,
    all_of: Vec<Node>,
    any_of: Vec<Node>,
    one_of: Vec<Node>,
    not: Option<Box<Node>>,
}

/// Limits of size.
#[derive(Clone, Debug, Default, PartialEq)]
struct Bounds {
    minimum: Option<(f64, Edge)>,
    maximum: Option<(f64, Edge)>,
    multiple_of: Option<f64>,
    length: Range,
    items: Range,
    properties: Range,
}

/// Whether a limit itself is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Inside,
    Outside,
}

/// At least and at most so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Range {
    min: Option<usize>,
    max: Option<usize>,
}

impl Kind {
    fn of(word: &str) -> Option<Kind> {
        Some(match word {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }
}

impl Node {
    /// The schema of a field of an object; `None` when nothing is known of it.
    pub(super) fn field(&self, name: &str) -> Option<&Node> {
        self.properties.get(name).or(match &self.additional {
            Additional::Of(values) => Some(values),
            Additional::Any | Additional::Unsaid => None,
        })
    }

    /// The format of its texts.
    pub(super) fn format(&self) -> Option<&str> {
        self.checks.format.as_deref()
    }

    /// The word of its type, as messages about rules show it for a value.
    pub(super) fn word(&self) -> &'static str {
        match self.kind {
            _ if self.int_or_string => "integer",
            Some(kind) => kind.word(),
            None => "object",
        }
    }

    /// Whether some default is in it, so that an object may be served with more than is stored.
    pub(super) fn has_defaults(&self) -> bool {
        self.default.is_some() || self.inside().any(Node::has_defaults)
    }

    /// The schemas of what is in the value.
    fn inside(&self) -> impl Iterator<Item = &Node> {
        let values = match &self.additional {
            Additional::Of(values) => Some(&**values),
            Additional::Any | Additional::Unsaid => None,
        };
        self.properties.values().chain(self.items.as_deref()).chain(values)
    }
}
