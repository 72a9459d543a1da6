//! An object of a custom kind, and how its bytes are read.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde::de::Error as _;
use serde_json::{Map, Value, json};

use super::columns::PrinterColumn;
use super::path::Path as JsonPath;
use super::structural::Node;
use super::structural::check::Checker;
use super::structural::prune::{fill_fields, prune_fields};
use super::{cel, merge, publish};
use crate::decode::DecodeError;
use crate::decode::strict::{Finding, Findings, duplicate_check};
use crate::field_error::FieldErrors;
use crate::resource::{Codec, CustomSchema, Object, Target, encode_parts};
use crate::schema::{self, MessageRef, Schema};
use crate::table::{Cell, RowCondition};

/// A version of a custom kind, compiled.
pub(super) struct Version {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) root: Node,
    pub(super) columns: Vec<PrinterColumn>,
    pub(super) selectable: Vec<(String, JsonPath)>,
    pub(super) scale: Option<ScalePaths>,
    pub(super) has_status: bool,
    /// All objects were written under this very schema, so that what is stored is what is served.
    pub(super) is_plain: bool,
    pub(super) deprecation: Option<String>,
    /// The schema as it was declared, for those who ask what the fields are.
    pub(super) declared: Vec<u8>,
    pub(super) message: OnceLock<Schema>,
}

/// Where the scale subresource finds its numbers.
pub(super) struct ScalePaths {
    pub(super) replicas: JsonPath,
    pub(super) status_replicas: JsonPath,
    pub(super) selector: Option<JsonPath>,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.group, self.version, self.kind)
    }
}

/// An object of a custom kind.
#[derive(Clone, Debug)]
struct Custom {
    version: Arc<Version>,
    meta: ObjectMeta,
    /// Everything but `apiVersion`, `kind` and `metadata`.
    fields: Map<String, Value>,
}

impl Version {
    fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// Reads an object; what the schema does not know is dropped.
    fn read(self: &Arc<Self>, json: &[u8]) -> Result<Custom, serde_json::Error> {
        let mut custom = self.split(json)?;
        prune_fields(&mut custom.fields, &self.root, &mut |_| {});
        Ok(custom)
    }

    fn split(self: &Arc<Self>, json: &[u8]) -> Result<Custom, serde_json::Error> {
        let mut fields: Map<String, Value> = serde_json::from_slice(json)?;
        for (name, own) in [("apiVersion", self.api_version()), ("kind", self.kind.clone())] {
            match fields.remove(name) {
                None => {}
                Some(Value::String(found)) if found == own => {}
                Some(found) => {
                    return Err(serde_json::Error::custom(format!("{name}: {found} is not {own:?}")));
                }
            }
        }
        let meta = match fields.remove("metadata") {
            None | Some(Value::Null) => ObjectMeta::default(),
            Some(meta) => serde_json::from_value(meta)
                .map_err(|error| serde_json::Error::custom(format!("metadata: {error}")))?,
        };
        Ok(Custom { version: Arc::clone(self), meta, fields })
    }
}

/// The codec of a version.
pub(super) struct CustomCodec(pub(super) Arc<Version>);

impl Codec for CustomCodec {
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        Ok(Box::new(self.0.read(json)?))
    }

    fn decode_stored(&self, stored: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        let mut custom = self.0.split(stored)?;
        if !self.0.is_plain {
            prune_fields(&mut custom.fields, &self.0.root, &mut |_| {});
            fill_fields(&mut custom.fields, &self.0.root);
        }
        Ok(Box::new(custom))
    }

    fn served(&self, stored: &[u8]) -> Option<Vec<u8>> {
        if self.0.is_plain {
            return None;
        }
        // Bytes that are no object are served as they are: a client sees more than an error would tell.
        self.decode_stored(stored).ok().map(|object| object.to_stored())
    }

    fn custom(&self) -> Option<&dyn CustomSchema> {
        Some(&*self.0)
    }
}

impl CustomSchema for Version {
    fn message(&self) -> MessageRef<'_> {
        let name = publish::schema_name(&self.group, &self.version, &self.kind);
        merge::root(self.message.get_or_init(|| merge::schema(&name, &self.root)))
    }

    fn findings(&self, json: &[u8]) -> Result<Findings, DecodeError> {
        let mut findings = duplicate_check(json)?;
        let mut fields: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| DecodeError::Json(error.to_string()))?;
        let metadata = fields.get("metadata").and_then(Value::as_object);
        if let Some(known) = schema::built_in().messages().find(|own| own.name() == merge::OBJECT_META) {
            let unknown = metadata.into_iter().flatten().filter(|(name, _)| known.field(name).is_none());
            findings.fields.extend(unknown.map(|(name, _)| Finding::Unknown(format!("metadata.{name}"))));
        }
        prune_fields(&mut fields, &self.root, &mut |path| {
            findings.fields.push(Finding::Unknown(path.to_owned()))
        });
        findings.fields.truncate(FINDINGS_MAX);
        Ok(findings)
    }

    fn openapi(&self) -> Value {
        publish::schema(&self.declared)
    }
}

/// No more unknown fields than this are told of, as upstream.
const FINDINGS_MAX: usize = 100;

impl Custom {
    fn of(object: &dyn Object) -> &Custom {
        (object as &dyn Any).downcast_ref().expect("both objects of an update are of one kind")
    }

