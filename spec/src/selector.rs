//! Label and field selectors: what a list or a watch is narrowed to, and what a workload owns.
//!
//! Grammar and error texts follow `k8s.io/apimachinery/pkg/labels` and `pkg/fields`.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::field_error::{FieldErrors, Path};
use crate::meta;

mod fields;
mod parse;

pub use fields::FieldSelector;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is a whole number above the value.
    GreaterThan,
    /// The label is a whole number below the value.
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it compares.
    pub operator: Operator,
    /// With what; sorted.
    pub values: Vec<String>,
}

impl Requirement {
    fn new(key: &str, operator: Operator, values: &[String]) -> Requirement {
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        Requirement { key: key.to_owned(), operator, values }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |label, bound| label > bound),
            Operator::LessThan => self.compares(value, |label, bound| label < bound),
        }
    }

    fn compares(&self, value: Option<&String>, holds: fn(i64, i64) -> bool) -> bool {
        let bound = self.values.first().and_then(|bound| bound.parse().ok());
        match (value.and_then(|value| value.parse().ok()), bound) {
            (Some(label), Some(bound)) => holds(label, bound),
            _ => false,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::In if self.values.len() == 1 => write!(f, "{key}={values}"),
            Operator::NotIn if self.values.len() == 1 => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// A set of conditions on labels, all of which must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// `None` matches nothing; empty matches everything.
    requirements: Option<Vec<Requirement>>,
}

/// Why the text of a selector was not understood; goes to the client as it is, with code 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl From<SelectorError> for crate::status::Status {
    fn from(error: SelectorError) -> crate::status::Status {
        crate::status::Status::bad_request(error.0)
    }
}

impl Selector {
    /// Matches every object.
    pub const fn everything() -> Selector {
        Selector { requirements: Some(Vec::new()) }
    }

    /// Matches no object.
    pub const fn nothing() -> Selector {
        Selector { requirements: None }
    }

    /// Understands `a=b,c!=d,e in (f,g),h,!i,j>1`; empty matches everything.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let requirements = parse::requirements(text).map_err(SelectorError)?;
        Ok(Selector::from_requirements(requirements))
    }

    fn from_requirements(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements: Some(requirements) }
    }

    /// The selector of a workload: absent matches nothing, empty everything. An operator that does not exist
    /// (validation refuses it) matches nothing.
    pub fn of(selector: Option<&LabelSelector>) -> Selector {
        let Some(selector) = selector else { return Selector::nothing() };
        let mut requirements: Vec<Requirement> = selector
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| Requirement::new(key, Operator::In, std::slice::from_ref(value)))
            .collect();
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return Selector::nothing(),
            };
            let values = expression.values.as_deref().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values));
        }
        Selector::from_requirements(requirements)
    }

    /// The selector of a Service: absent or empty matches nothing, because nobody means every pod by it.
    pub fn of_map(labels: Option<&BTreeMap<String, String>>) -> Selector {
        match labels.filter(|labels| !labels.is_empty()) {
            None => Selector::nothing(),
            Some(labels) => Selector::from_requirements(
                labels
                    .iter()
                    .map(|(key, value)| Requirement::new(key, Operator::In, std::slice::from_ref(value)))
                    .collect(),
            ),
        }
    }

    /// True when the selector narrows nothing.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// The conditions, sorted by key; none when the selector matches nothing.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let labels = labels.unwrap_or(&NONE);
        match &self.requirements {
            None => false,
            Some(requirements) => requirements.iter().all(|requirement| requirement.matches(labels)),
        }
    }
}

/// The form clients parse again: `a=b,c in (d,e)`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

/// The selector as a table cell: `<none>` when there is nothing to show.
pub fn format_for_table(selector: Option<&LabelSelector>) -> String {
    match Selector::of(selector).to_string() {
        text if text.is_empty() => "<none>".to_owned(),
        text => text,
    }
}

/// Checks a label selector in an object.
pub fn validate(selector: &LabelSelector, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(labels) = &selector.match_labels {
        meta::validate_labels(labels, &path.child("matchLabels"), errors);
    }
    let expressions = path.child("matchExpressions");
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        validate_expression(expression, &expressions.index(index), errors);
    }
}

fn validate_expression(expression: &LabelSelectorRequirement, path: &Path<'_>, errors: &mut FieldErrors) {
    let values = expression.values.as_deref().unwrap_or_default();
    let values_path = path.child("values");
    match expression.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(
                &values_path,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            );
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        unknown => errors.invalid(&path.child("operator"), unknown, "not a valid selector operator"),
    }
    for fault in meta::qualified_name_faults(&expression.key) {
        errors.invalid(&path.child("key"), &expression.key, &fault);
    }
    for (index, value) in values.iter().enumerate() {
        for fault in meta::label_value_faults(value) {
            errors.invalid(&values_path.index(index), value, &fault);
        }
    }
}

#[cfg(test)]
mod tests;
