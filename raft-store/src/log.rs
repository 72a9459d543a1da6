//! The Raft log on disk: append-only segments of checksummed frames, one sync per batch.
//!
//! Invariants: `base.index + slots.len()` is the index of the last entry; the last segment takes the writes and
//! is the only one whose end may be unsynced; `durable <= written` frames, and nothing is acknowledged that is not
//! `durable`; segments are removed from the front only, and only when a snapshot covers them.

mod cache;
pub(crate) mod frame;
mod recovery;
pub(crate) mod segment;
mod storage;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft::eraftpb::{ConfState, Entry, HardState};

use crate::disk::{Disk, DiskError, DiskFile};
use crate::membership::MemberId;
use crate::mutant::{self, Mutant};
use crate::snapshot_file::Meta;
use cache::Cache;
use frame::Position;
use segment::{Header, Segment};

pub(crate) use recovery::recover;

/// Entries are put into one frame up to this size. A crash can tear only what one sync covers, so a larger frame
/// would save nothing, and this one is read back whole for a single entry of it.
const FRAME_BYTES: usize = 4 << 20;

/// What a frame can have beside entries: header, base, hard state, trailer, padding.
const FRAME_OVERHEAD_BYTES: usize = 96;

/// Length of the very first segment, so that a new store opens at once.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

/// The file that the next segment is made in ahead of its use, and the one it is made in when that comes too late.
pub(crate) const SPARE_FILE: &str = "log-spare.tmp";
const LATE_FILE: &str = "log-late.tmp";

/// Names of files that are of no use after a crash.
pub(crate) const UNFINISHED_FILES: [&str; 2] = [SPARE_FILE, LATE_FILE];

/// How the log is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) member: MemberId,
    pub(crate) segment_bytes: u64,
    pub(crate) cache_bytes: usize,
}

pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    options: Options,
    segments: VecDeque<Segment>,
    /// Where the next frame goes in the last segment.
    offset: u64,
    /// Number of the last frame written, and of the last known to be on the disk.
    written: u64,
    durable: u64,
    /// The entry before the first.
    base: Position,
    slots: VecDeque<Slot>,
    cache: Cache,
    hard_state: HardState,
    /// The hard state as it was last written; a new commit index alone waits for the next frame.
    written_hard_state: HardState,
    conf_state: ConfState,
    /// What there is to send to a member that lacks what the log has no longer.
    newest_snapshot: Option<Meta>,
    /// A newer one is needed.
    snapshot_wanted: AtomicBool,
    spare: Option<Spare>,
    bytes_written: u64,
    /// Reused for every frame.
    buffer: Vec<u8>,
}

/// The file of the next segment, full of zeros, under the name that it has until then.
struct Spare {
    name: &'static str,
    file: Arc<dyn DiskFile>,
    size_bytes: u64,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    term: u64,
    /// `first_sequence` of its segment.
    segment: u64,
    /// Of its frame.
    offset: u32,
    length: u32,
}

/// What has to be synced before the frames up to `sequence` count as written. May be carried out on another thread.
pub(crate) struct Unsynced {
    pub(crate) sequence: u64,
    file: Arc<dyn DiskFile>,
}

impl Unsynced {
    /// Blocks until the disk has it. An error is final: the store must stop.
    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        self.file
            .sync()
            .or_else(|error| if mutant::planted(Mutant::SyncErrorIgnored) { Ok(()) } else { Err(error) })
    }
}

/// Sizes for metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
}