    /// The object as a tree, with of its metadata what schemas and rules may look at.
    fn tree(&self) -> Value {
        let mut tree = self.fields.clone();
        let mut metadata = Map::new();
        let names = [("name", &self.meta.name), ("generateName", &self.meta.generate_name)];
        metadata.extend(
            names.into_iter().filter_map(|(field, value)| Some((field.to_owned(), json!(value.as_ref()?)))),
        );
        tree.insert("apiVersion".to_owned(), self.version.api_version().into());
        tree.insert("kind".to_owned(), self.version.kind.clone().into());
        tree.insert("metadata".to_owned(), Value::Object(metadata));
        Value::Object(tree)
    }

    /// The same with all of its metadata, for columns.
    fn whole(&self) -> Value {
        let mut tree = self.fields.clone();
        tree.insert("metadata".to_owned(), serde_json::to_value(&self.meta).unwrap_or_default());
        Value::Object(tree)
    }

    fn check(&self, old: Option<&Custom>, errors: &mut FieldErrors) {
        let (object, old) = (self.tree(), old.map(Custom::tree));
        let before = errors.len();
        Checker::new(errors).root(&object, old.as_ref(), &self.version.root);
        if errors.len() == before {
            cel::check(&self.version.root, &object, old.as_ref(), errors);
        }
    }

    /// What its author wants: all fields but the status, where that is a part of its own.
    fn wanted(&self) -> impl Iterator<Item = (&String, &Value)> {
        let has_status = self.version.has_status;
        self.fields.iter().filter(move |(name, _)| !(has_status && *name == "status"))
    }

    fn put(&mut self, name: &str, value: Option<&Value>) {
        match value {
            Some(value) => self.fields.insert(name.to_owned(), value.clone()),
            None => self.fields.remove(name),
        };
    }
}

impl Object for Custom {
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn set_defaults(&mut self) {
        fill_fields(&mut self.fields, &self.version.root);
    }

    fn prepare_create(&mut self) {
        if self.version.has_status {
            self.fields.remove("status");
        }
    }

    fn prepare_update(&mut self, old: &dyn Object, target: Target) {
        let old = Custom::of(old);
        match target {
            Target::Status => {
                let status = self.fields.get("status").cloned();
                self.fields.clone_from(&old.fields);
                self.put("status", status.as_ref());
                let managed = self.meta.managed_fields.take();
                self.meta = ObjectMeta { managed_fields: managed, ..old.meta.clone() };
            }
            _ if self.version.has_status => self.put("status", old.fields.get("status")),
            _ => {}
        }
    }

    fn deletion_grace(&self, _requested: Option<i64>) -> i64 {
        0
    }

    fn begin_deletion(&mut self) {}

    fn holds_deletion(&self) -> bool {
        false
    }

    fn generation_moves(&self, old: &dyn Object) -> bool {
        !self.wanted().eq(Custom::of(old).wanted())
    }

    fn validate(&self, errors: &mut FieldErrors) {
        self.check(None, errors);
    }

    fn validate_update(&self, old: &dyn Object, target: Target, errors: &mut FieldErrors) {
        self.validate_change(old, target, errors);
    }

    fn validate_change(&self, old: &dyn Object, _target: Target, errors: &mut FieldErrors) {
        self.check(Some(Custom::of(old)), errors);
    }

    fn warnings(&self) -> Vec<String> {
        self.version.deprecation.iter().cloned().collect()
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let whole = self.whole();
        let name = Cell::from(self.meta.name.as_deref());
        std::iter::once(name).chain(self.version.columns.iter().map(|own| own.cell(&whole, now))).collect()
    }

    fn row_conditions(&self) -> Vec<RowCondition> {
        Vec::new()
    }

    fn field(&self, label: &str) -> Option<Cow<'_, str>> {
        match label {
            "metadata.name" => return Some(self.meta.name.as_deref().unwrap_or_default().into()),
            "metadata.namespace" => return Some(self.meta.namespace.as_deref().unwrap_or_default().into()),
            _ => {}
        }
        let (_, path) = self.version.selectable.iter().find(|(known, _)| known == label)?;
        match path.first_in(&self.fields)? {
            Value::String(text) => Some(text.into()),
            Value::Null => None,
            value => Some(value.to_string().into()),
        }
    }

    fn scale(&self) -> Option<Scale> {
        let paths = self.version.scale.as_ref()?;
        let number = |path: &JsonPath| {
            path.first_in(&self.fields).and_then(Value::as_i64).and_then(|own| i32::try_from(own).ok())
        };
        let selector = paths.selector.as_ref().and_then(|path| path.first_in(&self.fields)?.as_str());
        Some(Scale {
            metadata: ObjectMeta {
                name: self.meta.name.clone(),
                namespace: self.meta.namespace.clone(),
                uid: self.meta.uid.clone(),
                resource_version: self.meta.resource_version.clone(),
                creation_timestamp: self.meta.creation_timestamp.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(ScaleSpec { replicas: number(&paths.replicas) }),
            status: Some(ScaleStatus {
                replicas: number(&paths.status_replicas).unwrap_or(0),
                selector: selector.map(str::to_owned),
            }),
        })
    }

    fn set_replicas(&mut self, replicas: i32) {
        if let Some(paths) = &self.version.scale {
            paths.replicas.set(&mut self.fields, replicas.into());
        }
    }

    fn to_stored(&self) -> Vec<u8> {
        encode_parts(&self.meta, &self.fields)
    }

    fn boxed_clone(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}
