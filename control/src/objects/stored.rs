//! The stored form of an object, read and completed without parsing it.
//!
//! A value in the store is the object's JSON without `kind`, `apiVersion` and `metadata.resourceVersion`, and
//! begins with exactly `{"metadata":{`. What a client reads is that value with the missing fields spliced in, so
//! answering costs a copy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use isopod_raft_store::Revision;
use isopod_spec::resource::{self, STORED_PREFIX};
use serde::Deserialize;

/// Appends the object's metadata as a `PartialObjectMetadata`.
pub(crate) fn write_partial(out: &mut Vec<u8>, value: &[u8], revision: Option<Revision>) {
    put(out, format_args!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","#));
    let end = STORED_PREFIX.len() - 1 + metadata(value).len();
    write_rest(out, &value[..end], revision);
    out.push(b'}');
}

fn write_rest(out: &mut Vec<u8>, value: &[u8], revision: Option<Revision>) {
    let rest = value.strip_prefix(STORED_PREFIX).expect("stored values begin with their metadata");
    out.extend_from_slice(&STORED_PREFIX[1..]);
    if let Some(Revision(revision)) = revision {
        put(out, format_args!(r#""resourceVersion":"{revision}","#));
    }
    out.extend_from_slice(rest);
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}

/// The bytes of the `metadata` object of a stored value, without the account of who owns what.
pub(crate) fn own_metadata(value: &[u8]) -> Cow<'_, [u8]> {
    match resource::split(value).plain {
        Cow::Borrowed(plain) => Cow::Borrowed(metadata(plain)),
        Cow::Owned(plain) => Cow::Owned(metadata(&plain).to_vec()),
    }
}

/// The bytes of the `metadata` object of a stored value, braces included.
fn metadata(value: &[u8]) -> &[u8] {
    let start = STORED_PREFIX.len() - 1;
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in value.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' if !in_text => depth += 1,
            b'}' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    return &value[start..=at];
                }
            }
            _ => {}
        }
    }
    &value[start..]
}

/// The part of the metadata that generic code asks for, without decoding the rest of the object.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetadataView {
    /// The object's name.
    #[serde(default)]
    pub(crate) name: String,
    /// Its namespace; empty for cluster-scoped objects.
    #[serde(default)]
    pub(crate) namespace: String,
    /// Tells it from another object of the same name.
    #[serde(default)]
    pub(crate) uid: String,
    /// Labels, for selectors.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Set while the object is being deleted.
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<String>,
}

impl MetadataView {
    /// Reads a stored value's metadata.
    pub(crate) fn of(value: &[u8]) -> MetadataView {
        serde_json::from_slice(&own_metadata(value)).expect("stored metadata is JSON that we wrote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = br#"{"metadata":{"name":"a","annotations":{"x":"}\"{"},"labels":{"l":"1"},"uid":"u"},"spec":{"b":1}}"#;

    #[test]
    fn metadata_is_shown_alone() {
        let mut out = Vec::new();
        write_partial(&mut out, VALUE, Some(Revision(7)));
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7","name":"a","annotations":{"x":"}\"{"},"labels":{"l":"1"},"uid":"u"}}"#
        );
    }

    #[test]
    fn metadata_is_read_alone() {
        let view = MetadataView::of(VALUE);
        assert_eq!(view.labels["l"], "1");
        assert_eq!(view.name, "a");
        assert_eq!(view.deletion_timestamp, None);
    }
}
