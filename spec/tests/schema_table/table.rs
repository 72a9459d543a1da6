//! Puts the sources' facts together and writes them as the table's text, whose form `src/schema/table.rs` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::declared::Declared;
use crate::json::{Type, Types};
use crate::protobuf::{self, Package, Shape};

/// Messages whose JSON is not an object of their fields, and the table's word for each.
const SPECIAL: [(&str, &str); 9] = [
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "Quantity"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "IntOrString"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "Time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "MicroTime"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "Duration"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "FieldsV1"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "RawExtension"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.Json", "JSON"),
    // Only ever sent by a server, in JSON; on the wire it would be a message around the list.
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Verbs", "[]string"),
];

/// A message as the table shows it.
#[derive(Default)]
struct Message {
    package: String,
    kind: bool,
    atomic: bool,
    union: bool,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    tag: u32,
    list: &'static str,
    /// A scalar's word, or a message's full name.
    kind: String,
    flags: Vec<String>,
    inline: bool,
}

/// The table's text.
pub(crate) fn render(packages: Vec<Package>, types: &Types, declared: Declared) -> String {
    let order: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
    let mut messages = BTreeMap::new();
    for package in packages {
        for message in &package.messages {
            let built = build(&package.name, message, types, &declared);
            messages.insert(upstream_name(types, &format!("{}.{}", package.name, message.name)), built);
        }
    }
    add_declared(&mut messages, types, &declared);
    require(&mut messages, types, &declared);
    let reached = reachable(&messages);
    messages.retain(|name, _| reached.contains(name));
    check_complete(&messages, types, &declared);
    let mut text = "# Made by tests/schema_table; see src/schema/table.rs for the form.\n".to_owned();
    for package in order {
        let group = group(types, &declared, &package);
        writeln!(text, "package {package} {group}").unwrap();
        for (name, message) in messages.iter().filter(|(_, message)| message.package == package) {
            write_message(&mut text, name, message);
        }
    }
    text
}

fn build(package: &str, message: &protobuf::Message, types: &Types, declared: &Declared) -> Message {
    let name = upstream_name(types, &format!("{package}.{}", message.name));
    let json = types.get(&name);
    let own_kind = message.fields.iter().any(|field| field.ident == "kind");
    let is_list = message.name.ends_with("List") && message.fields.iter().any(|field| field.ident == "items");
    let mut built = Message {
        package: package.to_owned(),
        kind: is_list || declared.kinds.contains(&name) || !own_kind && json.is_some_and(Type::has_type_meta),
        atomic: message.markers.iter().any(|marker| marker == "structType=atomic"),
        union: declared.unions.contains(&name),
        rows: Vec::new(),
    };
    for field in &message.fields {
        let row = build_row(&name, field, json, types, declared);
        if !declared.dropped.contains(&(name.clone(), row.name.clone())) {
            built.rows.push(row);
        }
    }
    built
}

fn build_row(
    message: &str,
    field: &protobuf::Field,
    json: Option<&Type>,
    types: &Types,
    declared: &Declared,
) -> Row {
    let known = json.and_then(|json| json.name_like(&field.ident));
    let guess = || types.only_name(&field.ident).map_or_else(|| camel(&field.ident), str::to_owned);
    let mut name = known.map_or_else(guess, str::to_owned);
    if let Some(renamed) = declared.renamed.get(&(message.to_owned(), name.clone())) {
        name.clone_from(renamed);
    }
    let special = SPECIAL.iter().find(|(special, _)| *special == field.kind).map(|(_, word)| *word);
    let extra_values = field.kind.ends_with(".ExtraValue").then_some("[]string");
    let is_message = field.kind.starts_with("io.k8s.");
    let described = json.is_some_and(|json| !json.fields.is_empty());
    let kind = special.or(extra_values).map_or_else(|| upstream_name(types, &field.kind), str::to_owned);
    let mut flags = markers(&field.markers);
    if declared.pointers.contains(&(message.to_owned(), name.clone())) {
        flags.push("pointer".to_owned());
    }
    Row {
        name,
        tag: if special == Some("[]string") { 0 } else { field.tag },
        list: match field.shape {
            Shape::One => "",
            Shape::List => "[]",
            Shape::Map => "map[]",
        },
        kind,
        flags,
        inline: is_message && described && known.is_none() && field.shape == Shape::One,
    }
}

