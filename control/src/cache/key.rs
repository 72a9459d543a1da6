//! The name of an object within its kind.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// `namespace/name`, or `name` for a cluster-scoped object. Cloning costs a pointer; keys of one namespace are
/// neighbours in order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// The key of an object; `namespace` is empty for a cluster-scoped one.
    pub(crate) fn new(namespace: &str, name: &str) -> ObjectKey {
        if namespace.is_empty() {
            ObjectKey(name.into())
        } else {
            ObjectKey(format!("{namespace}/{name}").into())
        }
    }

    /// The key of the object with this metadata.
    pub(crate) fn of(meta: &ObjectMeta) -> ObjectKey {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        ObjectKey::new(&part(&meta.namespace), &part(&meta.name))
    }

    /// From the rest of a store key after its kind's prefix, which has the same form.
    pub(crate) fn from_store(rest: &[u8]) -> Option<ObjectKey> {
        std::str::from_utf8(rest).ok().map(|text| ObjectKey(text.into()))
    }

    /// The namespace; empty for a cluster-scoped object.
    pub(crate) fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl Borrow<str> for ObjectKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
