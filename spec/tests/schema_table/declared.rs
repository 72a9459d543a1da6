//! Reads `declared.txt`: the facts that neither source crate states.

use std::collections::BTreeMap;

/// The declared facts, by kind of fact. Messages go by their full names.
#[derive(Default)]
pub(crate) struct Declared {
    /// Package to API group.
    pub groups: BTreeMap<String, String>,
    pub kinds: Vec<String>,
    pub unions: Vec<String>,
    /// (message, field)
    pub dropped: Vec<(String, String)>,
    /// (message, field) to its JSON name.
    pub renamed: BTreeMap<(String, String), String>,
    pub messages: Vec<String>,
    /// (message, row of the table)
    pub fields: Vec<(String, String)>,
    /// (message, field), as are the others below.
    pub required: Vec<(String, String)>,
    pub optional: Vec<(String, String)>,
    pub always: Vec<(String, String)>,
    pub omitted: Vec<(String, String)>,
    pub pointers: Vec<(String, String)>,
}

/// Reads the checked-in file.
pub(crate) fn read() -> Declared {
    let mut declared = Declared::default();
    for line in include_str!("declared.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let subject = words[1].to_owned();
        let rest = || words[2].to_owned();
        match words[0] {
            "group" => drop(declared.groups.insert(subject, rest().trim_matches('"').to_owned())),
            "kind" => declared.kinds.push(subject),
            "union" => declared.unions.push(subject),
            "drop" => declared.dropped.push((subject, rest())),
            "rename" => {
                let (field, name) = words[2].split_once(' ').unwrap();
                declared.renamed.insert((subject, field.to_owned()), name.to_owned());
            }
            "message" => declared.messages.push(subject),
            "field" => declared.fields.push((subject, rest())),
            other => {
                let fields = words[2].split(' ').map(|field| (subject.clone(), field.to_owned()));
                declared.fields_called(other).extend(fields);
            }
        }
    }
    declared
}

impl Declared {
    fn fields_called(&mut self, fact: &str) -> &mut Vec<(String, String)> {
        match fact {
            "required" => &mut self.required,
            "optional" => &mut self.optional,
            "always" => &mut self.always,
            "omitted" => &mut self.omitted,
            "pointer" => &mut self.pointers,
            other => panic!("declared.txt: no fact is called {other}"),
        }
    }
}
