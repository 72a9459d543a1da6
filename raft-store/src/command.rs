//! What a log entry may say: transactions, and the answer to each.

pub(crate) mod codec;

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

    /// What it takes in the log: keys, values, and a few bytes for each.
    pub fn size_bytes(&self) -> usize {
        codec::encoded_len(self)
    }
}

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
