//! A registered kind: its declaration and the functions generic code calls.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::{Declaration, Object, Resource, STORED_PREFIX, Scope, Split, Typed, join, locate, split};
use crate::decode::DecodeError;
use crate::decode::strict::{Findings, strict_check};
use crate::schema::{self, MessageRef};
use crate::status::{GroupKind, GroupResource, Status};
use crate::table::Column;

/// How the objects of a kind are read and served.
pub trait Codec: Send + Sync {
    /// Reads the JSON of an object as a client writes it.
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error>;

    /// Reads stored bytes.
    fn decode_stored(&self, stored: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        self.decode(stored)
    }

    /// For a kind that is another form of a stored one: the stored bytes in this kind's fields, again beginning
    /// with [`STORED_PREFIX`]. `None` when they are served as they are.
    fn served(&self, _stored: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// What only the codec of a custom kind knows.
    fn custom(&self) -> Option<&dyn CustomSchema> {
        None
    }
}

/// The schema of a custom kind, which no table has.
pub trait CustomSchema {
    /// The fields and how they merge.
    fn message(&self) -> MessageRef<'_>;
    /// Fields of a body that should not be there.
    fn findings(&self, json: &[u8]) -> Result<Findings, DecodeError>;
    /// The schema as OpenAPI documents hold it, without what all objects have.
    fn openapi(&self) -> serde_json::Value;
}

/// The codec of an upstream type.
struct Upstream<T>(PhantomData<fn() -> T>);

impl<T: Resource> Codec for Upstream<T> {
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        let object: T = serde_json::from_slice(json)?;
        Ok(Box::new(Typed(object)))
    }
}

/// How the head of a served object ends: its resourceVersion follows.
const VERSION_FIELD: &[u8] = br#""resourceVersion":""#;

/// How an item of a list of a built-in kind begins.
const ITEM_HEAD: &[u8] = br#"{"metadata":{"resourceVersion":""#;

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A kind as generic code sees it. Names and abilities are those of its [`Declaration`].
pub struct Kind {
    declaration: Declaration,
    columns: Vec<Column>,
    selectable: Vec<String>,
    api_version: String,
    head: Vec<u8>,
    root: String,
    is_view: bool,
    codec: Box<dyn Codec>,
    /// What the table of facts has; looked up when first asked for, since the table is read then.
    built_in: OnceLock<Option<MessageRef<'static>>>,
    serial: u64,
}

impl Deref for Kind {
    type Target = Declaration;

    fn deref(&self) -> &Declaration {
        &self.declaration
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version, self.kind)
    }
}

impl<'a> From<&'a Kind> for GroupResource<'a> {
    fn from(kind: &'a Kind) -> GroupResource<'a> {
        GroupResource { group: &kind.group, resource: &kind.plural }
    }
}

impl<'a> From<&'a Kind> for GroupKind<'a> {
    fn from(kind: &'a Kind) -> GroupKind<'a> {
        GroupKind { group: &kind.group, kind: &kind.kind }
    }
}

/// The two fields that say what a body is.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TypeMeta {
    api_version: String,
    kind: String,
}

impl Kind {
    /// The kind of an upstream type.
    pub fn of<T: Resource>() -> Kind {
        let selectable = T::SELECTABLE.iter().map(|label| (*label).to_owned()).collect();
        Kind::new(T::declaration(), T::columns(), selectable, Box::new(Upstream::<T>(PhantomData)))
    }

