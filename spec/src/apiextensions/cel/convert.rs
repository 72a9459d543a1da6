//! Values of objects as expressions see them: typed by the schema, with field names that are identifiers.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::parser::Expression;
use cel::{Context, Value as CelValue};
use serde_json::Value;

use super::super::structural::{Kind, Node};
use super::library;

/// The words of the language, which no field can be called.
const RESERVED: [&str; 22] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "dyn",
];

/// The value in the types of its schema.
pub(super) fn convert(value: &Value, node: &Node) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(truth) => CelValue::Bool(*truth),
        Value::Number(number) => match (node.kind, number.as_i64()) {
            (Some(Kind::Number), _) | (_, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
            (_, Some(number)) => CelValue::Int(number),
        },
        Value::String(text) => convert_text(text, node.format()),
        Value::Array(items) => {
            let unknown = Node::default();
            let of_items = node.items.as_deref().unwrap_or(&unknown);
            CelValue::List(Arc::new(items.iter().map(|item| convert(item, of_items)).collect()))
        }
        Value::Object(fields) => {
            let mut map = HashMap::with_capacity(fields.len());
            for (name, value) in fields {
                let unknown = Node::default();
                let of_field = node.field(name).unwrap_or(&unknown);
                let is_property = node.properties.contains_key(name);
                let name = if is_property { escaped(name) } else { name.clone() };
                map.insert(Key::String(Arc::new(name)), convert(value, of_field));
            }
            CelValue::Map(Map { map: Arc::new(map) })
        }
    }
}

/// A field's name as expressions write it: `a-b` is `a__dash__b`.
fn escaped(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

static TIMESTAMP: LazyLock<Expression> = LazyLock::new(|| conversion("timestamp(text)"));
static DURATION: LazyLock<Expression> = LazyLock::new(|| conversion("duration(text)"));

fn conversion(text: &str) -> Expression {
    library::env().parser().parse(text).expect("the expression is well formed")
}

/// Texts of some formats are values of types of their own. One that is not of its format stays a text.
fn convert_text(text: &str, format: Option<&str>) -> CelValue {
    let plain = CelValue::String(Arc::new(text.to_owned()));
    let (expression, text) = match format {
        Some("date-time" | "datetime") => (&*TIMESTAMP, plain.clone()),
        Some("date") => (&*TIMESTAMP, CelValue::from(format!("{text}T00:00:00Z"))),
        Some("duration") => (&*DURATION, plain.clone()),
        _ => return plain,
    };
    let mut context = Context::with_env(library::env());
    context.add_variable_from_value("text", text);
    CelValue::resolve(expression, &context).unwrap_or(plain)
}
