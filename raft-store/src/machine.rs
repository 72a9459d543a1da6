//! The replicated state machine: `apply` is total and deterministic (no clock, no randomness, no hash order),
//! so the same log gives the same state, and the same snapshot bytes, on every member.
//!
//! Invariants: `revision` grows by exactly one per transaction that changed something; every entry has
//! `created <= modified <= revision`; `deletes` holds, in order, exactly the deletions of the last
//! [`DELETES_WINDOW`] revisions.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Compare, Op, Txn, TxnResponse};
use crate::mutant::{self, Mutant};
use crate::state::{Entry, KeyRange, Map, Revision, Snapshot};
use crate::sum;
use crate::watch::Event;

/// How many revisions back deletions are remembered for [`Compare::RangeUnchanged`]. It is a count and not a
/// time because `apply` knows no clock; at 1,000 deletions a second it is a quarter of a minute, far longer than a
/// decision takes, and it bounds what a snapshot carries.
pub(crate) const DELETES_WINDOW: u64 = 16_384;

/// Everything that the log builds.
#[derive(Clone)]
pub(crate) struct Machine {
    map: Map,
    revision: Revision,
    deletes: imbl::Vector<(Revision, Bytes)>,
    /// Bytes of all keys and values.
    data_bytes: u64,
    /// Of all entries.
    sum: u64,
}

/// What one transaction did.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) response: TxnResponse,
    /// Its changes, all at `response.revision`; empty when it changed nothing.
    pub(crate) events: Vec<Arc<Event>>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::restore(Map::new(), Revision::FIRST, imbl::Vector::new())
    }

    /// Puts together what a snapshot file held.
    pub(crate) fn restore(map: Map, revision: Revision, deletes: imbl::Vector<(Revision, Bytes)>) -> Self {
        let data_bytes = map.iter().map(|(key, entry)| size_of_pair(key, entry)).sum();
        let newest = map.values().map(|entry| entry.modified).max().unwrap_or(Revision::FIRST);
        let revision = if mutant::planted(Mutant::RevisionReused) { newest } else { revision };
        let sum = count(&map);
        Self { map, revision, deletes, data_bytes, sum }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The same entries at a much later revision: nobody who knew the state before may take a revision of it for one that
    /// comes after this. What was deleted is not remembered.
    pub(crate) fn moved_on(self, by: u64) -> Self {
        let by = if mutant::planted(Mutant::RevisionsGoOn) { 0 } else { by };
        Self::restore(self.map, Revision(self.revision.0 + by), imbl::Vector::new())
    }

    /// Tells this state from others.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// Whether everything in memory is as it was written. Walks all of it.
    pub(crate) fn is_sound(&self) -> bool {
        count(&self.map) == self.sum || mutant::planted(Mutant::MemoryNotCounted)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { revision: self.revision, map: self.map.clone() }
    }

    /// Entries in key order, for a snapshot file.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = (&Bytes, &Arc<Entry>)> {
        self.map.iter()
    }

    /// Remembered deletions in order, for a snapshot file.
    pub(crate) fn deletes(&self) -> impl ExactSizeIterator<Item = &(Revision, Bytes)> {
        self.deletes.iter()
    }

    /// Applies one transaction that was proposed in `term`.
    pub(crate) fn apply(&mut self, txn: Txn, term: u64) -> Applied {
        let failed = txn.compares.iter().position(|compare| !self.holds(compare, term));
        let mut events = Vec::new();
        if failed.is_none() {
            let revision = self.revision.next();
            events.reserve_exact(txn.ops.len());
            events.extend(txn.ops.into_iter().filter_map(|op| self.change(op, revision)).map(Arc::new));
            if !events.is_empty() {
                self.revision = revision;
                self.forget_old_deletes();
            }
        }
        Applied { response: TxnResponse { revision: self.revision, failed }, events }
    }

    fn change(&mut self, op: Op, revision: Revision) -> Option<Event> {
        match op {
            Op::Put(key, value) => Some(self.put(key, value, revision)),
            Op::Delete(key) => self.delete(&key, revision),
        }
    }

    fn put(&mut self, key: Bytes, value: Bytes, revision: Revision) -> Event {
        let mut entry = Entry { value, created: revision, modified: revision };
        let slot = self.map.entry(key.clone());
        let (entry, previous) = match slot {
            imbl::ordmap::Entry::Occupied(mut slot) => {
                entry.created = slot.get().created;
                let entry = Arc::new(entry);
                (entry.clone(), Some(slot.insert(entry)))
            }
            imbl::ordmap::Entry::Vacant(slot) => {
                let entry = Arc::new(entry);
                slot.insert(entry.clone());
                (entry, None)
            }
        };
        self.data_bytes += size_of_pair(&key, &entry);
        self.data_bytes -= previous.as_ref().map_or(0, |previous| size_of_pair(&key, previous));
        let before = previous.as_ref().map_or(0, |previous| sum::of_entry(&key, previous));
        self.sum = self.sum.wrapping_add(sum::of_entry(&key, &entry)).wrapping_sub(before);
        Event { key, revision, entry: Some(entry), previous }
    }

    fn delete(&mut self, key: &Bytes, revision: Revision) -> Option<Event> {
        let (key, previous) = self.map.remove_with_key(key)?;
        self.data_bytes -= size_of_pair(&key, &previous);
        self.sum = self.sum.wrapping_sub(sum::of_entry(&key, &previous));
        self.deletes.push_back((revision, key.clone()));
        Some(Event { key, revision, entry: None, previous: Some(previous) })
    }

    fn forget_old_deletes(&mut self) {
        let floor = self.deletes_floor();
        while self.deletes.front().is_some_and(|(revision, _)| *revision <= floor) {
            self.deletes.pop_front();
        }
    }

    /// Deletions at or before this revision are forgotten.
    fn deletes_floor(&self) -> Revision {
        Revision(self.revision.0.saturating_sub(DELETES_WINDOW))
    }

    fn holds(&self, compare: &Compare, term: u64) -> bool {
        match compare {
            Compare::Absent(key) => !self.map.contains_key(key),
            Compare::Present(key) => self.map.contains_key(key),
            Compare::Modified(key, revision) => {
                self.map.get(key).is_some_and(|entry| entry.modified == *revision)
            }
            Compare::RangeUnchanged(range, since) => self.unchanged(range, *since),
            Compare::Term(expected) => *expected == term,
        }
    }

    fn unchanged(&self, range: &KeyRange, since: Revision) -> bool {
        if since >= self.revision || range.is_empty() {
            return true;
        }
        if since < self.deletes_floor() {
            return false;
        }
        let mut late_deletes = self.deletes.iter().rev().take_while(|(revision, _)| *revision > since);
        let deleted = late_deletes.any(|(_, key)| range.contains(key));
        let mut entries = self.map.range::<_, [u8]>(range.bounds());
        !deleted && entries.all(|(_, entry)| entry.modified <= since)
    }
}

fn count(map: &Map) -> u64 {
    sum::of_all(map.iter().map(|(key, entry)| (key, &**entry)))
}

#[cfg(test)]
impl Machine {
    /// A bit flips in memory.
    pub(crate) fn flip(&mut self, key: &[u8]) {
        let (key, entry) = self
            .map
            .get_key_value(key)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .expect("it is there");
        let mut value = entry.value.to_vec();
        value[0] ^= 0x40;
        self.map.insert(key, Arc::new(Entry { value: value.into(), ..Entry::clone(&entry) }));
    }
}

fn size_of_pair(key: &Bytes, entry: &Entry) -> u64 {
    (key.len() + entry.value.len()) as u64
}

#[cfg(test)]
mod tests;
