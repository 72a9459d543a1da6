//! Validation errors: the path of a field, what is wrong with it, and the wording clients know.
//!
//! Wording and cause reasons follow `k8s.io/apimachinery/pkg/util/validation/field`. A [`Path`] borrows its
//! parent and is only written out when an error is found, so that a valid object costs no allocation.

use std::fmt;

use serde::Serialize;

/// Where a field is in an object, as Kubernetes writes it: `spec.containers[0].image`, `data[key]`.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Segment<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A field of the object itself.
    pub const fn new(field: &'a str) -> Path<'a> {
        Path { parent: None, segment: Segment::Field(field) }
    }

    /// A field of the message at this path.
    pub const fn child(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Field(field) }
    }

    /// An item of the list at this path.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Index(index) }
    }

    /// An entry of the map at this path.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Field(field) if self.parent.is_some() => write!(f, ".{field}"),
            Segment::Field(field) => f.write_str(field),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It refers to something that does not exist.
    NotFound,
    /// It is missing or empty.
    Required,
    /// Its value must be unique and is not.
    Duplicate,
    /// Its value is malformed or out of range.
    Invalid,
    /// Its value is none of the known ones.
    NotSupported,
    /// Its value is well formed but not allowed here or now.
    Forbidden,
    /// Its value is too long (the value is not repeated).
    TooLong,
    /// It has too many items.
    TooMany,
    /// Its value is of the wrong JSON type.
    TypeInvalid,
}

impl Problem {
    /// The `reason` of the cause in a Status.
    pub const fn reason(self) -> &'static str {
        match self {
            Problem::NotFound => "FieldValueNotFound",
            Problem::Required => "FieldValueRequired",
            Problem::Duplicate => "FieldValueDuplicate",
            Problem::Invalid => "FieldValueInvalid",
            Problem::NotSupported => "FieldValueNotSupported",
            Problem::Forbidden => "FieldValueForbidden",
            Problem::TooLong => "FieldValueTooLong",
            Problem::TooMany => "FieldValueTooMany",
            Problem::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Problem::NotFound => "Not found",
            Problem::Required => "Required value",
            Problem::Duplicate => "Duplicate value",
            Problem::Invalid | Problem::TypeInvalid => "Invalid value",
            Problem::NotSupported => "Unsupported value",
            Problem::Forbidden => "Forbidden",
            Problem::TooLong => "Too long",
            Problem::TooMany => "Too many",
        }
    }
}

/// A rejected value as it appears in a message: strings quoted, everything else as JSON.
#[derive(Clone, Debug)]
pub struct Shown(String);

impl Shown {
    /// Any value, written as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Shown {
        Shown(serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()))
    }
}

impl From<&str> for Shown {
    fn from(value: &str) -> Shown {
        Shown(quote(value))
    }
}

impl From<&String> for Shown {
    fn from(value: &String) -> Shown {
        Shown(quote(value))
    }
}

macro_rules! shown_plainly {
    ($($type:ty),*) => {$(
        impl From<$type> for Shown {
            fn from(value: $type) -> Shown {
                Shown(value.to_string())
            }
        }
    )*};
}
shown_plainly!(i32, i64, usize, bool);