/// The table's flags for upstream's markers.
fn markers(markers: &[String]) -> Vec<String> {
    let values = |wanted: &str| -> Vec<&str> {
        let pairs = markers.iter().filter_map(|marker| marker.split_once('='));
        pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value.trim()).collect()
    };
    let mut flags = Vec::new();
    if let [list_type, ..] = values("listType")[..] {
        let keys = values("listMapKey").join(",");
        let keys = if keys.is_empty() { keys } else { format!(":{keys}") };
        flags.push(format!("list={list_type}{keys}"));
    }
    if let [map_type, ..] = [values("mapType"), values("structType")].concat()[..] {
        flags.push(format!("map={map_type}"));
    }
    if let [strategy, ..] = values("patchStrategy")[..] {
        flags.push(format!("patch={strategy}"));
    }
    if let [key, ..] = values("patchMergeKey")[..] {
        flags.push(format!("key={key}"));
    }
    if let [default, ..] = values("default")[..] {
        let constant = match default {
            "ref(AzureDataDiskCachingReadWrite)" => "\"ReadWrite\"",
            "ref(AzureSharedBlobDisk)" => "\"Shared\"",
            constant => constant,
        };
        flags.push(format!("default={constant}"));
    }
    flags
}

fn add_declared(messages: &mut BTreeMap<String, Message>, types: &Types, declared: &Declared) {
    for name in &declared.messages {
        let package = name.rsplit_once('.').unwrap().0.to_owned();
        let kind = name.ends_with("List") || types.get(name).is_some_and(Type::has_type_meta);
        messages.insert(name.clone(), Message { package, kind, ..Message::default() });
    }
    for (message, text) in &declared.fields {
        let mut words = text.split(' ');
        let mut next = || words.next().unwrap().to_owned();
        let (name, tag, mut kind) = (next(), next().parse().unwrap(), next());
        let list = ["map[]", "[]"].into_iter().find(|list| kind.starts_with(list)).unwrap_or_default();
        kind = kind[list.len()..].to_owned();
        let built =
            messages.get_mut(message).unwrap_or_else(|| panic!("declared field of unknown {message}"));
        let same_package = format!("{}.{kind}", built.package);
        if types.get(&same_package).is_some() {
            kind = same_package;
        }
        let mut flags: Vec<String> = words.map(str::to_owned).collect();
        if declared.pointers.contains(&(message.clone(), name.clone())) {
            flags.push("pointer".to_owned());
        }
        built.rows.push(Row { name, tag, list, kind, flags, inline: false });
    }
}

/// Marks required fields, and those that are written even when zero. A message that others only take in has the
/// required fields of its takers.
fn require(messages: &mut BTreeMap<String, Message>, types: &Types, declared: &Declared) {
    let mut required: BTreeSet<(String, String)> = declared.required.iter().cloned().collect();
    for (name, message) in &*messages {
        let wanted = types.get(name).map(|json| json.required.clone()).unwrap_or_default();
        // k8s-openapi wants `metadata` of every kind; upstream does not.
        for field in wanted.into_iter().filter(|field| !(message.kind && field == "metadata")) {
            for inlined in message.rows.iter().filter(|row| row.inline) {
                required.insert((inlined.kind.clone(), field.clone()));
            }
            required.insert((name.clone(), field));
        }
        if message.kind && name.ends_with("List") {
            required.insert((name.clone(), "items".to_owned()));
        }
    }
    for (name, message) in messages {
        for row in &mut message.rows {
            let place = (name.clone(), row.name.clone());
            let required = required.contains(&place) && !declared.optional.contains(&place);
            let scalar =
                row.list.is_empty() && ["string", "int32", "int64", "bool", "double"].contains(&&*row.kind);
            let plain = scalar && !declared.pointers.contains(&place) && !declared.omitted.contains(&place);
            if required && plain || declared.always.contains(&place) {
                row.flags.insert(0, "always".to_owned());
            }
            if required {
                row.flags.insert(0, "required".to_owned());
            }
        }
    }
}

