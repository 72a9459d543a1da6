//! Committed changes since a revision: every change once, in order, no gap, or an explicit end.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::history::{Cursor, Read};
use crate::shared::Shared;
use crate::state::{Entry, Revision};

/// What happened to the key of an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was created or written.
    Put,
    /// It was removed.
    Delete,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: Bytes,
    /// Revision of the transaction.
    pub revision: Revision,
    /// The new entry; `None` when the key was deleted.
    pub entry: Option<Arc<Entry>>,
    /// What the key held before; `None` when it was created.
    pub previous: Option<Arc<Entry>>,
}

impl Event {
    /// Whether the key was written or removed.
    pub fn kind(&self) -> EventKind {
        if self.entry.is_some() { EventKind::Put } else { EventKind::Delete }
    }
}

/// Why a watch ended, or could not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The history after `from` is gone: read the state again and watch from its revision.
    #[error("revision {from} is compacted; the oldest available is {oldest}")]
    Compacted {
        /// The revision asked for.
        from: Revision,
        /// The oldest revision from which a watch can begin.
        oldest: Revision,
    },
    /// Changes were forgotten before this watcher took them: read again, as after `Compacted`.
    #[error("the watcher was too slow and was cut off after revision {after}")]
    TooSlow {
        /// The last revision of which everything was handed out.
        after: Revision,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A stream of changes of a key range, in batches: all events of a batch are in order, and no revision is split
/// between two batches. Holds no queue: the store's history is shared, and a watcher is a cursor into it.
pub struct Watch {
    shared: Arc<Shared>,
    cursor: Cursor,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, cursor: Cursor) -> Self {
        Self { shared, cursor }
    }

    /// Waits for the next non-empty batch. Cancel-safe: events are handed out only when it returns. `Err` is
    /// final.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchEnd> {
        loop {
            let topic = self.cursor.changed();
            let mut changed = pin!(topic.notified());
            // Registered before reading, so that a change between reading and waiting wakes us.
            changed.as_mut().enable();
            match self.shared.history.read(&mut self.cursor) {
                Read::Batch(events) => return Ok(events),
                Read::End(end) => return Err(end),
                Read::Nothing => changed.await,
                Read::Again => tokio::task::yield_now().await,
            }
        }
    }

    /// Every change up to and including this revision has been handed out. It also moves on when only other keys
    /// change, so it can be given to a client as a bookmark. Never goes back.
    pub fn progress(&self) -> Revision {
        self.shared.history.progress(&self.cursor)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.history.unsubscribe(&self.cursor);
    }
}
