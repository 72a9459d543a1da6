//! Field selectors: `metadata.name=x,status.phase!=Failed`.

use super::SelectorError;
use crate::resource::{Kind, Object};
use crate::status::Status;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    label: String,
    value: String,
    equal: bool,
}

/// Conditions on fields, all of which must hold. Only labels the kind knows occur in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// Understands `a=b`, `a==b` and `a!=b` joined by commas, `\` escaping `,`, `=` and itself in values; empty
    /// matches everything. A label the kind does not know is an error.
    pub fn parse(text: &str, kind: &Kind) -> Result<FieldSelector, Status> {
        let selector = FieldSelector::parse_any(text)?;
        match selector.terms.iter().find(|term| !kind.knows_field(&term.label)) {
            None => Ok(selector),
            Some(term) => Err(Status::bad_request(format!("field label not supported: {}", term.label))),
        }
    }

    fn parse_any(text: &str) -> Result<FieldSelector, SelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let (label, operator, value) = split_term(part).ok_or_else(|| {
                SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'"))
            })?;
            terms.push(Term { label: label.to_owned(), value: unescape(value)?, equal: operator != "!=" });
        }
        Ok(FieldSelector { terms })
    }

    /// True when the selector narrows nothing.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `label` must have, if the selector says so: with `metadata.name` the answer is one object.
    pub fn exact(&self, label: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.label == label).map(|term| term.value.as_str())
    }

    /// Whether the object is selected.
    pub fn matches(&self, object: &dyn Object) -> bool {
        self.terms.iter().all(|term| {
            let value = object.field(&term.label).unwrap_or_default();
            (value == term.value) == term.equal
        })
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, byte) in text.bytes().enumerate() {
        if byte == b',' && !escaped {
            parts.push(&text[start..index]);
            start = index + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(part: &str) -> Option<(&str, &str, &str)> {
    part.char_indices().find_map(|(index, _)| {
        ["!=", "==", "="].into_iter().find_map(|operator| {
            part[index..].strip_prefix(operator).map(|value| (&part[..index], operator, value))
        })
    })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(SelectorError(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
            },
            ',' | '=' => {
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {c}"
                )));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}
