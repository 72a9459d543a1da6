//! Who takes part, and who leads.

use std::fmt;

/// A participant in Raft; unique in its cluster, never zero, never used again after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cluster, told from every other one by a number that was drawn when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who leads, as this member knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The current Raft term.
    pub term: u64,
    /// The leader of the term, when known.
    pub leader: Option<MemberId>,
    /// Whether this member leads *and* has applied everything committed before its term: only then may it act as the
    /// leader.
    pub is_leader: bool,
}
