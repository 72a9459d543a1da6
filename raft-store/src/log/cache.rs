//! The newest entries in memory, so that what was just written is not read back to be sent or applied.

use std::collections::VecDeque;

use raft::eraftpb::Entry;

/// Entries without gaps up to the last of the log, bounded by bytes.
pub(crate) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the last entry of the log; those of the same and of greater index are replaced.
    pub(crate) fn push(&mut self, entry: Entry) {
        while self.entries.back().is_some_and(|last| last.index >= entry.index) {
            let replaced = self.entries.pop_back().expect("checked to be there");
            self.bytes -= weight(&replaced);
        }
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            let oldest = self.entries.pop_front().expect("checked to be there");
            self.bytes -= weight(&oldest);
        }
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        let first = self.entries.front()?.index;
        self.entries.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }
}

fn weight(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.data.len() + entry.context.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 100].into(), ..Entry::default() }
    }

    #[test]
    fn the_newest_entries_stay_and_replaced_ones_go() {
        let mut cache = Cache::new(3 * weight(&entry(1, 1)));
        (1..=5).for_each(|index| cache.push(entry(index, 1)));
        assert!(cache.get(2).is_none());
        assert_eq!(cache.get(3).map(|entry| entry.term), Some(1));
        cache.push(entry(4, 2));
        assert_eq!(cache.get(4).map(|entry| entry.term), Some(2));
        assert!(cache.get(5).is_none());
        assert_eq!(cache.bytes, 2 * weight(&entry(1, 1)));
    }

    #[test]
    fn one_entry_stays_however_large() {
        let mut cache = Cache::new(1);
        cache.push(entry(1, 1));
        cache.push(entry(2, 1));
        assert!(cache.get(1).is_none() && cache.get(2).is_some());
    }
}
