//! The JSONPath of printer columns, the scale subresource and selectable fields: fields, indices, `[*]`, and filters
//! that compare a field with a text, as in `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// Longer paths are refused.
const PATH_BYTES_MAX: usize = 1024;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A field of an object.
    Field(String),
    /// An item of a list; from the end when negative.
    Index(i64),
    /// All items or values.
    All,
    /// The items of which a field is, or is not, this value.
    Where { field: Vec<String>, value: Value, equal: bool },
}

impl Path {
    /// Understands a path that begins with a dot or a bracket, in braces or not; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Path> {
        if text.len() > PATH_BYTES_MAX {
            return None;
        }
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let mut rest = inner.strip_prefix('$').unwrap_or(inner);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() && steps.is_empty() {
                    break;
                }
                let (name, after) = field(after)?;
                steps.push(if name == "*" { Step::All } else { Step::Field(name) });
                rest = after;
            } else {
                let (step, after) = bracket(rest.strip_prefix('[')?)?;
                steps.push(step);
                rest = after;
            }
        }
        Some(Path(steps))
    }

    /// Whether the path only goes from field to field.
    pub(super) fn is_plain(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|step| matches!(step, Step::Field(_)))
    }

    /// The fields of a plain path with dots between them.
    pub(super) fn dotted(&self) -> String {
        let fields = self.0.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            _ => None,
        });
        fields.collect::<Vec<_>>().join(".")
    }

    /// All values that the path leads to.
    pub(super) fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        }
        found
    }

    /// The value of a plain path.
    pub(super) fn first_in<'v>(&self, root: &'v serde_json::Map<String, Value>) -> Option<&'v Value> {
        let (first, rest) = self.0.split_first()?;
        let Step::Field(name) = first else { return None };
        rest.iter().try_fold(root.get(name)?, |at, step| step.follow(at).first().copied())
    }

    /// Sets the value of a plain path, making the objects on the way; what stands in the way is replaced.
    pub(super) fn set(&self, root: &mut serde_json::Map<String, Value>, value: Value) {
        let Some((last, way)) = self.0.split_last() else { return };
        let mut at = root;
        for step in way {
            let Step::Field(name) = step else { return };
            let next = at.entry(name.clone()).or_insert_with(|| Value::Object(serde_json::Map::new()));
            if !next.is_object() {
                *next = Value::Object(serde_json::Map::new());
            }
            let Value::Object(next) = next else { return };
            at = next;
        }
        if let Step::Field(name) = last {
            at.insert(name.clone(), value);
        }
    }
}

impl Step {
    fn follow<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { index + length } else { *index };
                usize::try_from(index).ok().and_then(|index| items.get(index)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(fields)) => fields.values().collect(),
            (Step::Where { field, value, equal }, Value::Array(items)) => {
                let selected = |item: &&Value| {
                    let found = field.iter().try_fold(*item, |at, name| at.get(name));
                    found.is_some_and(|found| (found == value) == *equal)
                };
                items.iter().filter(selected).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A field name up to the next unescaped dot or bracket, and what follows it.
fn field(text: &str) -> Option<(String, &str)> {
    let (mut name, mut chars) = (String::new(), text.char_indices());
    let mut end = text.len();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => {
                end = at;
                break;
            }
            ' ' | ']' | '{' | '}' | '(' | ')' | '"' | '\'' => return None,
            char => name.push(char),
        }
    }
    (!name.is_empty()).then_some((name, &text[end..]))
}

/// The inside of a bracket, and what follows it.
fn bracket(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix("?(") {
        let (condition, rest) = rest.split_once(")]")?;
        return Some((filter(condition)?, rest));
    }
    if let Some((name, rest)) = quoted(text) {
        return Some((Step::Field(name), rest.strip_prefix(']')?));
    }
    let (inside, rest) = text.split_once(']')?;
    match inside.trim() {
        "*" => Some((Step::All, rest)),
        index => Some((Step::Index(index.parse().ok()?), rest)),
    }
}

/// `@.a.b=="text"`, with `==` or `!=` and a text, a number or a truth value.
fn filter(condition: &str) -> Option<Step> {
    let (left, right, equal) = match (condition.split_once("=="), condition.split_once("!=")) {
        (Some((left, right)), _) => (left, right, true),
        (None, Some((left, right))) => (left, right, false),
        (None, None) => return None,
    };
    let mut rest = left.trim().strip_prefix('@')?;
    let mut names = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        let (name, after) = field(after)?;
        names.push(name);
        rest = after;
    }
    let value = match quoted(right.trim()) {
        Some((text, "")) => Value::String(text),
        _ => serde_json::from_str(right.trim()).ok()?,
    };
    (rest.is_empty() && !names.is_empty()).then_some(Step::Where { field: names, value, equal })
}

/// A text in single or double quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|char| matches!(char, '"' | '\''))?;
    let (inside, rest) = text[1..].split_once(quote)?;
    Some((inside.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_where_kubectl_users_expect() {
        let object =
            json!({"spec": {"a.b": 1, "list": [{"t": "x", "v": 1}, {"t": "y", "v": 2}], "n": {"m": "k"}}});
        for (path, found) in [
            (".spec.n.m", json!(["k"])),
            ("{.spec.n.m}", json!(["k"])),
            ("$.spec.n.m", json!(["k"])),
            (r".spec.a\.b", json!([1])),
            (".spec['a.b']", json!([1])),
            (".spec.list[0].v", json!([1])),
            (".spec.list[-1].v", json!([2])),
            (".spec.list[*].v", json!([1, 2])),
            (r#".spec.list[?(@.t=="y")].v"#, json!([2])),
            (r".spec.list[?(@.t!='y')].v", json!([1])),
            (".spec.list[?(@.v==2)].t", json!(["y"])),
            (".spec.absent.m", json!([])),
            (".spec.list[9].v", json!([])),
            (".spec.n.m.o", json!([])),
        ] {
            let parsed = Path::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(json!(parsed.find(&object)), found, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in
            ["spec", ".spec.[", ".a..b", ".a[", ".a[x]", ".a[?(@.b)]", ".a[?(b=='c')]", ".a b", ".a['b"]
        {
            assert_eq!(Path::parse(text), None, "{text}");
        }
        assert_eq!(Path::parse(&format!(".{}", "a".repeat(PATH_BYTES_MAX))), None);
    }

    #[test]
    fn a_plain_path_can_be_written_to() {
        let mut fields = serde_json::Map::new();
        let path = Path::parse(".spec.size.replicas").unwrap();
        path.set(&mut fields, json!(3));
        assert_eq!(Value::Object(fields), json!({"spec": {"size": {"replicas": 3}}}));
        assert_eq!((path.is_plain(), path.dotted()), (true, "spec.size.replicas".to_owned()));
        assert!(!Path::parse(".a[0]").unwrap().is_plain());
    }
}
