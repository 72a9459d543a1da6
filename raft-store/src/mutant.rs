//! Faults planted on purpose, one at a time, to see that the simulation finds them. Outside of tests there are none:
//! each hook is a constant `false` then.

/// A fault, each like one that some store had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A write counts as durable before it is synced.
    AckBeforeSync,
    /// Term and vote come to the disk with the next entry only.
    VoteNotPersisted,
    /// A segment's name may be lost by a crash.
    FolderNotSynced,
    /// A snapshot may be incomplete after a crash, and the log before it is gone.
    SnapshotNotSynced,
    /// A failed sync is taken for a good one.
    SyncErrorIgnored,
    /// What a crash left of a write stays behind the end of the log.
    TornTailKept,
    /// A commit index comes to the disk before the entries that it is about.
    CommitBeforeEntries,
    /// After a restart the last applied entry counts, and its data is missing.
    AppliedWithoutData,
    /// After a restart the revision is the greatest of the entries: those of deletions are given again.
    RevisionReused,
    /// The log goes on from old entries after a snapshot was installed.
    SnapshotWithoutLogCut,
    /// What is applied depends on who applies it.
    ApplyByMember,
    /// A leader reads from its own state long after its lease.
    LeaseTooLong,
    /// A leader reads from its own state while it lets another one lead.
    LeaseInTransfer,
    /// A voter that was restarted votes at once, whatever it promised to a leader before.
    LeaseForgotten,
    /// A follower answers linearizable reads by itself.
    ReadAnywhere,
    /// A forwarded write that comes twice happens twice.
    ForwardedTwice,
    /// A deposed leader says that a write did not happen, which may be in its log.
    DeposedLeaderDenies,
    /// A write counts as replaced while its own leader still leads.
    SupersededTooEarly,
    /// A watch goes on behind what the history has forgotten.
    WatchGap,
    /// A watch begins with what was seen before.
    WatchRepeats,
    /// A watch claims to have shown what it has not.
    WatchProgressAhead,
    /// An empty member votes and acknowledges before it is let in.
    EmptyMemberSpeaks,
    /// Nobody counts whether memory is as it was written.
    MemoryNotCounted,
    /// A leader that is to stop lets nobody else lead.
    NoHandOver,
    /// A store that was recovered or restored goes on at the revisions of the old one.
    RevisionsGoOn,
}

#[cfg(not(test))]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planting::{plant, planted};

#[cfg(test)]
mod planting {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this fault is planted in this thread.
    pub(crate) fn planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }

    /// Plants a fault in this thread while the guard lives.
    pub(crate) fn plant(mutant: Mutant) -> Planted {
        PLANTED.set(Some(mutant));
        Planted
    }

    #[must_use]
    pub(crate) struct Planted;

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
}
