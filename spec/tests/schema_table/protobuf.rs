//! Reads the k8s-pb crate's generated structs: wire tags, types and upstream's `+marker` comments.

use std::path::Path;

/// The API packages the table covers, as folders of the crate. Alpha, beta and superseded versions are left out.
const PACKAGES: [&str; 25] = [
    "apimachinery/pkg/apis/meta/v1",
    "api/core/v1",
    "api/admission/v1",
    "api/admissionregistration/v1",
    "api/apps/v1",
    "api/authentication/v1",
    "api/authorization/v1",
    "api/autoscaling/v1",
    "api/autoscaling/v2",
    "api/batch/v1",
    "api/certificates/v1",
    "api/coordination/v1",
    "api/discovery/v1",
    "api/events/v1",
    "api/flowcontrol/v1",
    "api/networking/v1",
    "api/node/v1",
    "api/policy/v1",
    "api/rbac/v1",
    "api/resource/v1",
    "api/scheduling/v1",
    "api/storage/v1",
    "apiextensions_apiserver/pkg/apis/apiextensions/v1",
    "kube_aggregator/pkg/apis/apiregistration/v1",
    "metrics/pkg/apis/metrics/v1beta1",
];

/// One protobuf package and its messages.
pub(crate) struct Package {
    /// As upstream writes it: `io.k8s.api.core.v1`.
    pub name: String,
    pub messages: Vec<Message>,
}

pub(crate) struct Message {
    /// The Rust name, whose capitals differ from upstream's (`HttpGetAction`).
    pub name: String,
    pub markers: Vec<String>,
    pub fields: Vec<Field>,
}

pub(crate) struct Field {
    /// The Rust name in snake case.
    pub ident: String,
    pub tag: u32,
    pub shape: Shape,
    /// A scalar's protobuf word, or the full name of a message.
    pub kind: String,
    pub markers: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    Map,
}

/// Reads all packages below the crate's `src` folder.
pub(crate) fn read(src: &Path) -> Vec<Package> {
    PACKAGES.iter().map(|folder| read_package(src, folder)).collect()
}

fn read_package(src: &Path, folder: &str) -> Package {
    let text = std::fs::read_to_string(src.join(folder).join("mod.rs")).unwrap();
    let path: Vec<&str> = folder.split('/').collect();
    let mut package = Package { name: upstream_package(&path), messages: Vec::new() };
    let (mut markers, mut attribute, mut open) = (Vec::new(), String::new(), false);
    for line in statements(&text) {
        if let Some(comment) = line.strip_prefix("///") {
            markers.extend(comment.trim().strip_prefix('+').map(str::to_owned));
        } else if line.starts_with("#[prost(") {
            attribute = line;
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            let (name, body) = rest.split_once(' ').unwrap();
            open = body == "{";
            let markers = std::mem::take(&mut markers);
            package.messages.push(Message { name: name.to_owned(), markers, fields: Vec::new() });
        } else if let (true, Some(rest)) = (open, line.strip_prefix("pub ")) {
            let field = read_field(&path, &attribute, rest, std::mem::take(&mut markers));
            package.messages.last_mut().unwrap().fields.push(field);
        } else if !line.starts_with("#[") {
            open = open && line != "}";
            markers.clear();
        }
    }
    package
}

/// Lines, with attributes and fields that were broken over several lines put together again.
fn statements(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut pending = String::new();
    for line in text.lines() {
        if pending.is_empty() && line.trim().starts_with("///") {
            found.push(line.trim().to_owned());
            continue;
        }
        pending.push_str(line.trim());
        let count = |c| pending.matches(c).count();
        let unfinished = count('(') > count(')') || pending.starts_with("pub ") && count('<') > count('>');
        if !unfinished && !pending.ends_with(':') {
            found.push(std::mem::take(&mut pending));
        }
    }
    found
}

fn read_field(path: &[&str], attribute: &str, rest: &str, markers: Vec<String>) -> Field {
    let (ident, rust_type) = rest.split_once(':').unwrap();
    let inside = attribute.strip_prefix("#[prost(").unwrap().split(',').next().unwrap();
    let tag = attribute.rsplit('"').nth(1).unwrap().parse().unwrap();
    let mut shape = if attribute.contains("repeated") { Shape::List } else { Shape::One };
    let mut word = inside.split([' ', '=']).next().unwrap().to_owned();
    if word == "btree_map" {
        shape = Shape::Map;
        word = attribute.split('"').nth(1).unwrap().split(',').nth(1).unwrap().trim().to_owned();
    }
    let kind = if word == "message" { message_name(path, rust_type) } else { word };
    Field { ident: ident.trim_start_matches("r#").to_owned(), tag, shape, kind, markers }
}

/// The full upstream name of the innermost message in a field's Rust type.
fn message_name(path: &[&str], rust_type: &str) -> String {
    let inner = rust_type.rsplit(['<', ' ']).next().unwrap().trim_end_matches([',', '>']);
    let inner = if rust_type.contains("BTreeMap") {
        let values = rust_type.split("::string::String,").nth(1).unwrap();
        values.trim().trim_end_matches([',', '>'])
    } else {
        inner
    };
    let mut module = path.to_vec();
    let mut segments: Vec<&str> = inner.split("::").collect();
    let name = segments.pop().unwrap();
    for segment in segments {
        if segment == "super" {
            module.pop();
        } else {
            module.push(segment);
        }
    }
    format!("{}.{name}", upstream_package(&module))
}

fn upstream_package(path: &[&str]) -> String {
    format!("io.k8s.{}", path.join(".").replace('_', "-"))
}
