//! Committed entries become state.

use std::sync::atomic::Ordering;

use raft::eraftpb::{Entry, EntryType};

use super::Member;
use super::proposals::{self, Batch};
use crate::command::{Txn, TxnResponse, codec};
use crate::error::DriverError;
use crate::history::Commit;
use crate::log::frame::Position;
use crate::mutant::{self, Mutant};
use crate::shared::Proposal;

/// What some entries lead to, before anybody sees it.
#[derive(Default)]
struct Effects {
    commits: Vec<Commit>,
    answers: Vec<(Proposal, TxnResponse)>,
}

impl Member {
    /// Applies committed entries in order, publishes the state they lead to, and answers those who proposed them.
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), DriverError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut effects = Effects::default();
        let applied = entries.iter().try_for_each(|entry| self.apply_entry(entry, &mut effects));
        // Also when an entry ends this member's part: what came before it is committed.
        let Effects { commits, answers } = effects;
        self.shared.publish(commits, self.machine.snapshot(), answers, self.now);
        applied?;
        self.node.advance_apply_to(self.applied.index);
        self.superseded(self.applied.term);
        Ok(())
    }

    fn apply_entry(&mut self, entry: &Entry, effects: &mut Effects) -> Result<(), DriverError> {
        let position = Position { index: entry.index, term: entry.term };
        assert_eq!(position.index, self.applied.index + 1, "an entry was applied twice or left out");
        // What this member proposed itself need not be read back.
        let ours = self.proposals.take(position);
        match entry.entry_type {
            EntryType::EntryNormal => {
                let ours = match ours {
                    // The leader has it as another member's; it may be this one's from before it led.
                    None | Some(Batch::Foreign(_)) => self.forwards.take_writes(entry).or(ours),
                    own => own,
                };
                self.apply_txns(entry, ours, effects)?;
            }
            EntryType::EntryConfChangeV2 => {
                self.applied = position;
                self.apply_change(entry)?;
            }
            EntryType::EntryConfChange => return Err(DriverError::UnknownEntry { index: entry.index }),
        }
        self.applied = position;
        self.note_sum();
        Ok(())
    }

    fn apply_txns(
        &mut self,
        entry: &Entry,
        ours: Option<Batch>,
        effects: &mut Effects,
    ) -> Result<(), DriverError> {
        let (txns, waiting) = match ours {
            Some(batch) => batch.into_parts(),
            None => (decode(entry)?, Vec::new()),
        };
        let mut responses = Vec::with_capacity(txns.len());
        for txn in txns {
            if mutant::planted(Mutant::ApplyByMember) && entry.index % 50 == self.id().0 {
                continue;
            }
            let applied = self.machine.apply(txn, entry.term);
            responses.push(applied.response);
            effects.commits.extend(Commit::of(applied));
        }
        let counters = &self.shared.counters;
        counters.txns.fetch_add(responses.len() as u64, Ordering::Relaxed);
        counters.entries.fetch_add(u64::from(!responses.is_empty()), Ordering::Relaxed);
        effects.answers.extend(proposals::answered(waiting, responses));
        Ok(())
    }
}

/// The transactions of an entry that another member, or an earlier run, proposed.
fn decode(entry: &Entry) -> Result<Vec<Txn>, DriverError> {
    // A new leader's first entry is empty (Raft §8).
    if entry.data.is_empty() {
        return Ok(Vec::new());
    }
    codec::decode(&entry.data).ok_or(DriverError::UnknownEntry { index: entry.index })
}
