//! What a kind is: its names, rules and columns, declared once, and the erased form generic code works with.
//!
//! A built-in kind is an upstream type that implements [`Resource`], in one file of this crate. Generic code (the
//! API's verbs, controllers' caches, the command line) sees a [`Kind`] and a `Box<dyn` [`Object`]`>` and asks
//! them everything, so that a new kind touches nothing but its file and one line of [`crate::registry`].
//!
//! The way of a write: [`Kind::decode`] → [`write::prepare_create`] or [`write::prepare_update`] → admission →
//! [`write::validate_create`] or [`write::validate_update`] → [`Object::to_stored`] → the store.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::field_error::FieldErrors;
use crate::table::{Cell, Column, RowCondition, age};

mod declaration;
mod kind;
mod locate;
mod stored;
pub mod write;

pub use declaration::{Declaration, KnownScope, NameRule, Scope, Subresource, VERBS};
pub use kind::{Codec, CustomSchema, Kind};
pub use stored::{STORED_PREFIX, Split, join, split};
pub(crate) use stored::{encode as encode_stored, encode_parts};

/// Which part of an object an update writes; everything else is kept as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The object itself, without its status where that is a subresource.
    Main,
    /// `/status`.
    Status,
    /// `/scale`: the number of replicas.
    Scale,
    /// `/binding`: the scheduler's decision.
    Binding,
    /// `/finalize`: `spec.finalizers` of a namespace.
    Finalize,
}

/// A kind of object: the upstream type and every rule about it. All functions are pure.
pub trait Resource:
    k8s_openapi::ListableResource
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + fmt::Debug
    + PartialEq
    + Send
    + Sync
    + 'static
{
    /// Names and abilities; called once, when the registry is made.
    fn declaration() -> Declaration;

    /// Field selector labels besides `metadata.name` and `metadata.namespace`; [`Resource::field`] knows each.
    const SELECTABLE: &'static [&'static str] = &[];

    /// Fills what upstream fills when absent. Idempotent; what it fills is stored and returned.
    fn set_defaults(&mut self) {}

    /// Before a create: drops or sets what a client may not (status, …).
    fn prepare_create(&mut self) {}

    /// Before an update through `target`: takes from `old` what this request may not change.
    fn prepare_update(&mut self, _old: &Self, _target: Target) {}

    /// The seconds of grace a DELETE gives, from what the request asks for; kinds with `graceful_delete` only.
    fn deletion_grace(&self, _requested: Option<i64>) -> i64 {
        0
    }

    /// When a deletion begins that something holds: says so in the object itself, beside `deletionTimestamp`.
    fn begin_deletion(&mut self) {}

    /// Whether something besides `metadata.finalizers` holds an object whose deletion has begun.
    fn holds_deletion(&self) -> bool {
        false
    }

    /// Whether `metadata.generation` moves with this change. Only asked of kinds that have a generation.
    fn generation_moves(&self, _old: &Self) -> bool {
        false
    }

    /// Checks everything but metadata, for a create and for an update of [`Target::Main`].
    fn validate(&self, _errors: &mut FieldErrors) {}

    /// Checks the step from `old`; runs after [`Resource::validate`] for [`Target::Main`], alone for the others.
    fn validate_update(&self, _old: &Self, _target: Target, _errors: &mut FieldErrors) {}

    /// Texts for the client about deprecated, risky or ineffective fields.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Columns of the server-made table, in order. The default is name and age.
    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::AGE]
    }

    /// One cell per column.
    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let meta = self.metadata();
        vec![Cell::from(meta.name.as_deref()), Cell::from(age(meta.creation_timestamp.as_ref(), now))]
    }

    /// Conditions of the row, by which clients hide or grey it.
    fn row_conditions(&self) -> Vec<RowCondition> {
        Vec::new()
    }

    /// The value of a label of [`Resource::SELECTABLE`]; empty when the object has none.
    fn field(&self, _label: &str) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    /// The scale subresource, where declared.
    fn scale(&self) -> Option<Scale> {
        None
    }

    /// Sets the number of replicas through the scale subresource.
    fn set_replicas(&mut self, _replicas: i32) {}
}

