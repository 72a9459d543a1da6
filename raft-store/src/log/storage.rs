//! The log as the Raft library reads it.

use std::io;

use std::sync::atomic::Ordering;

use raft::eraftpb::{Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::frame::{self, Frame, Item, Unreadable};
use super::segment::Segment;
use super::{Log, Slot};
use crate::disk::{Action, DiskError};
use crate::snapshot_file::{self, Meta};

/// Read from a segment at a time, when entries that are not in memory are wanted.
const READ_BYTES: usize = 256 << 10;

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.read_entries(low, high, max_size.into().unwrap_or(u64::MAX))
            .map_err(|error| Error::Store(StorageError::Other(Box::new(error))))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.index {
            return Ok(self.base.term);
        }
        let position = index.checked_sub(self.base.index + 1).ok_or(Error::Store(StorageError::Compacted))?;
        let slot = self.slots.get(usize::try_from(position).unwrap_or(usize::MAX));
        slot.map(|slot| slot.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index)
    }

    /// Asked for only to catch up a member that needs more than the log has. Raft gets to know what it is of; the bytes
    /// take another way.
    fn snapshot(&self, _request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let has_part =
            |meta: &&Meta| meta.conf_state.voters.contains(&to) || meta.conf_state.learners.contains(&to);
        // A member refuses a snapshot that does not know it.
        let newest = self.newest_snapshot.as_ref().filter(has_part);
        newest.map(snapshot_file::for_raft).ok_or_else(|| {
            self.snapshot_wanted.store(true, Ordering::Relaxed);
            Error::Store(StorageError::SnapshotTemporarilyUnavailable)
        })
    }
}

impl Log {
    /// The entries `low..high`, or the first of them that have together at most `bytes_max`, but at least one.
    pub(crate) fn read_entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, DiskError> {
        assert!(low > self.base.index && high <= self.last().index + 1, "entries {low}..{high} are not here");
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut chunk = Chunk::default();
        while low + (entries.len() as u64) < high {
            let next = low + entries.len() as u64;
            let found = match self.cache.get(next) {
                Some(entry) => vec![entry.clone()],
                None => self.read_frame(self.slot(next), next, &mut chunk)?,
            };
            for entry in found.into_iter().take((high - next) as usize) {
                bytes += frame::entry_len(&entry) as u64;
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The entries of one frame from `first` on that are still what the log says.
    fn read_frame(&self, slot: Slot, first: u64, chunk: &mut Chunk) -> Result<Vec<Entry>, DiskError> {
        let segment = self.segment(slot.segment);
        let frame = chunk.read(segment, slot)?.map_err(|_| {
            let text = format!("the frame at offset {} is damaged", slot.offset);
            let source = io::Error::new(io::ErrorKind::InvalidData, text);
            DiskError::new(Action::Read, &self.disk.path(&segment.name), source)
        })?;
        let entries = frame.items.into_iter().filter_map(|item| match item {
            Item::Entry(entry) if entry.index >= first => Some(entry),
            _ => None,
        });
        let same_frame = |entry: &Entry| {
            let slot_of = self.slots.get((entry.index - self.base.index - 1) as usize);
            slot_of.is_some_and(|other| (other.segment, other.offset) == (slot.segment, slot.offset))
        };
        Ok(entries.take_while(same_frame).collect())
    }
}

/// A part of a segment that was read at once: the next frame is mostly in it.
#[derive(Default)]
struct Chunk {
    segment: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn read(&mut self, segment: &Segment, slot: Slot) -> Result<Result<Frame, Unreadable>, DiskError> {
        let (offset, length) = (u64::from(slot.offset), slot.length as usize);
        let end = self.offset + self.bytes.len() as u64;
        let inside = self.segment == slot.segment && offset >= self.offset && offset + length as u64 <= end;
        if !inside {
            self.bytes.resize(length.max(READ_BYTES), 0);
            let read = segment.file.read_at(offset, &mut self.bytes)?;
            self.bytes.truncate(read);
            (self.segment, self.offset) = (slot.segment, offset);
        }
        let from = (offset - self.offset) as usize;
        let until = self.bytes.len().min(from + length);
        Ok(frame::read(&self.bytes[from..until]))
    }
}
