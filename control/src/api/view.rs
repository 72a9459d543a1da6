//! How stored objects are shown: as they are, as rows of a Table, or as metadata alone; one by one, in a list
//! and in watch events.
//!
//! Objects and metadata are spliced from the stored bytes. Only a Table's cells need the object decoded.

use std::io::Write as _;
use std::sync::Arc;

use isopod_raft_store::Revision;
use isopod_spec::resource::{Kind, Object};
use isopod_spec::status::Status;
use k8s_openapi::jiff::Timestamp;

use super::negotiate::{Form, IncludeObject};
use crate::objects::{corrupt, stored};

/// A kind's objects in one form.
#[derive(Clone)]
pub(crate) struct View {
    kind: Arc<Kind>,
    form: Form,
    include: IncludeObject,
}

/// A stored object to be shown.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    /// Its stored form.
    pub(crate) value: &'a [u8],
    /// Its revision; absent for an object that a dry run would have created.
    pub(crate) revision: Option<Revision>,
    /// The same, if somebody has decoded it already.
    pub(crate) object: Option<&'a dyn Object>,
}

/// What stands at the head of a list besides its items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListHead {
    /// Revision of the listed state.
    pub(crate) revision: Revision,
    /// Token of the next page.
    pub(crate) token: Option<String>,
    /// How many objects follow the page, when known.
    pub(crate) remaining: Option<usize>,
}

impl View {
    /// Objects of `kind` in a form.
    pub(crate) fn new(kind: Arc<Kind>, form: Form, include: IncludeObject) -> View {
        View { kind, form, include }
    }

    /// The kind shown.
    pub(crate) fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// One object as a whole answer. `revision` is absent for an object that a dry run would have created.
    pub(crate) fn single(&self, value: &[u8], revision: Option<Revision>) -> Result<Vec<u8>, Status> {
        let mut out = Vec::with_capacity(value.len() + 256);
        let item = Item { value, revision, object: None };
        self.write_single(&mut out, item, Timestamp::now(), Columns::Shown)?;
        Ok(out)
    }