/// A decoded object of any kind. Built-in kinds are [`Typed`]; custom resources are another implementation.
///
/// `old` arguments are always of the same kind as `self`.
pub trait Object: Any + fmt::Debug + Send + Sync {
    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The object's metadata, to change it.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// See [`Resource::set_defaults`].
    fn set_defaults(&mut self);
    /// See [`Resource::prepare_create`].
    fn prepare_create(&mut self);
    /// See [`Resource::prepare_update`].
    fn prepare_update(&mut self, old: &dyn Object, target: Target);
    /// See [`Resource::deletion_grace`].
    fn deletion_grace(&self, requested: Option<i64>) -> i64;
    /// See [`Resource::begin_deletion`].
    fn begin_deletion(&mut self);
    /// See [`Resource::holds_deletion`].
    fn holds_deletion(&self) -> bool;
    /// See [`Resource::generation_moves`].
    fn generation_moves(&self, old: &dyn Object) -> bool;
    /// See [`Resource::validate`].
    fn validate(&self, errors: &mut FieldErrors);
    /// See [`Resource::validate_update`].
    fn validate_update(&self, old: &dyn Object, target: Target, errors: &mut FieldErrors);
    /// Checks a change of what `target` names, from `old`.
    fn validate_change(&self, old: &dyn Object, target: Target, errors: &mut FieldErrors) {
        if target == Target::Main {
            self.validate(errors);
        }
        self.validate_update(old, target, errors);
    }
    /// See [`Resource::warnings`].
    fn warnings(&self) -> Vec<String>;
    /// See [`Resource::cells`].
    fn cells(&self, now: Timestamp) -> Vec<Cell>;
    /// See [`Resource::row_conditions`].
    fn row_conditions(&self) -> Vec<RowCondition>;
    /// The value of a field selector label that [`Kind::knows_field`]; `None` when the object has none.
    fn field(&self, label: &str) -> Option<Cow<'_, str>>;
    /// See [`Resource::scale`].
    fn scale(&self) -> Option<Scale>;
    /// See [`Resource::set_replicas`].
    fn set_replicas(&mut self, replicas: i32);
    /// The bytes the store keeps: JSON without `kind`, `apiVersion` and `metadata.resourceVersion`, beginning
    /// with [`STORED_PREFIX`]. Equal objects have equal bytes.
    fn to_stored(&self) -> Vec<u8>;
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Object>;
}

impl Clone for Box<dyn Object> {
    fn clone(&self) -> Box<dyn Object> {
        self.boxed_clone()
    }
}

impl dyn Object {
    /// The upstream type, if the object is of that built-in kind.
    pub fn get<T: Resource>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref::<Typed<T>>().map(|typed| &typed.0)
    }

    /// The upstream type, to change it.
    pub fn get_mut<T: Resource>(&mut self) -> Option<&mut T> {
        (self as &mut dyn Any).downcast_mut::<Typed<T>>().map(|typed| &mut typed.0)
    }

    /// Takes the upstream type out, if the object is of that built-in kind.
    pub fn take<T: Resource>(self: Box<Self>) -> Option<T> {
        (self as Box<dyn Any>).downcast::<Typed<T>>().ok().map(|typed| typed.0)
    }

    /// The object's name; empty while it has none.
    pub fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// The object's namespace; empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }
}

/// An object of a built-in kind.
#[derive(Clone, Debug)]
pub struct Typed<T>(pub T);

impl<T: Resource> Typed<T> {
    fn same_kind(object: &dyn Object) -> &T {
        object.get::<T>().expect("both objects of an update are of one kind")
    }
}

impl<T: Resource> Object for Typed<T> {
    fn meta(&self) -> &ObjectMeta {
        self.0.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.metadata_mut()
    }

    fn set_defaults(&mut self) {
        self.0.set_defaults();
    }

    fn prepare_create(&mut self) {
        self.0.prepare_create();
    }

    fn prepare_update(&mut self, old: &dyn Object, target: Target) {
        self.0.prepare_update(Self::same_kind(old), target);
    }

    fn deletion_grace(&self, requested: Option<i64>) -> i64 {
        self.0.deletion_grace(requested)
    }

    fn begin_deletion(&mut self) {
        self.0.begin_deletion();
    }

    fn holds_deletion(&self) -> bool {
        self.0.holds_deletion()
    }

    fn generation_moves(&self, old: &dyn Object) -> bool {
        self.0.generation_moves(Self::same_kind(old))
    }

    fn validate(&self, errors: &mut FieldErrors) {
        self.0.validate(errors);
    }

    fn validate_update(&self, old: &dyn Object, target: Target, errors: &mut FieldErrors) {
        self.0.validate_update(Self::same_kind(old), target, errors);
    }

    fn warnings(&self) -> Vec<String> {
        self.0.warnings()
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        self.0.cells(now)
    }

    fn row_conditions(&self) -> Vec<RowCondition> {
        self.0.row_conditions()
    }

    fn field(&self, label: &str) -> Option<Cow<'_, str>> {
        match label {
            "metadata.name" => Some(self.0.metadata().name.as_deref().unwrap_or_default().into()),
            "metadata.namespace" => Some(self.0.metadata().namespace.as_deref().unwrap_or_default().into()),
            label => Some(self.0.field(label)),
        }
    }

    fn scale(&self) -> Option<Scale> {
        self.0.scale()
    }

    fn set_replicas(&mut self, replicas: i32) {
        self.0.set_replicas(replicas);
    }

    fn to_stored(&self) -> Vec<u8> {
        stored::encode(&self.0)
    }

    fn boxed_clone(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests;
