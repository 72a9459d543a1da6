//! What evaluating an expression may cost at most, in steps, and how much one object may cost.
//!
//! The estimate takes every list and map to be as long as the longest one of the value, every text as long as its
//! longest, and both branches of every choice to be taken. So it is never below the truth for what lists and texts of
//! the value can lead to, and usual rules on usual objects are far below the limit.

use cel::common::ast::{EntryExpr, Expr, LiteralValue};
use cel::parser::Expression;
use serde_json::Value;

/// Steps of all rules on one object: a step takes some tens of nanoseconds.
const STEPS_MAX: u64 = 5_000_000;

/// Functions of which the result can have as many items as their argument has characters.
const SPLITTING: [&str; 2] = ["split", "findAll"];
/// Functions that look at each character of a text.
const READING: [&str; 10] = [
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "indexOf",
    "lastIndexOf",
    "find",
    "findAll",
    "split",
    "size",
];
/// Functions of which the result can be as long as two texts are together many times over.
const GROWING: [&str; 3] = ["replace", "join", "format"];

/// The largest parts of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Items of a list or fields of an object.
    items: u64,
    /// Bytes of a text.
    text: u64,
}

impl Sizes {
    /// The sizes of a value.
    pub(super) fn of(value: &Value) -> Sizes {
        let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        match value {
            Value::String(text) => Sizes { items: 1, text: length(text.len()) },
            Value::Array(items) => {
                items.iter().fold(Sizes { items: length(items.len()).max(1), text: 1 }, |sizes, item| {
                    sizes.with(Some(Sizes::of(item)))
                })
            }
            Value::Object(fields) => fields.iter().fold(
                Sizes { items: length(fields.len()).max(1), text: 1 },
                |sizes, (name, value)| {
                    sizes
                        .with(Some(Sizes { items: 1, text: length(name.len()) }))
                        .with(Some(Sizes::of(value)))
                },
            ),
            _ => Sizes { items: 1, text: 1 },
        }
    }

    /// The larger of both.
    pub(super) fn with(self, other: Option<Sizes>) -> Sizes {
        match other {
            Some(other) => Sizes { items: self.items.max(other.items), text: self.text.max(other.text) },
            None => self,
        }
    }
}

/// What evaluating the expression may cost.
pub(super) fn of(expression: &Expression, sizes: Sizes) -> u64 {
    let references = expression.references();
    let splits = SPLITTING.iter().any(|name| references.has_function(name));
    let items = if splits { sizes.items.max(sizes.text) } else { sizes.items };
    steps(expression, Sizes { items, ..sizes }.with(Some(literals(expression))))
}

/// The sizes of what the expression itself writes out.
fn literals(expression: &Expression) -> Sizes {
    let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let own = match &expression.expr {
        Expr::List(list) => Sizes { items: length(list.elements.len()), text: 1 },
        Expr::Map(map) => Sizes { items: length(map.entries.len()), text: 1 },
        Expr::Literal(LiteralValue::String(text)) => Sizes { items: 1, text: length(text.inner().len()) },
        _ => Sizes { items: 1, text: 1 },
    };
    inner(expression).into_iter().fold(own, |sizes, inner| sizes.with(Some(literals(inner))))
}

fn steps(expression: &Expression, sizes: Sizes) -> u64 {
    if let Expr::Comprehension(comprehension) = &expression.expr {
        let turn = steps(&comprehension.loop_cond, sizes)
            .saturating_add(steps(&comprehension.loop_step, sizes))
            .saturating_add(1);
        return [&comprehension.iter_range, &comprehension.accu_init, &comprehension.result]
            .into_iter()
            .fold(turn.saturating_mul(sizes.items), |sum, part| sum.saturating_add(steps(part, sizes)));
    }
    let own = match &expression.expr {
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let reading = sizes.text / 10;
            let more = match name {
                _ if GROWING.contains(&name) => sizes.text.saturating_mul(sizes.text) / 10,
                _ if READING.contains(&name) => reading,
                "@in" | "_==_" | "_!=_" | "_+_" => reading.saturating_add(sizes.items),
                _ => 0,
            };
            more.saturating_add(1)
        }
        _ => 1,
    };
    inner(expression).into_iter().fold(own, |sum, part| sum.saturating_add(steps(part, sizes)))
}

/// The expressions directly inside an expression.
pub(super) fn inner(expression: &Expression) -> Vec<&Expression> {
    match &expression.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(own) => {
            vec![&own.iter_range, &own.accu_init, &own.loop_cond, &own.loop_step, &own.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(own) => own.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&Expression> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The steps that are left for one object.
pub(super) struct Budget {
    left: u64,
    is_spent: bool,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { left: STEPS_MAX, is_spent: false }
    }

    /// Takes so many steps; false when there are not as many.
    pub(super) fn take(&mut self, steps: u64) -> bool {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.is_spent = true;
                false
            }
        }
    }

    /// Whether something was not evaluated.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }
}
