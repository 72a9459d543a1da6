//! OpenAPI v3 documents, one for each group and version, made from the kinds' declarations and the schema table; and
//! one document of version 2, made from all of them.
//!
//! Clients read them to validate, to explain, and to compute patches (`kubectl apply` takes its merge keys from
//! here), so names and extensions are upstream's. They hold no descriptions. A document is made when first asked for.

mod paths;
mod schemas;
#[cfg(test)]
mod tests;
mod version2;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::registry::Kinds;
use crate::resource::Kind;

/// The documents of a set of kinds.
#[derive(Default)]
pub struct Documents {
    /// By path below `/openapi/v3/`.
    documents: BTreeMap<String, (GroupVersion, Arc<Described>)>,
    version_2: OnceLock<Document>,
}

/// What a document describes, and the document once it is made.
struct Described {
    kinds: Vec<Arc<Kind>>,
    document: OnceLock<Document>,
}

/// What `/openapi/v3/<path>` answers with.
pub struct Document {
    /// The document.
    pub json: Vec<u8>,
    /// Of its content: hexadecimal digits. It is the `hash` of the document's address, and its entity tag.
    pub hash: String,
}

/// A group and one of its versions.
#[derive(Clone, Debug)]
pub(crate) struct GroupVersion {
    /// Empty for core.
    group: String,
    version: String,
}

impl Documents {
    /// The documents of these kinds; none is made yet.
    pub fn new(kinds: &Kinds) -> Documents {
        Documents::default().updated(kinds)
    }

    /// The documents of these kinds. Those that describe the same kinds as before are kept as they are.
    #[must_use]
    pub fn updated(&self, kinds: &Kinds) -> Documents {
        let mut documents = BTreeMap::new();
        for (group, versions) in kinds.groups() {
            for version in versions {
                let served = GroupVersion { group: group.to_owned(), version: version.to_owned() };
                let kinds: Vec<Arc<Kind>> =
                    kinds.of_version(group, version).into_iter().map(Arc::clone).collect();
                let known = self.documents.get(&served.root()).map(|(_, known)| known);
                let described = match known {
                    Some(known) if known.is_of(&kinds) => Arc::clone(known),
                    _ => Arc::new(Described { kinds, document: OnceLock::new() }),
                };
                documents.insert(served.root(), (served, described));
            }
        }
        Documents { documents, version_2: OnceLock::new() }
    }

    /// What `/openapi/v3` answers with: the address of every document. Makes them all, since addresses have hashes.
    pub fn index(&self) -> Vec<u8> {
        let mut paths = serde_json::Map::new();
        for path in self.documents.keys() {
            if let Some(document) = self.get(path) {
                let url = format!("/openapi/v3/{path}?hash={}", document.hash);
                paths.insert(path.clone(), json!({ "serverRelativeURL": url }));
            }
        }
        to_bytes(&json!({ "paths": paths }))
    }

    /// The document of a path below `/openapi/v3/`, such as `api/v1` or `apis/apps/v1`.
    pub fn get(&self, path: &str) -> Option<&Document> {
        let (served, described) = self.documents.get(path)?;
        Some(described.document.get_or_init(|| Document::new(document_json(&described.kinds, served))))
    }

    /// What `/openapi/v2` answers with: all documents as one, in the words of version 2. `server` is its version.
    pub fn version_2(&self, server: &str) -> &Document {
        self.version_2.get_or_init(|| {
            let mut builder = version2::Builder::default();
            for path in self.documents.keys() {
                let document = self.get(path).map(|document| serde_json::from_slice(&document.json));
                if let Some(Ok(document)) = document {
                    builder.add(&document);
                }
            }
            Document::new(to_bytes(&builder.finish(server)))
        })
    }
}

impl Described {
    fn is_of(&self, kinds: &[Arc<Kind>]) -> bool {
        self.kinds.len() == kinds.len() && self.kinds.iter().zip(kinds).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl Document {
    fn new(json: Vec<u8>) -> Document {
        let mut hash = String::new();
        for byte in Sha256::digest(&json).iter().take(16) {
            // Writing to a string cannot fail.
            let _ = write!(hash, "{byte:02X}");
        }
        Document { json, hash }
    }
}

impl GroupVersion {
    /// `api/v1`, `apis/apps/v1`: of the document, and with a slash before it of the resources.
    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    /// As operation ids spell it: `CoreV1`, `RbacAuthorizationV1`.
    fn camel_case(&self) -> String {
        let group = if self.group.is_empty() { "core" } else { self.group.trim_end_matches(".k8s.io") };
        group.split('.').chain([&*self.version]).map(capitalized).collect()
    }

    /// As tags spell it: `core_v1`, `rbacAuthorization_v1`.
    fn tag(&self) -> String {
        let group = if self.group.is_empty() { "core" } else { self.group.trim_end_matches(".k8s.io") };
        let (first, rest) = group.split_once('.').unwrap_or((group, ""));
        let rest: String = rest.split('.').map(capitalized).collect();
        format!("{first}{rest}_{}", self.version)
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn document_json(kinds: &[Arc<Kind>], served: &GroupVersion) -> Vec<u8> {
    let mut schemas = schemas::Schemas::new(served);
    let mut paths = serde_json::Map::new();
    for kind in kinds {
        paths::add_kind(&mut paths, &mut schemas, served, kind);
    }
    paths::add_discovery(&mut paths, &mut schemas, served);
    to_bytes(&json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {
            "schemas": schemas.into_json(),
            "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        },
    }))
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value is written to memory")
}
