//! Rules in the Common Expression Language: `x-kubernetes-validations`.
//!
//! A rule is parsed when its definition is, and evaluated by the `cel` crate. Expressions cannot loop for ever, but
//! over lists inside lists: what an evaluation may cost at most is estimated from the sizes of the value at hand
//! ([`cost`]), and one that may cost too much is not begun. Follows `pkg/apiserver/schema/cel` upstream.

mod convert;
mod cost;
mod free;
mod library;
#[cfg(test)]
mod tests;

use cel::parser::Expression;
use cel::{Context, Value as CelValue};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, ValidationRule};
use serde_json::Value;

use self::convert::convert;
use self::cost::{Budget, Sizes};
use super::structural::check::identity;
use super::structural::{List, Node};
use crate::field_error::{FieldErrors, Path};

/// Longer expressions are refused: hand-written ones have some hundred characters.
const EXPRESSION_BYTES_MAX: usize = 10_000;
/// Nesting of an expression. Each level costs the parser stack.
const DEPTH_MAX: u16 = 40;
/// Brackets inside brackets that are parsed at all.
const BRACKETS_MAX: usize = 40;

/// A parsed rule.
#[derive(Debug)]
pub(super) struct Rule {
    text: String,
    expression: Expression,
    message: Option<String>,
    message_expression: Option<Expression>,
    reason: Reason,
    field_path: Option<String>,
    /// It compares with what was, so that there is nothing to check when an object is new.
    is_transition: bool,
    /// It wants to be asked of new objects too.
    optional_old: bool,
}

/// What a broken rule says is wrong.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

/// Parses the rules of a node. Rules that use functions which are not known here are left out: the definition's author
/// is warned of them.
pub(super) fn parse(rules: &[ValidationRule], path: &Path<'_>, errors: &mut FieldErrors) -> Vec<Rule> {
    let path = path.child("x-kubernetes-validations");
    let parsed = rules.iter().enumerate().map(|(index, rule)| parse_one(rule, &path.index(index), errors));
    parsed.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn parse_one(rule: &ValidationRule, path: &Path<'_>, errors: &mut FieldErrors) -> Option<Rule> {
    let text = rule.rule.trim();
    let field = path.child("rule");
    if text.is_empty() {
        errors.required(&field, "rule is not specified");
        return None;
    }
    let expression = compile(text).map_err(|why| errors.invalid(&field, text, &why)).ok()?;
    let field = path.child("messageExpression");
    let message_expression = rule.message_expression.as_deref().map(str::trim).filter(|own| !own.is_empty());
    let message_expression = match message_expression.map(|text| (text, compile(text))) {
        None => None,
        Some((_, Ok(expression))) => Some(expression),
        Some((text, Err(why))) => {
            errors.invalid(&field, text, &why);
            return None;
        }
    };
    let reasons = [
        ("FieldValueInvalid", Reason::Invalid),
        ("FieldValueForbidden", Reason::Forbidden),
        ("FieldValueRequired", Reason::Required),
        ("FieldValueDuplicate", Reason::Duplicate),
    ];
    let word = rule.reason.as_deref().unwrap_or("FieldValueInvalid");
    let Some((_, reason)) = reasons.iter().find(|(known, _)| *known == word) else {
        errors.not_supported(&path.child("reason"), word, &reasons.map(|(known, _)| known));
        return None;
    };
    if !unknown_functions(&expression).is_empty() {
        return None;
    }
    Some(Rule {
        text: text.to_owned(),
        is_transition: expression.references().has_variable("oldSelf"),
        expression,
        message: rule.message.clone().filter(|own| !own.is_empty()),
        message_expression: message_expression.filter(|own| unknown_functions(own).is_empty()),
        reason: *reason,
        field_path: rule.field_path.clone(),
        optional_old: rule.optional_old_self == Some(true),
    })
}

/// Parses an expression of which nothing is known.
fn compile(text: &str) -> Result<Expression, String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("must not be longer than {EXPRESSION_BYTES_MAX} bytes"));
    }
    if brackets(text) > BRACKETS_MAX {
        return Err(format!("must not have more than {BRACKETS_MAX} brackets inside each other"));
    }
    let parsed = library::env().parser().max_recursion_depth(DEPTH_MAX).parse(text);
    let expression = parsed.map_err(|error| format!("compilation failed: {error}"))?;
    // The names of types may be used as values.
    let is_known = |name: &str| matches!(name, "self" | "oldSelf") || library::is_type(name);
    match free::first_unknown(&expression, &is_known) {
        Some(name) => Err(format!("compilation failed: undeclared reference to '{name}'")),
        None => Ok(expression),
    }
}