/// A string in double quotes with the escapes of Go's `%q`, which clients and people compare against.
pub fn quote(text: &str) -> String {
    use fmt::Write;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(quoted, "\\x{:02x}", c as u32).expect("writing to a String cannot fail");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as [`Path`] writes it.
    pub field: String,
    /// What is wrong.
    pub problem: Problem,
    /// The message without the field: `Invalid value: "x": must be …`.
    pub body: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// Everything wrong with an object, in the order found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// No errors yet.
    pub const fn new() -> FieldErrors {
        FieldErrors(Vec::new())
    }

    /// True while nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many errors were found.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The errors in the order found.
    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }

    fn push(&mut self, path: &Path<'_>, problem: Problem, value: Option<Shown>, detail: &str) {
        let mut body = problem.words().to_owned();
        for part in value.as_ref().map(|shown| shown.0.as_str()).into_iter().chain([detail]) {
            if !part.is_empty() {
                body.push_str(": ");
                body.push_str(part);
            }
        }
        self.0.push(FieldError { field: path.to_string(), problem, body });
    }

    /// The field is missing; `detail` may be empty.
    pub fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(path, Problem::Required, None, detail);
    }

    /// The value is malformed or out of range.
    pub fn invalid(&mut self, path: &Path<'_>, value: impl Into<Shown>, detail: &str) {
        self.push(path, Problem::Invalid, Some(value.into()), detail);
    }

    /// The value is of the wrong JSON type.
    pub fn type_invalid(&mut self, path: &Path<'_>, value: impl Into<Shown>, detail: &str) {
        self.push(path, Problem::TypeInvalid, Some(value.into()), detail);
    }

    /// The value refers to something that is not there.
    pub fn not_found(&mut self, path: &Path<'_>, value: impl Into<Shown>) {
        self.push(path, Problem::NotFound, Some(value.into()), "");
    }

    /// The value must be unique and is not.
    pub fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Shown>) {
        self.push(path, Problem::Duplicate, Some(value.into()), "");
    }

    /// The value is allowed elsewhere, not here.
    pub fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push(path, Problem::Forbidden, None, detail);
    }

    /// The value is none of `supported`, which the message lists in the order given.
    pub fn not_supported(&mut self, path: &Path<'_>, value: impl Into<Shown>, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|word| quote(word)).collect();
        let detail = match quoted.is_empty() {
            true => String::new(),
            false => format!("supported values: {}", quoted.join(", ")),
        };
        self.push(path, Problem::NotSupported, Some(value.into()), &detail);
    }

    /// The value has more than `max` bytes.
    pub fn too_long(&mut self, path: &Path<'_>, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.push(path, Problem::TooLong, None, &format!("may not be more than {max} {unit}"));
    }

    /// The list has more than `max` items.
    pub fn too_many(&mut self, path: &Path<'_>, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        self.push(path, Problem::TooMany, Some(actual.into()), &detail);
    }

    /// The part of an `… is invalid: ` message after the colon: one error as it is, several in brackets,
    /// each distinct text once.
    pub fn message(&self) -> String {
        let mut texts: Vec<String> = Vec::with_capacity(self.0.len());
        for text in self.0.iter().map(FieldError::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn messages_are_worded_as_clients_know_them() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        let mut errors = FieldErrors::new();
        errors.required(&first.child("image"), "");
        errors.invalid(&first.child("name"), "A\n\"", "a lowercase RFC 1123 label must …");
        errors.invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0");
        errors.not_supported(&spec.child("restartPolicy"), "No", &["Always", "OnFailure", "Never"]);
        errors.duplicate(&first.child("name"), "web");
        errors.forbidden(&spec, "updates are forbidden");
        errors.too_long(&Path::new("metadata").child("annotations"), 262144);
        errors.too_many(&containers, 3, 1);
        errors.type_invalid(&spec.child("x"), true, "must be a string");
        errors.not_found(&first.child("volumeMounts").index(1).child("name"), "v");
        errors.invalid(&Path::new("data").key("a/b"), "a/b", "bad key");
        errors.invalid(
            &spec.child("selector"),
            Shown::json(&serde_json::json!({"a": 1})),
            "field is immutable",
        );
        let lines: Vec<String> = errors.iter().map(|e| format!("{} | {e}", e.problem.reason())).collect();
        expect![[r#"
            FieldValueRequired | spec.containers[0].image: Required value
            FieldValueInvalid | spec.containers[0].name: Invalid value: "A\n\"": a lowercase RFC 1123 label must …
            FieldValueInvalid | spec.replicas: Invalid value: -1: must be greater than or equal to 0
            FieldValueNotSupported | spec.restartPolicy: Unsupported value: "No": supported values: "Always", "OnFailure", "Never"
            FieldValueDuplicate | spec.containers[0].name: Duplicate value: "web"
            FieldValueForbidden | spec: Forbidden: updates are forbidden
            FieldValueTooLong | metadata.annotations: Too long: may not be more than 262144 bytes
            FieldValueTooMany | spec.containers: Too many: 3: must have at most 1 item
            FieldValueTypeInvalid | spec.x: Invalid value: true: must be a string
            FieldValueNotFound | spec.containers[0].volumeMounts[1].name: Not found: "v"
            FieldValueInvalid | data[a/b]: Invalid value: "a/b": bad key
            FieldValueInvalid | spec.selector: Invalid value: {"a":1}: field is immutable"#]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn several_errors_are_bracketed_and_repeated_ones_said_once() {
        let spec = Path::new("spec");
        let mut errors = FieldErrors::new();
        errors.required(&spec, "");
        assert_eq!(errors.message(), "spec: Required value");
        errors.required(&spec, "");
        assert_eq!(errors.message(), "spec: Required value");
        errors.forbidden(&spec, "no");
        assert_eq!(errors.message(), "[spec: Required value, spec: Forbidden: no]");
    }
}
