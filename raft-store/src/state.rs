//! What the store holds: an ordered map of keys to values with revisions, and cheap snapshots of it.
//!
//! The map is persistent (copy on write, shared structure): cloning it costs a pointer, and a write copies
//! only the few nodes on its path. So a reader holds a consistent state for as long as it likes and blocks
//! nobody.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// The persistent map under every [`Snapshot`].
pub(crate) type Map = imbl::OrdMap<Bytes, Arc<Entry>>;

/// The store's counter: one per committed transaction that changed something. Starts at 1 (an empty store)
/// and never goes back, also over restarts. Its API form is `resourceVersion`; a Raft index is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of an empty store.
    pub const FIRST: Self = Self(1);

    /// The revision after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value and the revisions at which its key was created and last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes as they were put.
    pub value: Bytes,
    /// Revision of the transaction that created the key (since its last deletion).
    pub created: Revision,
    /// Revision of the transaction that last wrote the key.
    pub modified: Revision,
}

/// A half-open range of keys, `start <= key < end`; `end` `None` means no upper bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key that belongs to the range.
    pub start: Bytes,
    /// First key after the range.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// Exactly one key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        let start = key.into();
        let mut end = BytesMut::with_capacity(start.len() + 1);
        end.extend_from_slice(&start);
        end.extend_from_slice(&[0]);
        Self { start, end: Some(end.freeze()) }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = successor(&start);
        Self { start, end }
    }

    /// Whether `key` belongs to the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    /// Whether no key can belong to the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end <= &self.start)
    }

    /// The same range as standard bounds.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(&self.start), end)
    }
}

/// The first key that is greater than every key with this prefix; `None` when there is none (only 0xff bytes).
pub(crate) fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// The whole state at one revision. Cloning costs a pointer; it never changes and blocks nobody.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) map: Map,
}

impl Snapshot {
    /// The revision this is the state of.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The entry of one key.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.map.get(key).map(|entry| &**entry)
    }

    /// Entries of the range in key order; `rev()` goes backwards.
    pub fn range<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Entry)> + use<'a> {
        let found = (!range.is_empty()).then(|| self.map.range::<_, [u8]>(range.bounds()));
        found.into_iter().flatten().map(|(key, entry)| (key, &**entry))
    }

    /// Number of keys in the range. Walks the range, except for the range of all keys.
    pub fn count(&self, range: &KeyRange) -> usize {
        if range.start.is_empty() && range.end.is_none() { self.map.len() } else { self.range(range).count() }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("revision", &self.revision).field("keys", &self.map.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_exactly_the_keys_that_begin_with_it() {
        let cases: [(&[u8], &[u8], bool); 8] = [
            (b"/a/", b"/a/", true),
            (b"/a/", b"/a/x", true),
            (b"/a/", b"/a/\xff\xff", true),
            (b"/a/", b"/a0", false),
            (b"/a/", b"/a", false),
            (b"", b"anything", true),
            (b"\xff\xff", b"\xff\xff\x01", true),
            (b"\xff\xff", b"\xff", false),
        ];
        for (prefix, key, expected) in cases {
            let range = KeyRange::prefix(prefix.to_vec());
            assert_eq!(range.contains(key), expected, "{prefix:?} {key:?}");
        }
    }

    #[test]
    fn the_range_of_one_key_holds_no_longer_key() {
        let range = KeyRange::key("a");
        assert!(range.contains(b"a"));
        assert!(!range.contains(b"a\0"));
        assert!(!range.contains(b"A"));
    }

    #[test]
    fn a_reversed_range_is_empty_and_does_not_panic() {
        let range = KeyRange { start: Bytes::from_static(b"b"), end: Some(Bytes::from_static(b"a")) };
        let snapshot = Snapshot { revision: Revision::FIRST, map: Map::new() };
        assert_eq!(snapshot.range(&range).count(), 0);
        assert_eq!(snapshot.count(&range), 0);
    }
}
