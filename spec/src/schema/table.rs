//! Reads `table.txt`, the facts about the built-in types.
//!
//! ```text
//! package io.k8s.api.core.v1 v1          the messages that follow are of this package and this group and version
//! Container                              a message; `kind`, `atomic` and `union` may follow
//!  name 1 string required                a field: JSON name, tag (0: not on the wire), type, flags
//!  ports 6 []ContainerPort list=map:containerPort,protocol patch=merge key=containerPort
//! ```
//! A type is a scalar's word, a message (with its package unless it is the same), or `[]` or `map[]` and a type.
//! An `inline` field is a message on the wire whose fields are, in JSON, the fields of the message around it.

use std::collections::HashMap;

use super::names::NameIndex;
use super::{
    Field, Form, GroupVersionKind, ListType, MapType, Message, MessageId, PatchStrategy, Schema, Type, Wire,
};

const TEXT: &str = include_str!("table.txt");

/// A message of the text whose fields are not yet put together.
struct Draft<'t> {
    package: &'t str,
    group_version: &'t str,
    header: &'t str,
    rows: Vec<&'t str>,
}

/// The schema of the built-in types.
pub(super) fn built_in() -> Schema {
    let drafts = drafts(TEXT);
    let ids: HashMap<String, MessageId> =
        drafts.iter().enumerate().map(|(position, draft)| (draft.name(), MessageId::at(position))).collect();
    let rows: Vec<Vec<Row>> = drafts
        .iter()
        .map(|draft| draft.rows.iter().map(|row| Row::read(row, draft.package, &ids)).collect())
        .collect();
    Schema::new((0..drafts.len()).map(|position| drafts[position].build(position, &rows)).collect())
}

fn drafts(text: &str) -> Vec<Draft<'_>> {
    let mut drafts: Vec<Draft<'_>> = Vec::with_capacity(700);
    let (mut package, mut group_version) = ("", "");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(row) = line.strip_prefix(' ') {
            drafts.last_mut().expect("a field follows its message").rows.push(row);
        } else if let Some(rest) = line.strip_prefix("package ") {
            (package, group_version) = rest.split_once(' ').expect("a package has a version");
        } else {
            drafts.push(Draft { package, group_version, header: line, rows: Vec::new() });
        }
    }
    drafts
}

impl Draft<'_> {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.header.split(' ')
    }

    fn name(&self) -> String {
        format!("{}.{}", self.package, self.words().next().expect("a split has a first part"))
    }

    fn has(&self, flag: &str) -> bool {
        self.words().skip(1).any(|word| word == flag)
    }

    fn build(&self, position: usize, rows: &[Vec<Row>]) -> Message {
        let (mut fields, mut wire) = (Vec::new(), Vec::new());
        if self.has("kind") {
            fields.extend(["apiVersion", "kind"].map(type_meta_field).map(|field| (0, field)));
        }
        collect(position, rows, &mut fields, &mut wire);
        fields.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        for (position, (tag, _)) in fields.iter().enumerate().filter(|(_, (tag, _))| *tag != 0) {
            wire.push((*tag, Wire::Field(position)));
        }
        wire.sort_by_key(|(tag, _)| *tag);
        let fields: Vec<Field> = fields.into_iter().map(|(_, field)| field).collect();
        Message {
            name: self.name().into(),
            form: if self.has("union") { Form::Union } else { Form::Object },
            kind: self.has("kind").then(|| self.group_version_kind()),
            atomic: self.has("atomic"),
            open: false,
            index: NameIndex::new(&fields),
            fields,
            wire,
        }
    }

    fn group_version_kind(&self) -> GroupVersionKind {
        let (group, version) = self.group_version.split_once('/').unwrap_or(("", self.group_version));
        let kind = self.words().next().unwrap_or_default();
        GroupVersionKind { group: group.into(), version: version.into(), kind: kind.into() }
    }
}

/// The JSON fields of a message with their tags: its own, and those of the messages it takes in, which have no tag of
/// their own here.
fn collect(position: usize, rows: &[Vec<Row>], fields: &mut Vec<(u32, Field)>, wire: &mut Vec<(u32, Wire)>) {
    for row in &rows[position] {
        match row.field.kind {
            Type::Message(id) if row.inline => {
                wire.push((row.tag, Wire::Inline(id)));
                let start = fields.len();
                collect(id.0 as usize, rows, fields, &mut Vec::new());
                fields[start..].iter_mut().for_each(|(tag, _)| *tag = 0);
            }
            _ => fields.push((row.tag, row.field.clone())),
        }
    }
}

/// One field's line.
struct Row {
    tag: u32,
    inline: bool,
    field: Field,
}

impl Row {
    fn read(text: &str, package: &str, ids: &HashMap<String, MessageId>) -> Row {
        let mut words = text.split(' ');
        let mut next = || words.next().expect("a field has a name, a tag and a type");
        let mut field = type_meta_field(next());
        let tag = next().parse().expect("a tag is a number");
        field.kind = read_type(next(), package, ids);
        let mut inline = false;
        for flag in words {
            match flag.split_once('=').unwrap_or((flag, "")) {
                ("required", _) => field.required = true,
                ("pointer", _) => field.pointer = true,
                ("always", _) => field.always = true,
                ("inline", _) => inline = true,
                ("list", list) => field.list = Some(read_list(list)),
                ("map", "atomic") => field.map = Some(MapType::Atomic),
                ("map", _) => field.map = Some(MapType::Granular),
                ("patch", strategy) => field.patch = read_strategy(strategy),
                ("key", key) => field.merge_key = Some(key.into()),
                ("default", default) => field.default = Some(default.into()),
                _ => panic!("table.txt has an unknown flag: {flag}"),
            }
        }
        Row { tag, inline, field }
    }
}

/// `apiVersion` or `kind`: an optional string, and nothing else to say.
fn type_meta_field(name: &str) -> Field {
    Field {
        name: name.into(),
        kind: Type::String,
        required: false,
        pointer: false,
        always: false,
        list: None,
        map: None,
        patch: PatchStrategy::default(),
        merge_key: None,
        default: None,
    }
}

fn read_type(word: &str, package: &str, ids: &HashMap<String, MessageId>) -> Type {
    if let Some(item) = word.strip_prefix("[]") {
        return Type::List(Box::new(read_type(item, package, ids)));
    }
    if let Some(value) = word.strip_prefix("map[]") {
        return Type::Map(Box::new(read_type(value, package, ids)));
    }
    match word {
        "string" => Type::String,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "bool" => Type::Bool,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "Quantity" => Type::Quantity,
        "IntOrString" => Type::IntOrString,
        "Time" => Type::Time,
        "MicroTime" => Type::MicroTime,
        "Duration" => Type::Duration,
        "FieldsV1" => Type::FieldsV1,
        "RawExtension" => Type::RawExtension,
        "JSON" => Type::Json,
        name => {
            let full = if name.contains('.') { name.to_owned() } else { format!("{package}.{name}") };
            Type::Message(*ids.get(&full).unwrap_or_else(|| panic!("table.txt has no message {full}")))
        }
    }
}

fn read_list(text: &str) -> ListType {
    match text.split_once(':') {
        Some((_, keys)) => ListType::Map(keys.split(',').map(Into::into).collect()),
        None if text == "set" => ListType::Set,
        None => ListType::Atomic,
    }
}

fn read_strategy(text: &str) -> PatchStrategy {
    let has = |wanted: &str| text.split(',').any(|word| word == wanted);
    PatchStrategy { merge: has("merge"), replace: has("replace"), retain_keys: has("retainKeys") }
}
