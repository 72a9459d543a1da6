//! `metadata.managedFields` as a list of entries, and its JSON.

use std::borrow::Cow;
use std::io::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::set::FieldSet;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply: it says which fields it wants.
    Apply,
    /// By any other write: it owns what it changed.
    Update,
}

impl Operation {
    /// The word in the entry.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// The fields that one manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: String,
    /// How.
    pub operation: Operation,
    /// The version in whose fields `fields` speaks.
    pub api_version: String,
    /// The subresource through which it wrote; empty for the object itself.
    pub subresource: String,
    /// When its fields last changed, in RFC 3339 with seconds.
    pub time: Option<String>,
    /// Which.
    pub fields: FieldSet,
}

impl Entry {
    /// Whether both are of the same manager in the same role. One that applies is the same in every version.
    pub fn is_of(&self, other: &Entry) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    fn seconds(&self) -> i64 {
        let time = self.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        time.map_or(0, Timestamp::as_second)
    }
}

/// Who owns what of an object. No two entries are of the same manager in the same role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// In no particular order; written sorted.
    pub entries: Vec<Entry>,
}

/// An entry as it is in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryText<'j> {
    #[serde(borrow, default)]
    manager: Cow<'j, str>,
    #[serde(borrow, default)]
    operation: Cow<'j, str>,
    #[serde(borrow, default)]
    api_version: Cow<'j, str>,
    #[serde(borrow, default)]
    subresource: Cow<'j, str>,
    #[serde(borrow, default)]
    time: Option<Cow<'j, str>>,
    #[serde(borrow, default)]
    fields_type: Cow<'j, str>,
    #[serde(borrow, default)]
    fields_v1: Option<&'j RawValue>,
}

impl EntryText<'_> {
    fn read(self) -> Option<Entry> {
        let operation = match &*self.operation {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if self.api_version.is_empty() || self.fields_type != "FieldsV1" {
            return None;
        }
        Some(Entry {
            manager: self.manager.into_owned(),
            operation,
            api_version: self.api_version.into_owned(),
            subresource: self.subresource.into_owned(),
            time: self.time.map(Cow::into_owned),
            fields: self
                .fields_v1
                .map_or_else(|| Some(FieldSet::default()), |text| FieldSet::read(text.get()))?,
        })
    }
}

impl Managed {
    /// Reads the text that [`Managed::write`] wrote. `None` when it is something else.
    pub fn read(json: &str) -> Option<Managed> {
        let texts: Vec<EntryText<'_>> = serde_json::from_str(json).ok()?;
        let mut managed = Managed::default();
        for text in texts {
            managed.put(text.read()?);
        }
        Some(managed)
    }

    /// Reads what a client wrote. `None` when an entry is not what an entry must be; the fields that are stored
    /// stand then, as when the client sent none.
    pub fn from_client(entries: &[ManagedFieldsEntry]) -> Option<Managed> {
        let text = serde_json::to_string(entries).ok()?;
        let mut managed = Managed::read(&text)?;
        for entry in &mut managed.entries {
            entry.fields = std::mem::take(&mut entry.fields).canonical()?;
        }
        Some(managed)
    }

    /// Appends it as the JSON of `managedFields`, sorted as upstream sorts it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut sorted: Vec<&Entry> = self.entries.iter().collect();
        sorted.sort_by(|a, b| {
            (a.operation, a.seconds(), &a.manager, &a.api_version, &a.subresource).cmp(&(
                b.operation,
                b.seconds(),
                &b.manager,
                &b.api_version,
                &b.subresource,
            ))
        });
        out.push(b'[');
        for (position, entry) in sorted.into_iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            entry.write(out);
        }
        out.push(b']');
    }

    /// Whether both say the same, whenever it came about.
    pub fn equals_but_for_times(&self, other: &Managed) -> bool {
        let same =
            |a: &Entry, b: &Entry| a.is_of(b) && a.api_version == b.api_version && a.fields == b.fields;
        self.entries.len() == other.entries.len()
            && self.entries.iter().all(|own| other.entries.iter().any(|entry| same(own, entry)))
    }

    /// Puts an entry in the place of the one of the same manager and role, which is returned.
    pub fn put(&mut self, entry: Entry) -> Option<Entry> {
        match self.entries.iter_mut().find(|own| own.is_of(&entry)) {
            Some(own) => Some(std::mem::replace(own, entry)),
            None => {
                self.entries.push(entry);
                None
            }
        }
    }
}

impl Entry {
    fn write(&self, out: &mut Vec<u8>) {
        let quoted = |out: &mut Vec<u8>, text: &str| {
            serde_json::to_writer(out, text).expect("a string can be written to memory");
        };
        out.extend_from_slice(b"{\"apiVersion\":");
        quoted(out, &self.api_version);
        out.extend_from_slice(b",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        self.fields.write(out);
        out.extend_from_slice(b",\"manager\":");
        quoted(out, &self.manager);
        write!(out, ",\"operation\":\"{}\"", self.operation.as_str()).expect("memory can be written to");
        if !self.subresource.is_empty() {
            out.extend_from_slice(b",\"subresource\":");
            quoted(out, &self.subresource);
        }
        if let Some(time) = &self.time {
            out.extend_from_slice(b",\"time\":");
            quoted(out, time);
        }
        out.push(b'}');
    }
}
