//! Reads the k8s-openapi crate's generated types: JSON names, required fields, and which types are kinds.

use std::collections::BTreeMap;
use std::path::Path;

/// One type, as its JSON form is.
pub(crate) struct Type {
    /// `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// JSON names in the crate's order.
    pub fields: Vec<String>,
    pub required: Vec<String>,
    /// The API group, if the type is a kind of its own.
    pub group: Option<String>,
}

/// All types by their lower-case name, since the capitals of the other crate's names differ.
pub(crate) struct Types(BTreeMap<String, Type>);

impl Types {
    pub(crate) fn get(&self, name: &str) -> Option<&Type> {
        self.0.get(&name.to_lowercase())
    }

    /// The API group of the kinds in `package`.
    pub(crate) fn group_of(&self, package: &str) -> Option<String> {
        let same = |found: &&Type| found.name.rsplit_once('.').is_some_and(|(of, _)| of == package);
        self.0.values().filter(same).find_map(|found| found.group.clone())
    }

    /// The only JSON name, over all types, that equals `ident` without regard to capitals and punctuation.
    pub(crate) fn only_name(&self, ident: &str) -> Option<&str> {
        let mut names: Vec<&str> = self.0.values().filter_map(|t| t.name_like(ident)).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() == 1 { Some(names[0]) } else { None }
    }
}

impl Type {
    /// The JSON name of this type that equals `ident` without regard to capitals and punctuation.
    pub(crate) fn name_like(&self, ident: &str) -> Option<&str> {
        self.fields.iter().find(|name| plain(name) == plain(ident)).map(String::as_str)
    }

    /// Whether `kind` and `apiVersion` are fields of the JSON form.
    pub(crate) fn has_type_meta(&self) -> bool {
        ["kind", "apiVersion"].iter().all(|wanted| self.fields.iter().any(|name| name == wanted))
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Reads all types below one version's folder.
pub(crate) fn read(folder: &Path) -> Types {
    let mut types = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(found) = read_type(&std::fs::read_to_string(&path).unwrap()) {
                types.insert(found.name.to_lowercase(), found);
            }
        }
    }
    Types(types)
}

fn read_type(text: &str) -> Option<Type> {
    let name = text.strip_prefix("// Generated from definition ")?.split_whitespace().next()?;
    let quoted = |text: &str| text.trim().split('"').nth(1).map(str::to_owned);
    let fields = text.lines().filter(|line| line.contains(" => Field::Key_")).filter_map(quoted).collect();
    let required = text
        .split_once("\n            \"required\": [")
        .map(|(_, rest)| rest.split(']').next().unwrap().lines().filter_map(quoted).collect())
        .unwrap_or_default();
    let group = text.split_once("    const GROUP: ").and_then(|(_, rest)| quoted(rest));
    Some(Type { name: name.to_owned(), fields, required, group })
}