    /// Appends the beginning of a list, up to its first item.
    pub(crate) fn write_list_head(&self, out: &mut Vec<u8>, head: &ListHead) {
        let (kind, api_version) = match self.form {
            Form::Object => (self.kind.list_kind.as_str(), self.kind.api_version()),
            Form::Table => ("Table", META),
            Form::Partial => ("PartialObjectMetadataList", META),
        };
        put(out, format_args!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"#));
        put(out, format_args!(r#""resourceVersion":"{}""#, head.revision.0));
        if let Some(token) = &head.token {
            put(out, format_args!(r#","continue":"{token}""#));
        }
        if let Some(remaining) = head.remaining {
            put(out, format_args!(r#","remainingItemCount":{remaining}"#));
        }
        out.extend_from_slice(b"},");
        match self.form {
            Form::Table => {
                self.write_columns(out);
                out.extend_from_slice(b"\"rows\":[");
            }
            Form::Object | Form::Partial => out.extend_from_slice(b"\"items\":["),
        }
    }

    /// Appends the end of a list.
    pub(crate) fn write_list_tail(out: &mut Vec<u8>) {
        out.extend_from_slice(b"]}\n");
    }

    /// Whether showing an object takes more than its bytes.
    pub(crate) fn needs_object(&self) -> bool {
        self.form == Form::Table
    }

    /// Appends one item of a list.
    pub(crate) fn write_item(
        &self,
        out: &mut Vec<u8>,
        value: &[u8],
        revision: Revision,
        now: Timestamp,
    ) -> Result<(), Status> {
        match self.form {
            Form::Object => self.kind.append_list_item(out, value, revision.0),
            Form::Partial => stored::write_partial(out, value, Some(revision)),
            Form::Table => {
                self.write_row(out, Item { value, revision: Some(revision), object: None }, now)?
            }
        }
        Ok(())
    }

    /// Appends one object that stands alone: an answer, or the object of a watch event.
    pub(crate) fn write_single(
        &self,
        out: &mut Vec<u8>,
        item: Item<'_>,
        now: Timestamp,
        columns: Columns,
    ) -> Result<(), Status> {
        let Item { value, revision, .. } = item;
        match self.form {
            Form::Object => self.kind.append_object(out, value, revision.map(|revision| revision.0)),
            Form::Partial => stored::write_partial(out, value, revision),
            Form::Table => {
                put(out, format_args!(r#"{{"kind":"Table","apiVersion":"{META}","metadata":{{"#));
                if let Some(Revision(revision)) = revision {
                    put(out, format_args!(r#""resourceVersion":"{revision}""#));
                }
                out.extend_from_slice(b"},");
                match columns {
                    Columns::Shown => self.write_columns(out),
                    Columns::Known => out.extend_from_slice(b"\"columnDefinitions\":null,"),
                }
                out.extend_from_slice(b"\"rows\":[");
                self.write_row(out, item, now)?;
                out.extend_from_slice(b"]}");
            }
        }
        Ok(())
    }

    /// Appends the object of a bookmark: an empty one of the kind at `revision`.
    pub(crate) fn write_bookmark(&self, out: &mut Vec<u8>, revision: Revision, mark: Bookmark) {
        let annotations = match mark {
            Bookmark::Progress => "",
            Bookmark::InitialEventsEnd => r#","annotations":{"k8s.io/initial-events-end":"true"}"#,
        };
        let meta = format!(r#"{{"resourceVersion":"{}","creationTimestamp":null{annotations}}}"#, revision.0);
        let (kind, api_version) = match self.form {
            Form::Object => (self.kind.kind.as_str(), self.kind.api_version()),
            Form::Partial | Form::Table => (PARTIAL, META),
        };
        let object = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta}}}"#);
        match self.form {
            Form::Object | Form::Partial => out.extend_from_slice(object.as_bytes()),
            Form::Table => {
                put(out, format_args!(r#"{{"kind":"Table","apiVersion":"{META}","#));
                put(out, format_args!(r#""metadata":{{"resourceVersion":"{}"}},"#, revision.0));
                self.write_columns(out);
                put(out, format_args!(r#""rows":[{{"cells":[],"object":{object}}}]}}"#));
            }
        }
    }

    fn write_columns(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"columnDefinitions\":");
        serde_json::to_writer(&mut *out, self.kind.columns()).expect("columns are strings and numbers");
        out.push(b',');
    }

    fn write_row(&self, out: &mut Vec<u8>, item: Item<'_>, now: Timestamp) -> Result<(), Status> {
        let Item { value, revision, object } = item;
        let decoded;
        let object = match object {
            Some(object) => object,
            None => {
                let number = revision.unwrap_or_default().0;
                decoded = self.kind.decode_stored(value, number).map_err(|error| corrupt(&error))?;
                decoded.as_ref()
            }
        };
        out.extend_from_slice(b"{\"cells\":");
        serde_json::to_writer(&mut *out, &object.cells(now)).expect("cells are scalars");
        let conditions = object.row_conditions();
        if !conditions.is_empty() {
            out.extend_from_slice(b",\"conditions\":");
            serde_json::to_writer(&mut *out, &conditions).expect("conditions are strings");
        }
        out.extend_from_slice(b",\"object\":");
        match self.include {
            IncludeObject::None => out.extend_from_slice(b"null"),
            IncludeObject::Metadata => stored::write_partial(out, value, revision),
            IncludeObject::Object => self.kind.append_object(out, value, revision.map(|revision| revision.0)),
        }
        out.push(b'}');
        Ok(())
    }
}

/// Whether a Table repeats its columns: later events of a watch need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    /// They are written.
    Shown,
    /// The client has them.
    Known,
}

/// What a bookmark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bookmark {
    /// The watch has come this far.
    Progress,
    /// The initial state is complete.
    InitialEventsEnd,
}

const META: &str = "meta.k8s.io/v1";
const PARTIAL: &str = "PartialObjectMetadata";

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}