impl Log {
    /// Begins an empty log after `base`, in a folder that has none.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        options: Options,
        base: Position,
        conf_state: ConfState,
    ) -> Result<Self, DiskError> {
        let hard_state = HardState { term: base.term, commit: base.index, ..HardState::default() };
        let mut log = Self::empty(disk, options, base, conf_state);
        log.hard_state = hard_state;
        log.spare = Some(log.make_spare(options.segment_bytes.min(FIRST_SEGMENT_BYTES))?);
        log.begin_segment(base.index, None)?;
        Ok(log)
    }

    fn empty(disk: Arc<dyn Disk>, options: Options, base: Position, conf_state: ConfState) -> Self {
        Self {
            disk,
            options,
            segments: VecDeque::new(),
            offset: 0,
            written: 0,
            durable: 0,
            base,
            slots: VecDeque::new(),
            cache: Cache::new(options.cache_bytes),
            hard_state: HardState::default(),
            written_hard_state: HardState::default(),
            conf_state,
            newest_snapshot: None,
            snapshot_wanted: AtomicBool::new(false),
            spare: None,
            bytes_written: 0,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn last(&self) -> Position {
        let index = self.base.index + self.slots.len() as u64;
        Position { index, term: self.slots.back().map_or(self.base.term, |slot| slot.term) }
    }

    /// The last entry of those up to `index`.
    fn position_of(&self, index: u64) -> Position {
        let Some(at) = index.checked_sub(self.base.index + 1) else { return self.base };
        self.slots.get(at as usize).map_or(self.last(), |slot| Position { index, term: slot.term })
    }

    /// Whether this entry is in the log, or the one that it begins after.
    fn holds(&self, position: Position) -> bool {
        self.position_of(position.index) == position
    }

    pub(crate) fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let full = self.segments.iter().rev().skip(1).map(|segment| segment.size_bytes);
        Sizes { segments: self.segments.len(), bytes: full.sum::<u64>() + self.offset }
    }

    /// What was applied when the log was read back is committed, and these were the members then.
    pub(crate) fn commit_to(&mut self, index: u64, conf_state: ConfState) {
        self.hard_state.commit = self.hard_state.commit.max(index);
        self.conf_state = conf_state;
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// There is a snapshot file of this.
    pub(crate) fn set_newest_snapshot(&mut self, meta: Meta) {
        *self.snapshot_wanted.get_mut() = false;
        self.newest_snapshot = Some(meta);
    }

    /// Whether a member lacks what neither the log nor the newest snapshot can give it.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.snapshot_wanted.load(Ordering::Relaxed)
    }

    /// Begins anew behind a snapshot: what was in the log is of no use any more. Nothing has changed when it fails.
    pub(crate) fn restart(
        &mut self,
        base: Position,
        hard_state: Option<&HardState>,
    ) -> Result<(), DiskError> {
        let old = self.hard_state.clone();
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        self.hard_state.commit = self.hard_state.commit.max(base.index);
        let begun = self.begin_segment(base.index, Some(base));
        if begun.is_err() {
            self.hard_state = old;
        }
        begun
    }

    /// Forgets all entries; the next is the one after `base`.
    fn begin_at(&mut self, base: Position) {
        self.slots.clear();
        self.cache = Cache::new(self.options.cache_bytes);
        self.base = base;
        self.segments.iter_mut().for_each(|segment| segment.last_index = base.index);
    }

    /// Whether `bytes` of entries can be appended without asking the disk for more space.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let frames = bytes / FRAME_BYTES + 2;
        self.spare.is_some() || self.room() >= (bytes + frames * FRAME_OVERHEAD_BYTES) as u64
    }

    /// Makes the file of the next segment now: the one that was to be made ahead came too late.
    pub(crate) fn make_room(&mut self) -> Result<(), DiskError> {
        self.spare = Some(self.make_spare(self.options.segment_bytes)?);
        Ok(())
    }

    /// Whether a file for the next segment should be made ahead: when this one is half full. Not sooner, because filling
    /// a file slows the syncs of others, just when a process has started.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare.is_none() && self.room() < self.offset
    }

    /// Takes a file that was filled with zeros under [`SPARE_FILE`].
    pub(crate) fn set_spare(&mut self, file: Arc<dyn DiskFile>) {
        // One that was made in a hurry meanwhile is used first; this one is then made again.
        self.spare.get_or_insert(Spare { name: SPARE_FILE, file, size_bytes: self.options.segment_bytes });
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// Bytes of frames that were ever written, from some beginning.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Writes entries, and the hard state when it is given and matters, without waiting for the disk. When it fails for
    /// lack of space it may be called again with the same arguments.
    pub(crate) fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<(), DiskError> {
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        let state_matters = self.hard_state.term != self.written_hard_state.term
            || self.hard_state.vote != self.written_hard_state.vote;
        if entries.is_empty() && state_matters && !mutant::planted(Mutant::VoteNotPersisted) {
            self.write_frame(&[])?;
        }
        let mut rest = entries;
        while !rest.is_empty() {
            let frame_bytes = FRAME_BYTES.min(self.options.segment_bytes as usize / 2);
            let (now, later) = rest.split_at(fitting(rest, frame_bytes));
            self.write_frame(now)?;
            rest = later;
        }
        Ok(())
    }

    /// What is written and not known to be on the disk.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        let file = &self.segments.back().expect("a log has a segment").file;
        (self.written > self.durable).then(|| Unsynced { sequence: self.written, file: file.clone() })
    }

    /// The frames up to `sequence` are on the disk.
    pub(crate) fn synced(&mut self, sequence: u64) {
        assert!(sequence <= self.written, "synced what was not written");
        self.durable = self.durable.max(sequence);
    }

    /// Forgets segments whose entries a durable snapshot up to `index` holds; returns their files, to be removed in this
    /// order, so that what is left always has no gap.
    pub(crate) fn cut(&mut self, index: u64) -> Vec<String> {
        let mut names = Vec::new();
        while self.segments.len() > 1 && self.segments[0].last_index <= index {
            names.extend(self.segments.pop_front().map(|segment| segment.name));
            let first = self.segments[0].first_sequence;
            while self.slots.front().is_some_and(|slot| slot.segment < first) {
                let slot = self.slots.pop_front().expect("checked to be there");
                self.base = Position { index: self.base.index + 1, term: slot.term };
            }
        }
        names
    }

    /// The file that an entry is in.
    pub(crate) fn segment_of(&self, index: u64) -> String {
        self.segment(self.slot(index).segment).name.clone()
    }

    /// Where in it the frame of the entry begins.
    pub(crate) fn offset_of(&self, index: u64) -> u64 {
        self.slot(index).offset.into()
    }

    fn slot(&self, index: u64) -> Slot {
        self.slots[(index - self.base.index - 1) as usize]
    }

    fn segment(&self, first_sequence: u64) -> &Segment {
        let at = self.segments.partition_point(|segment| segment.first_sequence <= first_sequence);
        &self.segments[at - 1]
    }

    fn write_frame(&mut self, entries: &[Entry]) -> Result<(), DiskError> {
        let bytes: usize = entries.iter().map(frame::entry_len).sum();
        if self.room() < (bytes + FRAME_OVERHEAD_BYTES) as u64 {
            let kept = entries.first().map_or(self.last().index, |first| first.index - 1);
            self.begin_segment(kept, None)?;
        }
        let mut buffer = self.begin_frame();
        let hard_state = self.hard_state_up_to(entries.last().map_or(self.last().index, |last| last.index));
        if hard_state != self.written_hard_state {
            frame::put_hard_state(&mut buffer, &hard_state);
        }
        entries.iter().for_each(|entry| frame::put_entry(&mut buffer, entry));
        let (offset, length) = self.write(buffer)?;
        self.written_hard_state = hard_state;
        entries.iter().for_each(|entry| self.note(entry, offset, length));
        Ok(())
    }

    /// The hard state as it may be written with the entries up to `index`: a commit index must not come to the disk before
    /// the entries that it is about, lest a crash in between commits those that they replace, or none.
    fn hard_state_up_to(&self, index: u64) -> HardState {
        let index = if mutant::planted(Mutant::CommitBeforeEntries) { u64::MAX } else { index };
        HardState { commit: self.hard_state.commit.min(index), ..self.hard_state.clone() }
    }

    /// Makes a new segment the last one. It gets its name when its first frame, which repeats what is only in the
    /// segments before, is on the disk. Entries after `kept` are about to be replaced; with `restart`, the log begins anew
    /// there.
    fn begin_segment(&mut self, kept: u64, restart: Option<Position>) -> Result<(), DiskError> {
        // Whatever is in the segments before the last one is on the disk: recovery relies on it.
        self.sync_now()?;
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => self.make_spare(self.options.segment_bytes)?,
        };
        let Spare { name: made_as, file, size_bytes } = spare;
        let first_sequence = self.written + 1;
        let last = self.position_of(kept);
        let header = Header { member: self.options.member, first_sequence, segment_bytes: size_bytes };
        let mut buffer = self.begin_frame();
        let hard_state = self.hard_state_up_to(kept);
        match restart {
            Some(base) => frame::put_restart(&mut buffer, base),
            None => frame::put_base(&mut buffer, last),
        }
        frame::put_hard_state(&mut buffer, &hard_state);
        frame::finish(&mut buffer);
        file.write_at(0, &header.encode())?;
        file.write_at(segment::HEADER_BYTES as u64, &buffer)?;
        file.sync()?;
        let name = segment::name_of(first_sequence);
        self.disk.rename(made_as, &name)?;
        if !mutant::planted(Mutant::FolderNotSynced) {
            self.disk.sync_dir()?;
        }
        self.segments.push_back(Segment { name, file, first_sequence, size_bytes, last_index: last.index });
        self.offset = (segment::HEADER_BYTES + buffer.len()) as u64;
        self.written = first_sequence;
        self.durable = first_sequence;
        self.written_hard_state = hard_state;
        self.buffer = buffer;
        let restart = restart.filter(|_| !mutant::planted(Mutant::SnapshotWithoutLogCut));
        self.slots.truncate((kept.max(self.base.index) - self.base.index) as usize);
        restart.into_iter().for_each(|base| self.begin_at(base));
        Ok(())
    }

    fn begin_frame(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        frame::begin(&mut buffer, self.written + 1, self.durable);
        buffer
    }

    /// Writes the frame that `buffer` holds; returns where it is.
    fn write(&mut self, mut buffer: Vec<u8>) -> Result<(u32, u32), DiskError> {
        frame::finish(&mut buffer);
        let end = self.offset + buffer.len() as u64;
        let active = self.segments.back().expect("a log has a segment");
        assert!(end <= active.size_bytes, "a frame outgrew its segment");
        active.file.write_at(self.offset, &buffer)?;
        let place = (self.offset, buffer.len());
        self.offset = end;
        self.bytes_written += place.1 as u64;
        self.written += 1;
        // Not kept when one large frame made it large.
        buffer.shrink_to(FRAME_BYTES / 4);
        self.buffer = buffer;
        let small = "a segment is smaller than 4 GiB";
        Ok((u32::try_from(place.0).expect(small), u32::try_from(place.1).expect(small)))
    }

    /// Notes where an entry was written; entries of the same and of greater index are replaced.
    fn note(&mut self, entry: &Entry, offset: u32, length: u32) {
        let next = self.last().index + 1;
        assert!(entry.index > self.base.index && entry.index <= next, "a gap before entry {}", entry.index);
        self.slots.truncate((entry.index - self.base.index - 1) as usize);
        let segment = self.segments.back_mut().expect("a log has a segment");
        segment.last_index = segment.last_index.max(entry.index);
        self.slots.push_back(Slot { term: entry.term, segment: segment.first_sequence, offset, length });
        self.cache.push(entry.clone());
    }

    /// Bytes left in the last segment.
    fn room(&self) -> u64 {
        self.segments.back().map_or(0, |active| active.size_bytes - self.offset)
    }

    /// Waits until everything that was written is on the disk.
    pub(crate) fn sync_now(&mut self) -> Result<(), DiskError> {
        if self.written > self.durable
            && let Some(last) = self.segments.back()
        {
            last.file.sync()?;
            self.durable = self.written;
        }
        Ok(())
    }

    fn make_spare(&self, size_bytes: u64) -> Result<Spare, DiskError> {
        let file = segment::create_zeroed(&*self.disk, LATE_FILE, size_bytes)?;
        Ok(Spare { name: LATE_FILE, file, size_bytes })
    }
}

/// How many of the entries go into a frame of this size: at least one.
fn fitting(entries: &[Entry], frame_bytes: usize) -> usize {
    let mut bytes = 0;
    let count = entries.iter().take_while(|entry| {
        bytes += frame::entry_len(entry);
        bytes <= frame_bytes
    });
    count.count().max(1)
}

#[cfg(test)]
mod tests;