    /// A kind with a codec of its own, for objects that are no upstream type.
    pub fn new(
        declaration: Declaration,
        columns: Vec<Column>,
        selectable: Vec<String>,
        codec: Box<dyn Codec>,
    ) -> Kind {
        let api_version = match declaration.group.as_str() {
            "" => declaration.version.clone(),
            group => format!("{group}/{}", declaration.version),
        };
        let head = format!(
            r#"{{"kind":"{}","apiVersion":"{api_version}","metadata":{{"resourceVersion":""#,
            declaration.kind
        );
        let group = if declaration.group.is_empty() { "core" } else { declaration.group.as_str() };
        let root = format!("/registry/{group}/{}/", declaration.plural);
        Kind {
            declaration,
            columns,
            selectable,
            api_version,
            head: head.into_bytes(),
            root,
            is_view: false,
            codec,
            built_in: OnceLock::new(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// This kind as another form of the objects of `stored`.
    #[must_use]
    pub fn stored_as(mut self, stored: &Kind) -> Kind {
        self.root.clone_from(&stored.root);
        self.is_view = true;
        self
    }

    /// True when the objects are stored as those of another kind, where whoever counts or copies them finds them.
    pub fn is_view(&self) -> bool {
        self.is_view
    }

    /// True when the store holds objects under this kind's own name.
    pub fn is_stored(&self) -> bool {
        !self.is_review && !self.is_view()
    }

    /// Tells this kind from every other of the process, also from one of the same name before its schema changed.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The fields of the kind and how they merge.
    pub fn message(&self) -> Option<MessageRef<'_>> {
        self.codec.custom().map(CustomSchema::message).or_else(|| self.strategic())
    }

    /// The same for a strategic merge patch, which custom kinds do not take.
    pub fn strategic(&self) -> Option<MessageRef<'_>> {
        *self.built_in.get_or_init(|| match self.codec.custom() {
            None => schema::message(&self.group, &self.version, &self.kind),
            Some(_) => None,
        })
    }

    /// The schema of a custom kind as OpenAPI documents hold it; `None` for a built-in one.
    pub fn custom_openapi(&self) -> Option<serde_json::Value> {
        self.codec.custom().map(CustomSchema::openapi)
    }

    /// Fields of a body that should not be there; `None` when nothing is known of the kind's fields.
    ///
    /// # Errors
    /// The body is not JSON, or a field of a built-in kind has a value of a wrong type.
    pub fn findings(&self, json: &[u8]) -> Result<Option<Findings>, DecodeError> {
        match (self.codec.custom(), self.strategic()) {
            (Some(custom), _) => custom.findings(json).map(Some),
            (None, Some(message)) => strict_check(json, message).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// Columns of the server-made table.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether `label` may stand in a field selector.
    pub fn knows_field(&self, label: &str) -> bool {
        matches!(label, "metadata.name" | "metadata.namespace")
            || self.selectable.iter().any(|known| known == label)
    }

    /// True when objects live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Reads a request body: JSON, with or without `kind` and `apiVersion`. Unknown fields are dropped.
    ///
    /// A body that is another kind, is not JSON or holds a wrong type is a BadRequest that says where.
    pub fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, Status> {
        self.codec.decode(json).map_err(|error| self.explain(json, &error))
    }

    /// Reads a patched tree, as [`Kind::decode`] reads bytes.
    pub fn decode_value(&self, tree: &serde_json::Value) -> Result<Box<dyn Object>, Status> {
        self.decode(&serde_json::to_vec(tree).expect("a JSON tree can be written"))
    }

    /// Reads stored bytes; `revision` becomes the object's resourceVersion.
    ///
    /// An error is damage or a newer version's data, never a client's fault.
    pub fn decode_stored(&self, stored: &[u8], revision: u64) -> Result<Box<dyn Object>, serde_json::Error> {
        let mut object = self.codec.decode_stored(&split(stored).plain)?;
        object.meta_mut().resource_version = Some(revision.to_string());
        Ok(object)
    }

    fn explain(&self, json: &[u8], error: &serde_json::Error) -> Status {
        let found: TypeMeta = serde_json::from_slice(json).unwrap_or_default();
        if !found.api_version.is_empty() && found.api_version != self.api_version {
            return Status::bad_request(format!(
                "the API version in the data ({}) does not match the expected API version ({})",
                found.api_version, self.api_version
            ));
        }
        if !found.kind.is_empty() && found.kind != self.kind {
            return Status::bad_request(format!(
                "the kind in the data ({}) does not match the expected kind ({})",
                found.kind, self.kind
            ));
        }
        let text = error.to_string();
        let why = match (locate::path_of(json, error), text.rsplit_once(" at line ")) {
            // The path says where better than line and column do.
            (path, Some((why, _))) if !path.is_empty() => format!("{path}: {why}"),
            _ => text,
        };
        Status::bad_request(format!(
            r#"{0} in version "{1}" cannot be handled as a {0}: {why}"#,
            self.kind, self.version
        ))
    }

    /// The stored bytes as a client gets a single object: kind, apiVersion and resourceVersion spliced in.
    pub fn object_json(&self, stored: &[u8], revision: u64) -> Vec<u8> {
        let mut json = Vec::with_capacity(self.head.len() + stored.len() + 24);
        self.append_object(&mut json, stored, Some(revision));
        json
    }

    /// Appends the stored bytes as [`Kind::object_json`] makes them; without a resourceVersion for an object that
    /// has none, as in the answer to a dry run.
    pub fn append_object(&self, json: &mut Vec<u8>, stored: &[u8], revision: Option<u64>) {
        let served = self.served(stored);
        let stored = served.as_deref().unwrap_or(stored);
        match revision {
            Some(revision) => append(json, &self.head, stored, revision),
            None => {
                let head = self.head.strip_suffix(VERSION_FIELD).expect("the head was made to end so");
                json.extend_from_slice(head);
                json.extend_from_slice(&stored[STORED_PREFIX.len()..]);
            }
        }
    }

    /// Appends the stored bytes as an item of a list: resourceVersion spliced in, and as upstream kind and apiVersion
    /// in lists of custom kinds only.
    pub fn append_list_item(&self, list: &mut Vec<u8>, stored: &[u8], revision: u64) {
        let served = self.served(stored);
        let stored = served.as_deref().unwrap_or(stored);
        let head = if self.codec.custom().is_some() { self.head.as_slice() } else { ITEM_HEAD };
        append(list, head, stored, revision);
    }

    /// How the store keys of all objects begin.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The stored bytes in the fields of this kind, if they are not served as they are.
    pub fn served(&self, stored: &[u8]) -> Option<Vec<u8>> {
        if !self.is_view && self.codec.custom().is_none() {
            return None;
        }
        let Split { managed, plain } = split(stored);
        self.codec.served(&plain).map(|served| join(served, managed))
    }

    /// The store key of an object; `namespace` is ignored for cluster-scoped kinds.
    pub fn key(&self, namespace: &str, name: &str) -> Vec<u8> {
        let mut key = self.prefix(Some(namespace));
        key.extend_from_slice(name.as_bytes());
        key
    }

    /// The prefix of the keys of all objects, or of those of one namespace; ends with a slash.
    pub fn prefix(&self, namespace: Option<&str>) -> Vec<u8> {
        let mut prefix = self.root.clone();
        if let Some(namespace) = namespace.filter(|_| self.namespaced()) {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        prefix.into_bytes()
    }
}

fn append(json: &mut Vec<u8>, head: &[u8], stored: &[u8], revision: u64) {
    use std::io::Write;
    debug_assert!(stored.starts_with(STORED_PREFIX), "stored objects begin with their metadata");
    json.extend_from_slice(head);
    write!(json, "{revision}").expect("writing to memory cannot fail");
    json.extend_from_slice(b"\",");
    json.extend_from_slice(&stored[STORED_PREFIX.len()..]);
}