fn brackets(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn unknown_functions(expression: &Expression) -> Vec<String> {
    let references = expression.references();
    let functions = references.functions().into_iter().filter(|name| !library::is_function(name));
    functions.map(str::to_owned).collect()
}

/// The rules of a schema that are not evaluated, each with the function that is not known.
pub(super) fn not_evaluated(schema: &JSONSchemaProps) -> Vec<(String, String)> {
    use super::structural::inner;
    let mut found = Vec::new();
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let Ok(expression) = compile(rule.rule.trim()) else { continue };
        let functions = unknown_functions(&expression);
        found.extend(functions.into_iter().next().map(|function| (rule.rule.clone(), function)));
    }
    for schema in inner(schema) {
        found.extend(not_evaluated(schema));
    }
    found
}

/// Evaluates all rules of a schema on an object; `old` is what it was before an update.
pub(super) fn check(node: &Node, object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    if !node.has_rules {
        return;
    }
    let mut evaluation = Evaluation { budget: Budget::new(), errors };
    evaluation.root(node, object, old);
}

struct Evaluation<'e> {
    budget: Budget,
    errors: &'e mut FieldErrors,
}

impl Evaluation<'_> {
    fn root(&mut self, node: &Node, object: &Value, old: Option<&Value>) {
        self.own(node, object, old, &Path::new("<nil>"));
        for (name, value) in object.as_object().into_iter().flatten() {
            if let Some(of_field) = node.field(name) {
                self.value(of_field, value, old.and_then(|old| old.get(name)), &Path::new(name));
            }
        }
    }

    fn value(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>) {
        // What is as it was has been checked, or was let pass when the rule came later.
        if !node.has_rules || old == Some(value) || value.is_null() || self.budget.is_spent() {
            return;
        }
        self.own(node, value, old, path);
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let Some(of_field) = node.field(name) else { continue };
                    let old = old.and_then(|old| old.get(name));
                    match node.properties.contains_key(name) {
                        true => self.value(of_field, value, old, &path.child(name)),
                        false => self.value(of_field, value, old, &path.key(name)),
                    }
                }
            }
            Value::Array(items) => {
                let Some(of_items) = &node.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let was = match (&node.list, old) {
                        (List::Map(keys), Some(Value::Array(old))) => {
                            let own = identity(item, keys);
                            old.iter().find(|other| identity(other, keys) == own)
                        }
                        _ => None,
                    };
                    self.value(of_items, item, was, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn own(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>) {
        let asked: Vec<&Rule> = node
            .rules
            .iter()
            .filter(|rule| !rule.is_transition || old.is_some() || rule.optional_old)
            .collect();
        if asked.is_empty() {
            return;
        }
        let sizes = Sizes::of(value).with(old.map(Sizes::of));
        let (own, was) = (convert(value, node), old.map(|old| convert(old, node)));
        for rule in asked {
            if !self.budget.take(cost::of(&rule.expression, sizes)) {
                let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
                self.errors.invalid(path, node.word(), detail);
                return;
            }
            let context = context(rule, &own, was.as_ref());
            match CelValue::resolve(&rule.expression, &context) {
                Ok(CelValue::Bool(true)) => {}
                Ok(CelValue::Bool(false)) => self.broken(rule, node, &context, sizes, path),
                Ok(_) => {
                    let detail = format!("rule must evaluate to a bool: {}", rule.text);
                    self.errors.invalid(path, node.word(), &detail);
                }
                Err(error) => {
                    let detail = format!("rule evaluation error: {error}: {}", rule.text);
                    self.errors.invalid(path, node.word(), &detail);
                }
            }
        }
    }

    fn broken(&mut self, rule: &Rule, node: &Node, context: &Context<'_, '_>, sizes: Sizes, path: &Path<'_>) {
        let made = rule.message_expression.as_ref().and_then(|expression| {
            self.budget
                .take(cost::of(expression, sizes))
                .then(|| CelValue::resolve(expression, context).ok())?
        });
        let message = match (made, &rule.message) {
            (Some(CelValue::String(text)), _) if !text.trim().is_empty() => text.trim().to_owned(),
            (_, Some(message)) => message.clone(),
            _ => format!("failed rule: {}", rule.text),
        };
        let below = rule.field_path.as_deref().map(|below| below.trim_start_matches('.')).unwrap_or_default();
        let child = path.child(below);
        let place = if below.is_empty() { path } else { &child };
        match rule.reason {
            Reason::Invalid => self.errors.invalid(place, node.word(), &message),
            Reason::Forbidden => self.errors.forbidden(place, &message),
            Reason::Required => self.errors.required(place, &message),
            Reason::Duplicate => self.errors.duplicate(place, node.word()),
        }
    }
}

fn context(rule: &Rule, own: &CelValue, was: Option<&CelValue>) -> Context<'static, 'static> {
    let mut context = Context::with_env(library::env());
    context.add_variable_from_value("self", own.clone());
    match (rule.optional_old, was) {
        (true, was) => context.add_variable_as_val("oldSelf", library::optional(was)),
        (false, Some(was)) => context.add_variable_from_value("oldSelf", was.clone()),
        (false, None) => {}
    }
    context
}
