//! Which objects a list or watch is about: label and field selectors.
//!
//! Labels are read from the metadata alone, names and namespaces from the key; only other fields need the object
//! decoded.

use std::sync::Arc;

use isopod_raft_store::{Entry, KeyRange};
use isopod_spec::resource::{Kind, Object};
use isopod_spec::selector::{FieldSelector, Selector};
use isopod_spec::status::Status;

use super::query::Query;
use crate::objects::stored::MetadataView;

/// Longer selectors are refused unread.
const SELECTOR_BYTES_MAX: usize = 64 << 10;

/// The selectors of a request.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    labels: Selector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the selectors; 400 when they are malformed or name a field the kind does not know.
    pub(crate) fn parse(kind: &Kind, query: &Query) -> Result<Selection, Status> {
        let text = |name: &str| match query.get(name).unwrap_or_default() {
            text if text.len() > SELECTOR_BYTES_MAX => {
                Err(Status::bad_request(format!("the {name} is too long")))
            }
            text => Ok(text),
        };
        let labels = Selector::parse(text("labelSelector")?)?;
        let fields = FieldSelector::parse(text("fieldSelector")?, kind)?;
        Ok(Selection { labels, fields })
    }

    /// Whether nothing is left out.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The keys among which all selected objects are.
    pub(crate) fn range(&self, kind: &Arc<Kind>, namespace: Option<&str>) -> KeyRange {
        let namespace = namespace.or_else(|| self.fields.exact("metadata.namespace"));
        match (self.fields.exact("metadata.name"), namespace) {
            (Some(name), Some(namespace)) => KeyRange::key(kind.key(namespace, name)),
            (Some(name), None) if !kind.namespaced() => KeyRange::key(kind.key("", name)),
            _ => KeyRange::prefix(kind.prefix(namespace)),
        }
    }

    /// Whether this object is selected; `decode` is asked only if its fields matter.
    pub(crate) fn matches<O: AsRef<dyn Object>>(
        &self,
        entry: &Entry,
        decode: impl FnOnce() -> Result<O, Status>,
    ) -> Result<bool, Status> {
        if !self.labels.is_everything() {
            let labels = MetadataView::of(&entry.value).labels;
            if !self.labels.matches(Some(&labels)) {
                return Ok(false);
            }
        }
        Ok(self.fields.is_everything() || self.fields.matches(decode()?.as_ref()))
    }
}
