//! Walking a state in key order, a bounded number of objects at a time.
//!
//! A cursor owns its snapshot, so that an answer may be made while it is sent, and returns to the runtime often
//! enough that a selector which matches nothing in a large state holds nobody up.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use isopod_raft_store::{Entry, KeyRange, Snapshot};
use isopod_spec::resource::Kind;
use isopod_spec::status::Status;

use super::selection::Selection;
use crate::objects::decode_stored;

/// Objects looked at before other tasks get a turn: some milliseconds at worst.
const SCAN_MAX: usize = 2000;

/// The selected objects of a range of keys that are still to come.
pub(crate) struct Cursor {
    kind: Arc<Kind>,
    snapshot: Snapshot,
    range: KeyRange,
    selection: Selection,
}

/// Why a walk came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Walked {
    /// Nothing is left.
    ToTheEnd,
    /// The visitor stopped before this key, which comes again.
    Stopped(Bytes),
    /// It is somebody else's turn.
    Paused,
}

impl Cursor {
    /// All selected objects of `range`.
    pub(crate) fn new(kind: Arc<Kind>, snapshot: Snapshot, range: KeyRange, selection: Selection) -> Cursor {
        Cursor { kind, snapshot, range, selection }
    }

    /// Visits selected objects until `visit` breaks: then the object at hand was not taken.
    pub(crate) fn walk(
        &mut self,
        mut visit: impl FnMut(&Entry) -> Result<ControlFlow<()>, Status>,
    ) -> Result<Walked, Status> {
        let mut last = None;
        for (scanned, (key, entry)) in self.snapshot.range(&self.range).enumerate() {
            if scanned == SCAN_MAX {
                self.range.start = after(last.expect("an entry was scanned"));
                return Ok(Walked::Paused);
            }
            let decode = || decode_stored(&self.kind, entry);
            if self.selection.matches(entry, decode)? && visit(entry)?.is_break() {
                let stopped = key.clone();
                self.range.start = stopped.clone();
                return Ok(Walked::Stopped(stopped));
            }
            last = Some(key);
        }
        Ok(Walked::ToTheEnd)
    }
}

/// The first key after `key`.
fn after(key: &Bytes) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}