/// Every JSON field has a tag, and every declared field exists.
fn check_complete(messages: &BTreeMap<String, Message>, types: &Types, declared: &Declared) {
    let mut missing = Vec::new();
    for (name, message) in messages {
        let mut names: BTreeSet<&str> = message.rows.iter().map(|row| row.name.as_str()).collect();
        let mut inlined: Vec<&Row> = message.rows.iter().filter(|row| row.inline).collect();
        while let Some(row) = inlined.pop() {
            names.extend(messages[&row.kind].rows.iter().map(|row| row.name.as_str()));
            inlined.extend(messages[&row.kind].rows.iter().filter(|row| row.inline));
        }
        let fields = types.get(name).map(|json| json.fields.as_slice()).unwrap_or_default();
        if message.kind {
            names.extend(["kind", "apiVersion"]);
        }
        let unknown = |field: &&String| !names.contains(field.as_str());
        missing.extend(fields.iter().filter(unknown).map(|field| format!("{name} {field}")));
    }
    let Declared { required, optional, always, omitted, pointers, .. } = declared;
    for (message, field) in [required, optional, always, omitted, pointers].into_iter().flatten() {
        if !messages.get(message).is_some_and(|found| found.rows.iter().any(|row| row.name == *field)) {
            missing.push(format!("{message} {field}, which declared.txt names"));
        }
    }
    assert!(missing.is_empty(), "no tag known for, declare it: {missing:#?}");
}

/// The messages that can be part of some kind.
fn reachable(messages: &BTreeMap<String, Message>) -> BTreeSet<String> {
    let mut waiting: Vec<&String> = messages.iter().filter(|(_, m)| m.kind).map(|(name, _)| name).collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if reached.insert(name.clone()) {
            let kinds = messages[name].rows.iter().map(|row| &row.kind);
            waiting.extend(kinds.filter(|kind| kind.starts_with("io.k8s.")));
        }
    }
    reached
}

fn write_message(text: &mut String, name: &str, message: &Message) {
    text.push_str(name.strip_prefix(&message.package).unwrap().trim_start_matches('.'));
    for (flag, set) in [("kind", message.kind), ("atomic", message.atomic), ("union", message.union)] {
        if set {
            write!(text, " {flag}").unwrap();
        }
    }
    text.push('\n');
    for row in &message.rows {
        let kind = match row.kind.rsplit_once('.') {
            Some((package, kind)) if package == message.package => kind,
            _ => &row.kind,
        };
        write!(text, " {} {} {}{kind}", row.name, row.tag, row.list).unwrap();
        for flag in &row.flags {
            write!(text, " {flag}").unwrap();
        }
        text.push_str(if row.inline { " inline\n" } else { "\n" });
    }
}

fn group(types: &Types, declared: &Declared, package: &str) -> String {
    let group = declared.groups.get(package).cloned().or_else(|| types.group_of(package));
    let group = group.unwrap_or_else(|| panic!("declare the group of {package}"));
    let version = package.rsplit('.').next().unwrap();
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The name with upstream's capitals, where k8s-openapi has the type.
fn upstream_name(types: &Types, name: &str) -> String {
    types.get(name).map_or_else(|| name.to_owned(), |json| json.name.clone())
}

fn camel(ident: &str) -> String {
    let mut words = ident.split('_');
    let mut name = words.next().unwrap().to_owned();
    for word in words {
        name.push_str(&word[..1].to_uppercase());
        name.push_str(&word[1..]);
    }
    name
}
