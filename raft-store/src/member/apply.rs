//! Committed entries become state.

use std::sync::atomic::Ordering;

use raft::eraftpb::{Entry, EntryType};

use super::Member;
use crate::command::{Txn, codec};
use crate::error::DriverError;
use crate::history::Commit;
use crate::log::frame::Position;

impl Member {
    /// Applies committed entries in order, publishes the state they lead to, and answers those who proposed them.
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), DriverError> {
        if entries.is_empty() {
            return Ok(());
        }
        let (mut commits, mut answers) = (Vec::new(), Vec::new());
        for entry in entries {
            let position = Position { index: entry.index, term: entry.term };
            assert_eq!(position.index, self.applied.index + 1, "an entry was applied twice or left out");
            // What this member proposed itself need not be read back.
            let mut ours = self.proposals.take(position);
            let txns = match &mut ours {
                Some(batch) => batch.proposals.iter_mut().map(|proposal| proposal.take_txn()).collect(),
                None => decode(&entry)?,
            };
            let mut responses = Vec::with_capacity(txns.len());
            for txn in txns {
                let applied = self.machine.apply(txn, position.term);
                responses.push(applied.response);
                commits.extend(Commit::of(applied));
            }
            let counters = &self.shared.counters;
            counters.txns.fetch_add(responses.len() as u64, Ordering::Relaxed);
            counters.entries.fetch_add(u64::from(!responses.is_empty()), Ordering::Relaxed);
            answers.extend(ours.into_iter().flat_map(|batch| batch.answered(responses.split_off(0))));
            self.applied = position;
        }
        self.shared.publish(commits, self.machine.snapshot(), answers, self.now);
        self.node.advance_apply_to(self.applied.index);
        Ok(())
    }
}

/// The transactions of an entry that another member, or an earlier run, proposed.
fn decode(entry: &Entry) -> Result<Vec<Txn>, DriverError> {
    let unknown = DriverError::UnknownEntry { index: entry.index };
    if entry.entry_type != EntryType::EntryNormal {
        return Err(unknown);
    }
    // A new leader's first entry is empty (Raft §8).
    if entry.data.is_empty() { Ok(Vec::new()) } else { codec::decode(&entry.data).ok_or(unknown) }
}
