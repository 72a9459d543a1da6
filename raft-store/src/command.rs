//! What a log entry may say: transactions, and the answer to each.

use bytes::Bytes;

use crate::state::{KeyRange, Revision};

/// All compares must hold when it is applied; then all ops happen at one revision. Otherwise nothing happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// Conditions, checked in order against the state before the transaction.
    pub compares: Vec<Compare>,
    /// Changes, each of another key.
    pub ops: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions.
    pub fn of(ops: Vec<Op>) -> Self {
        Self { compares: Vec::new(), ops }
    }

    /// Bytes of keys and values in it: what it costs in memory and in the log, roughly.
    pub fn size_bytes(&self) -> usize {
        let compares = self.compares.iter().map(|compare| match compare {
            Compare::Absent(key) | Compare::Present(key) | Compare::Modified(key, _) => key.len(),
            Compare::RangeUnchanged(range, _) => range.start.len() + range.end.as_ref().map_or(0, Bytes::len),
            Compare::Term(_) => 0,
        });
        let ops = self.ops.iter().map(|op| match op {
            Op::Put(key, value) => key.len() + value.len(),
            Op::Delete(key) => key.len(),
        });
        compares.chain(ops).map(|bytes| bytes + OVERHEAD_BYTES).sum()
    }
}

/// Framing of one compare or op in the log, at most.
const OVERHEAD_BYTES: usize = 24;

/// One condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(Bytes),
    /// The key exists (whatever its revision).
    Present(Bytes),
    /// The key exists and was last modified at this revision.
    Modified(Bytes, Revision),
    /// No key of the range was written or deleted after this revision (guards decisions made over a list).
    /// Walks the range. Does not hold for a revision more than 16,384 revisions old, unless nothing at all
    /// changed since: deletions are not remembered for longer.
    RangeUnchanged(KeyRange, Revision),
    /// The transaction was proposed in this Raft term: a deposed leader's late write does not land.
    Term(u64),
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates the key or replaces its value.
    Put(Bytes, Bytes),
    /// Removes the key; nothing happens when there is none.
    Delete(Bytes),
}

impl Op {
    /// The key it changes.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// The outcome of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnResponse {
    /// Revision of the state after this transaction (its own revision when it held and changed something).
    pub revision: Revision,
    /// `None` when it held, else the position in `compares` of the first that did not.
    pub failed: Option<usize>,
}

impl TxnResponse {
    /// Whether all compares held, so that the ops happened.
    pub fn held(&self) -> bool {
        self.failed.is_none()
    }
}
